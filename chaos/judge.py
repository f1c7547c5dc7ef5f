"""The verdict on a history.

Duty: run every checker; tell what was violated, and whether there was anything to violate.
Invariants: a run in which a fault did not bite, or in which clients did nothing, is undecided, never passed.
Must not know: how the history came to be.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from garbagetruck.chaos.checkers import leases, linearizability, nodes, objects
from garbagetruck.chaos.history import Attempt, Disturbance, Finding, Gone, History, Verb
from garbagetruck.chaos.simulator.result import Verdict

VIOLATIONS_MAX = 50
"""More of them say no more."""

CHECKERS: Mapping[str, Callable[[History], Iterable[str]]] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            objects.in_use_is_never_deleted,
            leases.acknowledged_is_never_lost,
            nodes.one_history,
            nodes.one_leader_for_each_term,
            nodes.time_is_fair,
            objects.every_orphan_is_reclaimed,
            leases.tokens_are_monotonic,
            leases.a_retry_is_one_operation,
            leases.nothing_ends_early,
            linearizability.linearizable,
            nodes.no_zombie_leader,
            nodes.burdens_are_bounded,
        )
    }
)


def violations_of(history: History) -> list[str]:
    """What must not be, in the words of its checker; at most `VIOLATIONS_MAX`."""
    found = [f"not as it should be: {each.what}" for each in history.of(Finding) if not each.holds]
    for check in CHECKERS.values():
        found.extend(check(history))
    return found[:VIOLATIONS_MAX]


def doubts_of(history: History) -> list[str]:
    """Why a run without violations shows nothing."""
    faults = list(history.of(Disturbance))
    doubts = [f"{each.fault} did not bite" for each in faults if not each.proof]
    if not faults:
        doubts.append("there was no fault")
    if not any(each.ok and each.verb is Verb.ACQUIRE for each in history.of(Attempt)):
        doubts.append("no lease was acquired")
    if not any(True for _ in history.of(Gone)):
        doubts.append("nothing was deleted")
    if not nodes.indexes_compared(history):
        doubts.append("no two nodes were seen at the same index")
    doubts.extend(linearizability.undecided(history))
    return doubts


def verdict_of(violations: list[str], doubts: list[str]) -> Verdict:
    if violations:
        return Verdict.VIOLATED
    return Verdict.UNDECIDED if doubts else Verdict.PASSED
