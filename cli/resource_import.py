"""`garbagetruck resource import`: have the cluster know what exists already.

Duty: register resources with trial leases, many to a call, and account for every line.

- All lines are read and checked first. When one is bad, nothing is sent, unless that is asked for.
- A resource that the cluster knows already is left as it is, so an import may be repeated: what is there counts as there. A
  call that is repeated within a minute has one effect even if nobody knows of the first, for its request id follows from
  what it asks for.
- Each line is done or refused by itself, and refused lines are named with their reason.

Must not know: how lines are written.
"""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Annotated

import typer

from garbagetruck.cli.arguments import default_holder
from garbagetruck.cli.calling import call
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import Output, duration
from garbagetruck.cli.import_lines import Bad, Defaults, Wanted, digest_of, opened, read_lines
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, Fields, note, print_one
from garbagetruck.client import LeaseRequest, ResourceState, Truck
from garbagetruck.client.errors import GarbageTruckError, ResourceNotFound

BATCH_LINES_MAX = 500
LOOKS_AT_ONCE_MAX = 64
"""Resources that are looked up at the same time, before their batch is sent."""
REFUSALS_SHOWN_MAX = 1_000
"""Of more, the report tells how many there are."""
PROGRESS_S = 1.0

COLUMNS = (
    Column("LINES", lambda row: row["lines"]),
    Column("IMPORTED", lambda row: row["imported"]),
    Column("ALREADY THERE", lambda row: row["already_there"]),
    Column("REFUSED", lambda row: row["refused"]),
    Column("BAD", lambda row: row["bad"]),
    Column("NEXT LINE", lambda row: row["next_line"]),
)


@dataclass
class Report:
    """What became of the lines. The same with every kind of output."""

    lines: int = 0
    """Those that are not empty, from the first one asked for."""
    imported: int = 0
    already_there: int = 0
    refused: int = 0
    bad: int = 0
    next_line: int | None = None
    """Where to go on, when it did not come to its end."""
    refusals: list[Fields] = field(default_factory=list)

    def refuse(self, line: int, resource: str | None, reason: str, message: str) -> None:
        if len(self.refusals) < REFUSALS_SHOWN_MAX:
            self.refusals.append({"line": line, "resource": resource, "reason": reason, "message": message})

    def fields(self) -> Fields:
        counted = self.refused + self.bad
        return {
            "lines": self.lines,
            "imported": self.imported,
            "already_there": self.already_there,
            "refused": self.refused,
            "bad": self.bad,
            "next_line": self.next_line,
            "refusals": self.refusals,
            "refusals_left_out": counted - len(self.refusals),
        }


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    command(
        app,
        "import",
        examples=[
            "garbagetruck resource import uploads.jsonl",
            "garbagetruck resource import uploads.jsonl --ttl 7d --holder migration --skip-bad -o json",
            "list-uploads | garbagetruck resource import -",
        ],
    )(import_)


def import_(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; `-` reads standard input.")],
    ttl: Annotated[int, duration(help="How long each trial lease lives: till then nothing is cleaned.")] = "1d",  # type: ignore[assignment]  # typer parses it
    holder: Annotated[str, typer.Option(help="Who holds the trial leases. Default: user@host.")] = "",
    grace: Annotated[int | None, duration(help="Time between the last lease and the cleanup.")] = None,
    from_line: Annotated[int, typer.Option(metavar="N", min=1, help="Begin with this line, the first is 1.")] = 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good lines though others are bad.")] = False,
) -> None:
    """Register what exists already, each with a trial lease, from JSON lines. May be repeated."""
    defaults, report = Defaults(ttl, grace), Report()
    try:
        with opened(file) as lines:
            _check(lines, defaults, from_line, report)
            if report.bad and not skip_bad:
                report.next_line = from_line
                _tell(invocation, report)
                note("Nothing was sent: correct these lines, or add --skip-bad.")
                raise typer.Exit(Exit.REFUSED)
            _import(invocation, lines, defaults, from_line, holder or default_holder(), report)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="FILE") from error
    _tell(invocation, report)
    raise typer.Exit(Exit.REFUSED if report.refused or report.bad else Exit.DONE)


def _check(lines: IO[bytes], defaults: Defaults, from_line: int, report: Report) -> None:
    """Read everything once: how many lines there are, and which of them are bad."""
    for each in read_lines(lines, defaults):
        if each.line < from_line:
            continue
        report.lines += 1
        if isinstance(each, Bad):
            report.bad += 1
            report.refuse(each.line, None, "BAD_LINE", each.problem)


def _import(
    invocation: Invocation, lines: IO[bytes], defaults: Defaults, from_line: int, holder: str, report: Report
) -> None:
    wanted = (each for each in read_lines(lines, defaults) if isinstance(each, Wanted) and each.line >= from_line)

    async def work(truck: Truck) -> None:
        told = time.monotonic()
        while batch := list(islice(wanted, BATCH_LINES_MAX)):
            report.next_line = batch[0].line
            await import_batch(truck, batch, holder, report)
            if time.monotonic() - told >= PROGRESS_S:
                told = time.monotonic()
                done = report.imported + report.already_there + report.refused
                note(f"{done:,} of {report.lines:,} lines")
        report.next_line = None

    try:
        call(invocation, work)
    except typer.Exit:
        _tell(invocation, report)
        note(f"Not all was done: run it again, or go on with --from-line {report.next_line or from_line}.")
        raise


async def import_batch(truck: Truck, batch: list[Wanted], holder: str, report: Report) -> None:
    """Whatever happens, each line of it is imported, there or refused, or nothing is known of the batch."""
    gate = asyncio.Semaphore(LOOKS_AT_ONCE_MAX)

    async def look(each: Wanted) -> bool:
        async with gate:
            return await _is_there(truck, each)

    there = await asyncio.gather(*map(look, batch))
    missing = [each for each, known in zip(batch, there, strict=True) if not known]
    requests = [
        LeaseRequest(
            resource=each.resource,
            holder=holder,
            ttl=each.ttl_ms / 1_000,
            cleanup=each.cleanup,
            grace=None if each.grace_ms is None else each.grace_ms / 1_000,
            labels=each.labels,
        )
        for each in missing
    ]
    answers = await truck.acquire_many(requests, request_id=digest_of(missing, holder)) if missing else []
    report.already_there += sum(there)
    for each, answer in zip(missing, answers, strict=True):
        if isinstance(answer, GarbageTruckError):
            report.refused += 1
            report.refuse(each.line, each.resource, answer.reason, str(answer))
        else:
            report.imported += 1


async def _is_there(truck: Truck, wanted: Wanted) -> bool:
    """Whether the cluster knows the resource, with this cleanup. One that it has with another, or with none, is asked
    for: the cluster says what it makes of that.
    """
    try:
        known = await truck.resources.get(wanted.resource)
    except ResourceNotFound:
        return False
    return known.state is not ResourceState.CLEANED and known.cleanup == wanted.cleanup


def _tell(invocation: Invocation, report: Report) -> None:
    fields = report.fields()
    print_one(invocation.output, fields, COLUMNS, "imported")
    if invocation.output in {Output.JSON, Output.YAML}:
        return
    for each in report.refusals:
        named = f" ({each['resource']})" if each["resource"] else ""
        note(f"line {each['line']}{named}: {each['message']}")
    if fields["refusals_left_out"]:
        note(f"and {fields['refusals_left_out']:,} more")
