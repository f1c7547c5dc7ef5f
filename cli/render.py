"""Printing: tables for eyes, JSON, YAML and names for scripts. Data goes to stdout, everything else to stderr.

Invariants: nothing in a table is ever cut; no character of the cluster's data reaches a terminal as a command to it;
when nobody reads any more, the process ends without a word.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from rich.cells import cell_len

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import Output

Fields = Mapping[str, Any]
GAP = "  "
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `wide` ones are left out of the narrow one."""

    title: str
    value: Callable[[Fields], object]
    wide: bool = False


def note(message: str) -> None:
    """Tell a person something that is not data. Where that is not possible, nobody wants to know."""
    try:
        print(printable(message, keep="\n"), file=sys.stderr, flush=True)  # noqa: T201  # a command line prints
    except OSError:
        return


def say(text: str) -> None:
    """Print data, at once. Ends the process when that is not possible: quietly when its reader has gone."""
    try:
        if sys.stdout is None:
            _give_up("it is closed")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up("")
    except OSError as error:
        _give_up(error.strerror or str(error))


def print_one(output: Output, fields: Fields, columns: Sequence[Column], name: str) -> None:
    """One record: the JSON object itself, or a table of one row."""
    if output in {Output.JSON, Output.YAML}:
        _say_data(output, fields)
    else:
        print_rows(output, [fields], columns, name)


def print_list(
    output: Output, key: str, rows: Sequence[Fields], columns: Sequence[Column], name: str, more: str
) -> None:
    """A list: `{key: [...], "next_page_token": ...}`, or a table. `more` is the token of the next page, or empty."""
    if output in {Output.JSON, Output.YAML}:
        _say_data(output, {key: list(rows), "next_page_token": more})
        return
    print_rows(output, rows, columns, name)
    if more:
        note(f"There is more: raise --limit, use --all, or go on with --page-token {more}")
    elif not rows and output is not Output.NAME:
        note(f"No {key}.")


def print_done(output: Output, fields: Fields, name: str, sentence: str) -> None:
    """What a change did: a sentence for people, or what scripts need of it."""
    match output:
        case Output.JSON | Output.YAML:
            _say_data(output, fields)
        case Output.NAME:
            say(_name(fields[name]))
        case _:
            note(sentence)


def print_line(output: Output, fields: Fields, line: str, name: str) -> None:
    """One record of a stream: one line each, whatever the format; a YAML document each in YAML."""
    match output:
        case Output.JSON:
            _say_data(output, fields)
        case Output.YAML:
            say("---")
            _say_data(output, fields)
        case Output.NAME:
            say(_name(fields[name]))
        case _:
            say(printable(line))


def print_rows(output: Output, rows: Sequence[Fields], columns: Sequence[Column], name: str) -> None:
    """Rows for eyes, or only their names."""
    if not rows:
        return
    if output is Output.NAME:
        say("\n".join(_name(row[name]) for row in rows))
        return
    shown = [column for column in columns if output is Output.WIDE or not column.wide]
    cells = [[column.title for column in shown], *([_cell(column.value(row)) for column in shown] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    if _may_style():
        lines[0] = f"{BOLD}{lines[0]}{PLAIN}"
    say("\n".join(lines))


def printable(text: str, *, keep: str = "") -> str:
    """The text with everything that a terminal would obey written out as an escape sequence of Python's."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def _name(value: object) -> str:
    return printable(str(value)) if _is_read_by_a_person() else str(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
    return GAP.join(padded).rstrip()


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return printable(",".join(f"{key}={each}" for key, each in value.items())) or "-"
        case _:
            return printable(str(value))


def _say_data(output: Output, value: object) -> None:
    if output is Output.JSON:
        say(json.dumps(value, ensure_ascii=False))
    else:
        plain = json.loads(json.dumps(value))
        import yaml  # costs a tenth of a short command

        say(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).removesuffix("\n"))


def _is_read_by_a_person() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _may_style() -> bool:
    return bool(
        _is_read_by_a_person() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in {"", "dumb"}
    )


def _give_up(why: str) -> NoReturn:
    if why:
        note(f"Error: nothing can be written to standard output: {why}")
    if sys.stdout is not None:
        # What is still buffered goes nowhere, so that the interpreter does not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(Exit.REFUSED)
