"""What a mutant is: a guard that is switched off, what breaks without it, and who must notice.

Must not know: how it is run.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from garbagetruck.chaos.mutants.patch import Patch, patching

Plant = Callable[[Patch], None]

CLUSTER, RAFT = "cluster", "raft"
"""The simulated worlds, as `chaos simulate --world` names them."""
SEEDS_MAX = 40
"""A simulator must find it within so many seeds, unless the mutant says otherwise; most are in the first few."""


@dataclass(frozen=True, slots=True)
class BySimulator:
    """A simulated world must show a violation that has `names` in it (empty: any), within `seeds` seeds from `first` on.

    `faults` are those that bring it to light; empty: all. `first` is a seed that did so once: until something else changes
    chance it is the very first.
    """

    world: str
    faults: tuple[str, ...] = ()
    names: str = ""
    first: int = 1
    seeds: int = SEEDS_MAX

    @property
    def told(self) -> str:
        under = f" under {', '.join(self.faults)}" if self.faults else ""
        return f"{self.world} simulator, {self.seeds} seeds from {self.first} on{under}"


@dataclass(frozen=True, slots=True)
class ByTests:
    """One of these tests, by their pytest node ids, must fail: no simulator gets there."""

    tests: tuple[str, ...]

    @property
    def told(self) -> str:
        return ", ".join(self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`guard` is what is switched off: a hazard of docs/consensus.md, or the part that checks; `breaks` the invariant."""

    name: str
    summary: str
    guard: str
    breaks: str
    plant: Plant
    catcher: BySimulator | ByTests

    @property
    def seams(self) -> tuple[str, ...]:
        """Where it is applied. Plants it for a moment."""
        with self.planted() as patch:
            return tuple(patch.seams)

    @contextmanager
    def planted(self) -> Iterator[Patch]:
        """This process has the bug, until the end."""
        with patching() as patch:
            self.plant(patch)
            yield patch

    @property
    def repeat(self) -> str:
        return f"garbagetruck chaos mutants {self.name}"


def mutant(*, guard: str, breaks: str, catcher: BySimulator | ByTests) -> Callable[[Plant], Mutant]:
    """Make a mutant of a function that plants it; its name is the function's, its docstring the summary."""

    def made(plant: Plant) -> Mutant:
        summary = " ".join((inspect.getdoc(plant) or "").split())
        name = getattr(plant, "__name__", "").replace("_", "-")
        assert summary, f"{name} says nothing of itself"
        return Mutant(name=name, summary=summary, guard=guard, breaks=breaks, plant=plant, catcher=catcher)

    return made


def in_cluster(*faults: str, names: str = "", first: int = 1, seeds: int = SEEDS_MAX) -> BySimulator:
    return BySimulator(CLUSTER, faults, names, first, seeds)


def in_raft(*faults: str, names: str = "", first: int = 1, seeds: int = SEEDS_MAX) -> BySimulator:
    return BySimulator(RAFT, faults, names, first, seeds)


def by_test(*tests: str) -> ByTests:
    """Node ids below `tests/`."""
    return ByTests(tuple(f"tests/{each}" for each in tests))
