"""Mutants of time: who earns it, how much, and what ends by it (I7)."""

from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.timers import TimerKind, Timers
from garbagetruck.cluster.node.clock import PPM, ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.ticker import Ticker


@mutant(guard="clock: a credit grants one step", breaks="I7", catcher=in_cluster("stall_main", names="I7"))
def a_pause_counts_in_full(patch: Patch) -> None:
    """A leader that stood still counts all of that time, in which it could hear nobody."""

    def now_ns(self: ClusterClock, now_ns: int) -> int:
        return self._credited_ns + (now_ns - self._credited_at_ns) * self._rate_ppm // PPM

    patch.setattr(ClusterClock, "_now_ns", now_ns)


@mutant(guard="clock: the drift assumed", breaks="I7", catcher=in_cluster(names="I7"))
def the_drift_is_not_subtracted(patch: Patch) -> None:
    """Cluster time runs as fast as the leader's oscillator, which may be too fast."""
    original = ClusterClock.lead

    def lead(self: ClusterClock, clock_ms: int) -> None:
        self._rate_ppm = PPM
        original(self, clock_ms)

    patch.setattr(ClusterClock, "lead", lead)


@mutant(guard="clock: it goes on from the log's", breaks="I7", catcher=in_cluster("kill", names="I7"))
def a_new_leader_adds_a_little_time(patch: Patch) -> None:
    """A new leader begins two seconds after the last stamp, for what it believes the election took."""
    original = ClusterClock.lead
    patch.setattr(ClusterClock, "lead", lambda self, clock_ms: original(self, clock_ms + 2_000))


@mutant(
    guard="clock: the probe goes the way of a renewal",
    breaks="I7",
    catcher=in_cluster("slow_disks", names="I7", first=3),
)
def the_probe_does_not_go_through_the_queue(patch: Patch) -> None:
    """Time is credited by a majority's echo alone, though the queue would have taken no renewal."""

    async def probe(self: CommitQueue) -> None: ...

    patch.setattr(CommitQueue, "probe", probe)


@mutant(
    guard="clock: a probe is sent after the last credit",
    breaks="I7",
    catcher=by_test("unit/node/test_clock.py::test_a_probe_sent_before_the_last_credit_grants_nothing"),
)
def an_old_probe_is_credited(patch: Patch) -> None:
    """A probe that was on its way before the last credit grants another step."""
    original = ClusterClock.credit
    patch.setattr(ClusterClock, "credit", lambda self, sent_ns: original(self, max(sent_ns, self._credited_at_ns)))


@mutant(guard="timers: nothing ends before its deadline", breaks="I7", catcher=in_cluster(names="I7", first=2))
def leases_end_before_their_deadline(patch: Patch) -> None:
    """Leases and sessions are swept 40 ms early."""
    deadline_of, schedule, schedule_all = State.deadline_of, Timers.schedule, Timers.schedule_all

    def early(kind: TimerKind) -> int:
        return 40 if kind in (TimerKind.LEASE, TimerKind.SESSION) else 0

    def early_deadline_of(self: State, kind: TimerKind, key: Any) -> int | None:
        deadline_ms = deadline_of(self, kind, key)
        return None if deadline_ms is None else deadline_ms - early(kind)

    patch.setattr(State, "deadline_of", early_deadline_of)
    patch.setattr(Timers, "schedule", lambda self, at_ms, kind, key: schedule(self, at_ms - early(kind), kind, key))
    # A node that goes on from a snapshot is as early as the others, or they would differ by this mutant's own doing.
    patch.setattr(
        Timers, "schedule_all", lambda self, at_ms, kind, keys: schedule_all(self, at_ms - early(kind), kind, keys)
    )


@mutant(
    guard="stamps are cut: a span takes a millisecond more",
    breaks="I1",
    catcher=by_test("unit/machine/test_stamps.py"),
)
def a_millisecond_that_began_counts_as_over(patch: Patch) -> None:
    """An orphan's grace is over at the very stamp that it was reckoned from."""
    patch.setattr(State, "passed_ms", lambda self, span_ms: self.clock_ms + span_ms)


@mutant(guard="ticker", breaks="I4", catcher=in_cluster(names="I4"))
def nothing_ticks(patch: Patch) -> None:
    """An idle leader logs no time, so that nothing ends until somebody writes."""
    patch.setattr(Ticker, "plan", lambda self: None)
