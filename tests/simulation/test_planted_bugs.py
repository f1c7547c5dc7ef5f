"""Each guard switched off in turn: the simulator must find out, or its silence means nothing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from garbagetruck.chaos.simulator.raft.life import SimulatedReplica
from garbagetruck.chaos.simulator.simulation import simulate
from garbagetruck.chaos.simulator.store import ObjectStore
from garbagetruck.cluster.api.gateway import NotLeader
from garbagetruck.cluster.machine import cleanups, requests
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import EnterEpoch
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.timers import TimerKind, Timers
from garbagetruck.cluster.node import commit_queue
from garbagetruck.cluster.node.clock import PPM, ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.ticker import Ticker
from garbagetruck.cluster.raft.log import Confirmation
from tests.simulation.strays import let_proposals_stray

SEEDS_MAX = 40
"""From that seed on a planted bug must be found within so many: the very first, until something else changes chance."""

Patch = pytest.MonkeyPatch


def a_pause_counts_in_full(patch: Patch) -> None:
    def now_ns(self: ClusterClock, now_ns: int) -> int:
        return self._credited_ns + (now_ns - self._credited_at_ns) * self._rate_ppm // PPM

    patch.setattr(ClusterClock, "_now_ns", now_ns)


def the_drift_is_not_subtracted(patch: Patch) -> None:
    original = ClusterClock.lead

    def lead(self: ClusterClock, clock_ms: int) -> None:
        self._rate_ppm = PPM
        original(self, clock_ms)

    patch.setattr(ClusterClock, "lead", lead)


def a_new_leader_adds_a_little_time(patch: Patch) -> None:
    original = ClusterClock.lead
    patch.setattr(ClusterClock, "lead", lambda self, clock_ms: original(self, clock_ms + 2_000))


def the_probe_does_not_go_through_the_queue(patch: Patch) -> None:
    async def probe(self: CommitQueue) -> None: ...

    patch.setattr(CommitQueue, "probe", probe)


def nobody_confirms_leadership(patch: Patch) -> None:
    async def confirm(self: SimulatedReplica) -> Confirmation:
        return Confirmation(self.status.term, self.status.commit_index)

    patch.setattr(SimulatedReplica, "confirm", confirm)


def a_vote_is_taken_for_leadership(patch: Patch) -> None:
    def enter(self: Leadership, term: int) -> None:
        operations = (EnterEpoch(self._node_id), *self._opening())
        sequence = self._proposer.propose(epoch=term, at_ms=self._machine.clock_ms, operations=operations)
        self._entering = (term, sequence)
        if self._machine.cluster_id:
            applied: Any = SimpleNamespace(epoch=term, refused=None)
            self._start_leading(applied)

    patch.setattr(Leadership, "_enter", enter)


def any_epoch_may_enter(patch: Patch) -> None:
    let_proposals_stray(patch)
    patch.setattr(Machine, "_may_enter", lambda self, batch: True)


def an_unknown_outcome_is_called_a_failure(patch: Patch) -> None:
    patch.setattr(commit_queue, "OutcomeUnknown", NotLeader)


def answers_are_not_remembered(patch: Patch) -> None:
    patch.setattr(requests, "recall", lambda *_, **__: None)
    patch.setattr(requests, "remember", lambda *_: None)


def the_store_does_not_fence(patch: Patch) -> None:
    def delete(self: ObjectStore, key: str, token: int) -> str:
        found = [each for each in self.objects if each == key or each.startswith(f"{key}/")]
        for each in found:
            self._on_removed(each, self.objects.pop(each), token)
        return "removed" if found else "absent"

    patch.setattr(ObjectStore, "delete", delete)


def leases_end_before_their_deadline(patch: Patch) -> None:
    deadline_of, schedule = State.deadline_of, Timers.schedule

    def early(kind: TimerKind) -> int:
        return 40 if kind in (TimerKind.LEASE, TimerKind.SESSION) else 0

    def early_deadline_of(self: State, kind: TimerKind, key: Any) -> int | None:
        deadline_ms = deadline_of(self, kind, key)
        return None if deadline_ms is None else deadline_ms - early(kind)

    patch.setattr(State, "deadline_of", early_deadline_of)
    patch.setattr(Timers, "schedule", lambda self, at_ms, kind, key: schedule(self, at_ms - early(kind), kind, key))


def a_claim_is_not_checked_against_what_changed_since(patch: Patch) -> None:
    patch.setattr(cleanups, "_may_claim", lambda *_, **__: None)


def nothing_ticks(patch: Patch) -> None:
    patch.setattr(Ticker, "plan", lambda self: None)


BUGS: dict[Callable[[Patch], None], tuple[str, tuple[str, ...], int]] = {
    a_pause_counts_in_full: ("I7", ("stall_main",), 1),
    the_drift_is_not_subtracted: ("I7", (), 1),
    a_new_leader_adds_a_little_time: ("I7", ("kill",), 1),
    the_probe_does_not_go_through_the_queue: ("I7", ("slow_disks",), 3),
    nobody_confirms_leadership: ("", ("pause",), 22),
    a_vote_is_taken_for_leadership: ("", ("kill",), 1),
    any_epoch_may_enter: ("I7", ("stall",), 1),
    an_unknown_outcome_is_called_a_failure: ("I11", ("slow_disks",), 1),
    answers_are_not_remembered: ("I6", (), 1),
    the_store_does_not_fence: ("", ("pause", "kill"), 3),
    leases_end_before_their_deadline: ("I7", (), 2),
    a_claim_is_not_checked_against_what_changed_since: ("", (), 4),
    nothing_ticks: ("I4", (), 1),
}
"""The invariant that must be named (empty: any), the faults that bring the bug to light, and a seed that does."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    invariant, faults, first = BUGS[bug]
    for seed in range(first, first + SEEDS_MAX):
        violations = simulate(seed, faults).violations
        if violations:
            assert invariant in violations[0], f"seed {seed}: {violations[0]}"
            print(f"seed {seed}: {violations[0]}")
            return
    pytest.fail(f"{bug.__name__} was not found in {SEEDS_MAX} seeds from {first} on")
