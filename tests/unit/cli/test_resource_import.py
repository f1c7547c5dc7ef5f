"""An import accounts for every line, sends nothing when a line is bad, and may be repeated."""

import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from garbagetruck.cli import import_lines
from garbagetruck.cli.app import app
from garbagetruck.cli.import_lines import LINE_BYTES_MAX, Bad, Defaults, Wanted, digest_of, read_lines
from garbagetruck.cli.resource_import import Report, import_batch
from garbagetruck.client import Cleanup, LeaseRequest, connect
from garbagetruck.cluster.machine.model import Resource
from tests.unit.api.stand import stand

DEFAULTS = Defaults(ttl_ms=86_400_000, grace_ms=None)


def read(*lines: object) -> list[Wanted | Bad]:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(read_lines(io.BytesIO(b"\n".join(texts) + b"\n"), DEFAULTS))


def line(name: str, **fields: object) -> dict[str, object]:
    return {"resource": name, "cleanup": f"file:path={name}", **fields}


def wanted(*names: str) -> list[Wanted]:
    return [each for each in read(*map(line, names)) if isinstance(each, Wanted)]


# -- lines --------------------------------------------------------------------------------------------------------


def test_a_line_says_what_it_wants_and_takes_the_rest_from_the_flags() -> None:
    short, full = read(
        line("a"),
        {
            "resource": "b",
            "cleanup": {"handler": "file", "path": "b", "root": "fast"},
            "ttl": "30m",
            "grace": "10s",
            "labels": {"team": "billing"},
        },
    )
    assert short == Wanted(1, "a", Cleanup("file", path="a"), 86_400_000, None, {})
    assert full == Wanted(2, "b", Cleanup("file", path="b", root="fast"), 1_800_000, 10_000, {"team": "billing"})


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 50_000, "is not JSON"),
        (b"7", "is no object"),
        (b'{"resource": "\\ud800", "cleanup": "file:path=a"}', "no text of Unicode"),
        (b" " * LINE_BYTES_MAX + b" {}", "is longer than 65536 bytes"),
        ({"cleanup": "file:path=a"}, "resource is null; write the resource's name"),
        (line("x" * 1_025), "at most 1024 bytes are allowed"),
        ({"resource": "a"}, "has no cleanup, so nothing would ever be done"),
        (line("a", cleanup="file"), "write HANDLER:key=value"),
        (line("a", cleanup={"path": "a"}), 'needs a "handler"'),
        (line("a", cleanup=7), "cleanup"),
        (line("a", ttl=30), "ttl is 30; write a number and a unit, as in 30m"),
        (line("a", ttl="soon"), "ttl: 'soon' is not a duration"),
        (line("a", grace="-1s"), "grace: '-1s' is not a duration"),
        (line("a", labels=["x"]), "labels are"),
        (line("a", labels={"x": 1}), "labels are"),
        (line("a", holder="me"), "has 'holder', which is unknown; there are resource, cleanup, ttl, grace, labels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_line_is_told_by_its_number_with_what_would_be_right(bad: object, problem: str) -> None:
    first, second, third = read(line("before"), bad, line("after"))
    assert isinstance(second, Bad)
    assert second.line == 2
    assert problem in second.problem
    assert isinstance(first, Wanted)
    assert isinstance(third, Wanted)
    assert third.line == 3


def test_a_resource_that_is_named_twice_is_told_where_it_was_first() -> None:
    assert read(line("a"), b"", line("a"))[1] == Bad(3, "names 'a', as line 1 does; name each resource once")


def test_more_lines_than_one_import_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_lines, "LINES_MAX", 2)
    found = read(line("a"), line("b"), line("c"), line("d"))
    assert [isinstance(each, Bad) for each in found] == [False, False, True]
    assert "split the import" in getattr(found[2], "problem", "")


def test_the_request_id_follows_from_what_is_asked_for() -> None:
    assert digest_of(wanted("a", "b"), "h") == digest_of(wanted("a", "b"), "h")
    others = {digest_of(wanted("a"), "h"), digest_of(wanted("b", "a"), "h"), digest_of(wanted("a", "b"), "other")}
    assert len(others | {digest_of(wanted("a", "b"), "h")}) == 4
    assert len(digest_of(wanted("a"), "h")) <= 64


