"""`garbagetruck bench`: how fast a cluster is, on this machine, today.

Duty: read the flags, start and end the cluster, run the scenarios one after the other, print. Each scenario gets a
fresh cluster, so that its figures do not depend on which others ran before it.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import grpc.aio
import typer

from garbagetruck.cli.bench.conditions import conditions, load_average
from garbagetruck.cli.bench.figures import Row
from garbagetruck.cli.bench.plan import DURATION_S_DEFAULT, Plan
from garbagetruck.cli.bench.scenarios import SCENARIOS, Scenario, chosen
from garbagetruck.cli.bench.subject import SubjectError, subject
from garbagetruck.cli.bench.table import table
from garbagetruck.cli.bench.throwaway import Throwaway, ThrowawayError
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say
from garbagetruck.cli.termination import interrupted_by_termination
from garbagetruck.client.endpoints import addresses_of
from garbagetruck.durations import DurationError, parse_duration_ms

TARGETS = ("self",)
OPERATIONS_MAX = 1_000_000_000


class Shape(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    examples = [
        "garbagetruck bench",
        "garbagetruck bench --scenario acquire --scenario renew-batch --duration 10s -o json",
        "garbagetruck bench --scenario acquire --endpoints 127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103",
    ]
    app.command("bench", epilog=examples_text(examples))(bench)


def bench(
    scenario: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"One of {', '.join(SCENARIOS)}; may be repeated. Default: the first eight."),
    ] = None,
    target: Annotated[str, typer.Option(help="What to measure: self.")] = "self",
    operations: Annotated[
        int | None, typer.Option(min=1, max=OPERATIONS_MAX, help="Operations for each row, instead of a duration.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help=f"How long each row is measured. Default: {DURATION_S_DEFAULT:g}s.")
    ] = None,
    endpoints: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT,...", help="Measure this cluster instead of a throw-away one. Name every node."
        ),
    ] = None,
    output: Annotated[Shape, typer.Option("--output", "-o", help="How to print. A table is Markdown.")] = Shape.TABLE,
) -> None:
    """Measure a cluster. By default it starts one of three nodes for each scenario, which is gone afterwards.

    Progress and the machine's load go to standard error. docs/measurements.md tells what the figures mean.
    """
    scenarios, plan = _scenarios(scenario, target, endpoints), _plan(operations, duration)
    rows: list[Row] = []
    try:
        _measure_all(scenarios, endpoints, plan, rows)
    finally:
        # What was measured before something failed took minutes, and is as good as ever.
        if rows:
            shown = [row.fields() for row in rows]
            say(json.dumps(shown, ensure_ascii=False) if output is Shape.JSON else table(shown))


def _measure_all(scenarios: list[Scenario], endpoints: str | None, plan: Plan, rows: list[Row]) -> None:
    """Add a row to `rows` for each that was measured. Raises `typer.Exit`, having said why."""
    with interrupted_by_termination():
        try:
            for line in conditions("at the beginning"):
                note(line)
            for each in scenarios:
                rows += _run(each, endpoints, plan)
            note(load_average("at the end"))
        except (SubjectError, ThrowawayError) as error:
            note(f"Error: {error}")
            raise typer.Exit(Exit.UNREACHABLE) from error
        except grpc.aio.AioRpcError as failure:
            # While a load runs failures are counted; this one came while it was prepared.
            note(f"Error: {failure.code().name}: {failure.details()}")
            raise typer.Exit(Exit.REFUSED) from failure
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(Exit.INTERRUPTED) from interrupt


def _scenarios(names: list[str] | None, target: str, endpoints: str | None) -> list[Scenario]:
    if target == "etcd":
        raise typer.BadParameter("this version cannot measure etcd; only --target self is built")
    if target not in TARGETS:
        raise typer.BadParameter(f"--target {target!r} is not known; choose self")
    try:
        scenarios = chosen(names)
        if endpoints is not None:
            addresses_of(endpoints)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if endpoints is None:
        return scenarios
    if harmful := [each.name for each in scenarios if each.throwaway_only and names]:
        raise typer.BadParameter(
            f"{', '.join(harmful)}: this harms the cluster, so it runs on a throw-away one only, without --endpoints"
        )
    return [each for each in scenarios if not each.throwaway_only]


def _plan(operations: int | None, duration: str | None) -> Plan:
    if operations is not None and duration is not None:
        raise typer.BadParameter("give --operations or --duration, not both")
    duration_s = DURATION_S_DEFAULT
    if duration is not None:
        try:
            duration_s = parse_duration_ms(duration) / 1_000
        except DurationError as error:
            raise typer.BadParameter(f"--duration: {error}") from error
        if duration_s <= 0:
            raise typer.BadParameter("--duration must be longer than 0s")
    return Plan(operations=operations, duration_s=duration_s, say=note)


def _run(scenario: Scenario, endpoints: str | None, plan: Plan) -> list[Row]:
    if endpoints is not None:
        return _measure(scenario, addresses_of(endpoints), None, plan)
    throwaway = Throwaway()
    try:
        plan.say(f"{scenario.name}: starting a throw-away cluster")
        throwaway.start()
        plan.say(f"{scenario.name}: measuring ({scenario.summary})")
        return _measure(scenario, [node.api for node in throwaway.nodes.values()], throwaway, plan)
    finally:
        with _uninterrupted():
            throwaway.stop()


def _measure(
    scenario: Scenario, endpoints: list[str] | tuple[str, ...], throwaway: Throwaway | None, plan: Plan
) -> list[Row]:
    import uvloop

    async def connected() -> list[Row]:
        async with subject(endpoints, throwaway) as found:
            rows = await scenario.run(found, plan)
            if not scenario.throwaway_only and (leader_id := await found.leader_now()) != found.leader_id:
                note(f"Warning: {leader_id or 'nobody'} leads now, not {found.leader_id}: discard these figures")
            return rows

    # The loop that nodes run on, too: a slower one in the client would be counted as latency of the cluster.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(connected())


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold off signals: whoever is impatient shall not be left with three processes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
