"""One trial: does a simulator notice a mutant, and nothing but the mutant?

Must not know: processes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from garbagetruck.chaos.mutants.mutant import CLUSTER, RAFT, BySimulator, Mutant
from garbagetruck.chaos.simulator.raft.simulation import simulate_raft
from garbagetruck.chaos.simulator.result import Result
from garbagetruck.chaos.simulator.simulation import simulate

WORLDS: Mapping[str, Callable[[int, Sequence[str]], Result]] = MappingProxyType(
    {CLUSTER: simulate, RAFT: simulate_raft}
)


class Fate(Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Trial:
    """`said` is what caught it, or why nothing is shown."""

    fate: Fate
    said: str


def simulated_trial(mutant: Mutant, catcher: BySimulator) -> Trial:
    """Seed by seed, until one is violated; that seed must pass without the mutant."""
    world = WORLDS[catcher.world]
    for seed in range(catcher.first, catcher.first + catcher.seeds):
        with mutant.planted():
            violations = world(seed, catcher.faults).violations
        if not violations:
            continue
        if catcher.names not in violations[0]:
            return Trial(Fate.UNDECIDED, f"seed {seed} names something else than {catcher.names}: {violations[0]}")
        alone = world(seed, catcher.faults).violations
        if alone:
            return Trial(Fate.UNDECIDED, f"seed {seed} is violated without the mutant, too: {alone[0]}")
        return Trial(Fate.CAUGHT, f"seed {seed}: {violations[0]}")
    return Trial(Fate.SURVIVED, f"not noticed by the {catcher.told}")


def control(catchers: Iterable[BySimulator]) -> str | None:
    """What is violated in a first seed although nothing is switched off; None when nothing is."""
    for catcher in dict.fromkeys(BySimulator(each.world, each.faults, "", each.first) for each in catchers):
        violations = WORLDS[catcher.world](catcher.first, catcher.faults).violations
        if violations:
            return f"{catcher.world} simulator, seed {catcher.first}, {', '.join(catcher.faults) or 'all faults'}: {violations[0]}"
    return None
