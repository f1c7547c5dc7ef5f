"""`garbagetruck chaos`: hurt a cluster of real processes, and see whether it keeps its promises.

Duty: read the flags, run scenarios one after the other, print their reports.
"""

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garbagetruck.cli import chaos_mutants, chaos_simulate
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say
from garbagetruck.cli.termination import interrupted_by_termination
from garbagetruck.durations import DurationError, parse_duration_ms

if TYPE_CHECKING:
    from garbagetruck.chaos.report import Report
    from garbagetruck.chaos.scenarios.scenario import Scenario
    from garbagetruck.chaos.stage import Plan

app = typer.Typer(
    help="Hurt a throw-away cluster, and see whether it keeps its promises.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

chaos_simulate.register(app)
chaos_mutants.register(app)


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="chaos")


VIOLATED = Exit.REFUSED
UNDECIDED = Exit.UNREACHABLE
"""A fault that did not bite, or a cluster that did not come up, shows nothing."""
CLIENTS = 12
SIZE_MAX = 2_000_000
"""As many as a namespace takes unless it is told otherwise."""

Said = Mapping[str, str | int | None]
"""Flags that a scenario's own numbers stand in for."""


class Shape(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Shape, typer.Option("--output", "-o", help="How to print.")]
Clients = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=200,
        help=f"How many clients work meanwhile, beside one that only takes leases. Default: {CLIENTS}.",
    ),
]
Nodes = Annotated[int | None, typer.Option(min=3, max=9, help="How many nodes. Default: each its own, 3 or 5.")]
Size = Annotated[
    int | None,
    typer.Option(
        min=1_000, max=SIZE_MAX, help="How many leases, for scenarios of a mass of them. Default: each its own."
    ),
]


@app.command("list", epilog=examples_text(["garbagetruck chaos list"]))
def list_scenarios(output: Output = Shape.TABLE) -> None:
    """Say what scenarios there are."""
    from garbagetruck.chaos.scenarios import SCENARIOS

    if output is Shape.JSON:
        listed = [
            {"scenario": each.name, "summary": each.summary, "covers": [*each.covers]} for each in SCENARIOS.values()
        ]
        say(json.dumps(listed))
        return
    width = max(map(len, SCENARIOS))
    for each in SCENARIOS.values():
        numbers = f" [{', '.join(map(str, each.covers))}]" if each.covers else ""
        say(f"{each.name:<{width}}  {each.summary}{numbers}")
    say("In brackets: the dangers of docs/chaos.md that it is about. Every run is judged by 1, 8, 12 and 21, too.")


@app.command(
    "run",
    epilog=examples_text(
        ["garbagetruck chaos run kill-leader", "garbagetruck chaos run flapping --duration 60s --seed 7 -o json"]
    ),
)
def run(  # noqa: PLR0917  # typer reads flags from parameters
    scenario: Annotated[list[str], typer.Argument(metavar="SCENARIO...", help="Names from `chaos list`.")],
    duration: Annotated[
        str | None, typer.Option(help="How long, for scenarios that end by time. Default: each its own.")
    ] = None,
    outage: Annotated[str | None, typer.Option(help="How long one fault lasts. Default: each its own.")] = None,
    times: Annotated[
        int | None, typer.Option(min=1, help="How often, for scenarios that repeat. Default: each its own.")
    ] = None,
    clients: Clients = None,
    nodes: Nodes = None,
    size: Size = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn. Default: a new one.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Leave histories, reports and, unless passed, the nodes here.")
    ] = None,
    output: Output = Shape.TABLE,
) -> None:
    """Run scenarios, each on a fresh cluster of child processes behind proxies.

    Exit code 0: all passed; 1: a violation; 3: undecided, because a fault did not bite.
    """
    scenarios = _scenarios(scenario)
    chosen_seed = secrets.randbits(32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-chaos-")) if keep is None else keep.absolute()
    said = {
        "--duration": duration,
        "--outage": outage,
        "--times": times,
        "--clients": clients,
        "--nodes": nodes,
        "--size": size,
    }
    reports: list[Report] = []
    try:
        with interrupted_by_termination():
            for each in scenarios:
                plan = _plan(each, chosen_seed, said)
                reports.append(_run(each, plan, _fresh(folder, each.name), _repeat(each.name, chosen_seed, said)))
                if output is Shape.TABLE:
                    say("\n".join(reports[-1].lines()))
    except KeyboardInterrupt as interrupt:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise typer.Exit(Exit.INTERRUPTED) from interrupt
    code = _exit_code(reports)
    if output is Shape.JSON:
        say(json.dumps([each.fields() for each in reports], ensure_ascii=False))
    if keep is None and code is Exit.DONE:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        note(f"Histories, reports and what is left of nodes: {folder}")
    raise typer.Exit(code)


def _scenarios(names: Sequence[str]) -> list["Scenario"]:
    from garbagetruck.chaos.scenarios import SCENARIOS

    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: not known; choose from {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names]


def _plan(scenario: "Scenario", seed: int, said: Said) -> "Plan":
    from garbagetruck.chaos.stage import Plan

    times, clients, nodes, size = said["--times"], said["--clients"], said["--nodes"], said["--size"]
    return Plan(
        seed=seed,
        duration_s=_seconds("--duration", said, scenario.duration_s),
        outage_s=_seconds("--outage", said, scenario.outage_s),
        times=scenario.times if times is None else int(times),
        nodes=scenario.nodes if nodes is None else int(nodes),
        clients=CLIENTS if clients is None else int(clients),
        size=scenario.size if size is None else int(size),
    )


def _seconds(flag: str, said: Said, otherwise: float) -> float:
    text = said[flag]
    if text is None:
        return otherwise
    try:
        return parse_duration_ms(str(text)) / 1_000
    except DurationError as error:
        raise typer.BadParameter(f"{flag}: {error}") from error


def _repeat(name: str, seed: int, said: Said) -> str:
    flags = "".join(f" {flag} {value}" for flag, value in said.items() if value is not None)
    return f"garbagetruck chaos run {name} --seed {seed}{flags}"


def _fresh(folder: Path, name: str) -> Path:
    """A folder for one run, beside those of earlier ones."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    made = folder / f"{name}-{number}"
    made.mkdir(parents=True)
    return made


def _run(scenario: "Scenario", plan: "Plan", folder: Path, repeat: str) -> "Report":
    from garbagetruck.chaos.processes.cluster import ClusterFailed
    from garbagetruck.chaos.report import nothing_shown
    from garbagetruck.chaos.run import run_scenario

    note(f"{scenario.name}: {scenario.summary} Seed {plan.seed}.")
    try:
        return asyncio.run(run_scenario(scenario, plan, folder=folder, repeat=repeat, say=note))
    except ClusterFailed as error:
        return nothing_shown(scenario.name, plan.seed, str(error), repeat)


def _exit_code(reports: Sequence["Report"]) -> Exit:
    from garbagetruck.chaos.simulator.result import Verdict

    verdicts = {each.verdict for each in reports}
    if Verdict.VIOLATED in verdicts:
        return VIOLATED
    return UNDECIDED if Verdict.UNDECIDED in verdicts else Exit.DONE
