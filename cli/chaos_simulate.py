"""`garbagetruck chaos simulate`: many seeds of the simulator, on as many processors as one gives it.

Duty: read the flags, share the seeds out, print what was violated and how to repeat it.
"""

import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say

if TYPE_CHECKING:
    from garbagetruck.chaos.simulator.result import Result

SEEDS_PER_TASK = 5
NOTE_EVERY = 100


class SimulatedWorld(StrEnum):
    """What to simulate."""

    CLUSTER = "cluster"
    RAFT = "raft"


class Shape(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to `chaos`."""
    examples = [
        "garbagetruck chaos simulate --seeds 100",
        "garbagetruck chaos simulate --world raft --seeds 1000 --start 5000 --jobs 4 -o json",
    ]
    app.command("simulate", epilog=examples_text(examples))(simulate)


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run.")] = 20,
    start: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="How many processes share them.")] = 1,
    world: Annotated[
        SimulatedWorld, typer.Option(help="Whole clusters with their clients, or the log alone.")
    ] = SimulatedWorld.CLUSTER,
    output: Annotated[Shape, typer.Option("--output", "-o", help="How to print.")] = Shape.TABLE,
) -> None:
    """Run whole clusters on simulated time, disks and networks, each from one seed.

    Exit code 0: all passed; 1: a violation, told with its seed; 3: none, but in some no fault bit.
    """
    counts: Counter[str] = Counter()
    violated: list[dict[str, Any]] = []
    for shown in _results(range(start, start + seeds), world, jobs):
        counts[shown["verdict"]] += 1
        if shown["violations"]:
            violated.append(shown)
            note(f"seed {shown['seed']} violated: {shown['violations'][0]}")
        if counts.total() % NOTE_EVERY == 0:
            note(f"{world} simulator: {counts.total()} of {seeds} seeds")
    if output is Shape.JSON:
        say(json.dumps({"world": world.value, "start": start, "seeds": seeds, **counts, "violated_seeds": violated}))
    else:
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        say(f"{world} simulator, seeds {start} to {start + seeds - 1}: {told}")
        for each in violated:
            say("\n".join([f"seed {each['seed']}:", *(f"  {violation}" for violation in each["violations"])]))
            say(f"  repeat it: {each['repeat']}")
    if violated:
        raise typer.Exit(Exit.REFUSED)
    if counts["undecided"]:
        raise typer.Exit(Exit.UNREACHABLE)


def _results(seeds: range, world: SimulatedWorld, jobs: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        _be_silent()
        yield from map(partial(run_seed, world), seeds)
        return
    # Fresh processes: a copy of this one would share what its threads hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_be_silent) as pool:
        yield from pool.map(partial(run_seed, world), seeds, chunksize=SEEDS_PER_TASK)


def run_seed(world: SimulatedWorld, seed: int) -> dict[str, Any]:
    """One seed, without its history, which is long and can be had again."""
    result: Result
    if world is SimulatedWorld.RAFT:
        from garbagetruck.chaos.simulator.raft.simulation import simulate_raft

        result = simulate_raft(seed)
    else:
        from garbagetruck.chaos.simulator.simulation import simulate as simulate_cluster

        result = simulate_cluster(seed)
    choice = "" if world is SimulatedWorld.CLUSTER else f" --world {world}"
    return {
        "seed": seed,
        "verdict": result.verdict.value,
        "violations": list(result.violations),
        "repeat": f"python -m garbagetruck.chaos.simulator --seeds 1 --start {seed} --history history.txt{choice}",
    }


def _be_silent() -> None:
    """Nodes log a lot, and nobody reads it."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