# -- against an API -----------------------------------------------------------------------------------------------


async def test_i6_an_import_that_is_repeated_imports_nothing_twice() -> None:
    async with stand() as api, connect(f"127.0.0.1:{api.port}") as truck:
        first, again, more = Report(), Report(), Report()
        await import_batch(truck, wanted("a", "b", "c"), "importer", first)
        await import_batch(truck, wanted("a", "b", "c"), "importer", again)
        await import_batch(truck, wanted("a", "b", "c", "d"), "importer", more)
        assert (first.imported, first.already_there, first.refused) == (3, 0, 0)
        assert (again.imported, again.already_there) == (0, 3)
        assert (more.imported, more.already_there) == (1, 3)
        for name in ("a", "b", "c", "d"):
            resource = api.gateway.machine.resource("default", name)
            assert isinstance(resource, Resource)
            assert len(resource.leases) == 1


async def test_i6_a_batch_of_which_the_answer_was_lost_has_one_effect() -> None:
    """Nobody knew of it when the next look was taken, so it is sent again: under the id that follows from its lines."""
    request_id = digest_of(wanted("a", "b"), "importer")
    requests = [LeaseRequest(resource=name, holder="importer", ttl=60.0) for name in ("a", "b")]
    async with stand() as api, connect(f"127.0.0.1:{api.port}") as truck:
        first = await truck.acquire_many(requests, request_id=request_id)
        second = await truck.acquire_many(requests, request_id=request_id)
        assert [getattr(each, "id", "") for each in first] == [getattr(each, "id", "") for each in second]
        assert api.gateway.machine.summary().leases == 2


async def test_what_the_cluster_refuses_is_told_with_line_and_reason_and_the_rest_is_done() -> None:
    async with stand() as api, connect(f"127.0.0.1:{api.port}") as truck:
        report = Report()
        lines = [*read(line("a"), line("b", cleanup="file:path=a"), line("c", cleanup="ftp:path=c"), line("d"))]
        await import_batch(truck, [each for each in lines if isinstance(each, Wanted)], "importer", report)
        assert (report.imported, report.refused) == (2, 2)
        assert [(each["line"], each["resource"], each["reason"]) for each in report.refusals] == [
            (2, "b", "TARGET_IN_USE"),
            (3, "c", "UNKNOWN_HANDLER"),
        ]


async def test_a_resource_that_is_there_with_another_cleanup_is_not_taken_for_imported() -> None:
    async with stand() as api, connect(f"127.0.0.1:{api.port}") as truck:
        await truck.acquire("a", holder="h", ttl=30.0, cleanup=Cleanup("file", path="elsewhere"))
        report = Report()
        await import_batch(truck, wanted("a"), "importer", report)
        assert [each["reason"] for each in report.refusals] == ["CLEANUP_CONFLICT"]


# -- the command --------------------------------------------------------------------------------------------------


def test_nothing_is_sent_when_a_line_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('{"resource": "a", "cleanup": "file:path=a"}\n{"resource": "b"}\n')
    ran = CliRunner().invoke(app, ["resource", "import", str(file), "--endpoints", "127.0.0.1:1", "-o", "json"])
    assert ran.exit_code == 1
    report = json.loads(ran.stdout)
    assert (report["lines"], report["bad"], report["imported"], report["next_line"]) == (2, 1, 0, 1)
    assert [(each["line"], each["reason"]) for each in report["refusals"]] == [(2, "BAD_LINE")]
    assert "Nothing was sent" in ran.stderr


def test_a_cluster_that_does_not_answer_ends_it_with_where_to_go_on() -> None:
    text = '{"resource": "a", "cleanup": "file:path=a"}\n'
    arguments = ["resource", "import", "-", "--endpoints", "127.0.0.1:1", "--timeout", "200ms", "-o", "json"]
    ran = CliRunner().invoke(app, arguments, input=text)
    assert ran.exit_code == 3
    report = json.loads(ran.stdout)
    assert (report["lines"], report["imported"], report["next_line"]) == (1, 0, 1)
    assert "--from-line 1" in ran.stderr


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["resource", "import", str(tmp_path / "none")])
    assert ran.exit_code == 2
    assert "No such file" in ran.stderr
