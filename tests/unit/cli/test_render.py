"""What is printed, and what never reaches a terminal."""

import json
import sys

import pytest
import yaml

from garbagetruck.cli.flags import Output
from garbagetruck.cli.render import Column, note, print_done, print_line, print_list, print_one, printable

COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("COUNT", lambda row: row["count"]),
    Column("LABELS", lambda row: row["labels"], wide=True),
)
ROWS: list[dict[str, object]] = [
    {"name": "a", "count": 1, "labels": {"team": "x", "tier": "2"}},
    {"name": "n" * 300, "count": None, "labels": {}},
]


def printed(capsys: pytest.CaptureFixture[str], output: Output, more: str = "") -> list[str]:
    print_list(output, "rows", ROWS, COLUMNS, "name", more)
    return capsys.readouterr().out.splitlines()


def test_a_table_has_aligned_columns_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Output.TABLE)
    assert lines[0].split() == ["NAME", "COUNT"]
    assert lines[1].split() == ["a", "1"]
    assert lines[2].split() == ["n" * 300, "-"]
    assert {line.rstrip()[-1] for line in lines} == {"T", "1", "-"}
    assert lines[1].index("1") == lines[0].index("COUNT")


def test_a_wide_table_has_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, Output.WIDE)[1].split() == ["a", "1", "team=x,tier=2"]


def test_names_stand_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, Output.NAME) == ["a", "n" * 300]


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, Output.JSON, more="t")
    assert json.loads(line) == {"rows": ROWS, "next_page_token": "t"}


def test_yaml_says_what_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert yaml.safe_load("\n".join(printed(capsys, Output.YAML))) == {"rows": ROWS, "next_page_token": ""}


def test_that_there_is_more_is_told_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(Output.TABLE, "rows", ROWS, COLUMNS, "name", "tok")
    assert "--page-token tok" in capsys.readouterr().err


def test_an_empty_table_prints_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(Output.TABLE, "rows", [], COLUMNS, "name", "")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "No rows.\n")


def test_a_name_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = {"name": "x\x1b[2J\ny", "count": 0, "labels": {}}
    print_one(Output.TABLE, evil, COLUMNS, "name")
    print_line(Output.TABLE, evil, f"1  {evil['name']}", "name")
    note(str(evil["name"]))
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert told.out.splitlines()[1].startswith(r"x\x1b[2J\ny")
    assert printable("größe/图") == "größe/图"


@pytest.mark.parametrize(("no_color", "styled"), [("", True), ("1", False)])
def test_only_a_terminal_without_no_color_sees_bold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_color: str, styled: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_list(Output.TABLE, "rows", ROWS, COLUMNS, "name", "")
    assert ("\x1b[1m" in capsys.readouterr().out) is styled


def test_what_a_change_did_is_a_sentence_beside_the_data_or_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"resource": "a", "hold_id": "h1"}
    for output in (Output.TABLE, Output.NAME, Output.JSON):
        print_done(output, fields, "hold_id", "held a")
    told = capsys.readouterr()
    assert told.err == "held a\n"
    assert told.out.splitlines() == ["h1", json.dumps(fields)]
