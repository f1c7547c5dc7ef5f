"""Timers: things fall due in the order of their deadlines, whatever entries are left from before, and these stay few."""

import random

import pytest

from garbagetruck.cluster.machine import timers
from garbagetruck.cluster.machine.model import CleanupSettings
from garbagetruck.cluster.machine.timers import TimerKey, TimerKind, Timers
from tests.unit.machine import integrity
from tests.unit.machine.scribe import Scribe, file


class Truth:
    """Deadlines in a dictionary, with timers that follow them as the state's do."""

    def __init__(self) -> None:
        self.deadlines: dict[tuple[TimerKind, TimerKey], int] = {}
        self.timers = Timers(lambda kind, key: self.deadlines.get((kind, key)))

    def put(self, kind: TimerKind, key: TimerKey, deadline_ms: int) -> None:
        old = self.deadlines.get((kind, key))
        self.deadlines[kind, key] = deadline_ms
        if old is None or deadline_ms < old:
            self.timers.schedule(deadline_ms, kind, key)

    def taken(self, clock_ms: int) -> list[tuple[int, TimerKind, TimerKey]]:
        found = []
        while (due := self.timers.next_due(clock_ms)) is not None:
            self.timers.take()
            found.append((self.deadlines.pop(due), *due))
        return found

    def expected(self, clock_ms: int) -> list[tuple[int, TimerKind, TimerKey]]:
        due = [(deadline_ms, *thing) for thing, deadline_ms in self.deadlines.items() if deadline_ms <= clock_ms]
        return sorted(due, key=lambda each: (each[0], each[1], each[2]))


def test_among_equal_deadlines_leases_end_before_sessions_and_both_before_cleanups() -> None:
    truth = Truth()
    truth.put(TimerKind.CLAIM, ("n", "a"), 10)
    truth.put(TimerKind.CLEANUP_DUE, ("n", "a"), 10)
    truth.put(TimerKind.SESSION, "s", 10)
    truth.put(TimerKind.LEASE, "z", 10)
    truth.put(TimerKind.LEASE, "b", 10)
    kinds = [kind for _, kind, _ in truth.taken(10)]
    assert kinds == [TimerKind.LEASE, TimerKind.LEASE, TimerKind.SESSION, TimerKind.CLEANUP_DUE, TimerKind.CLAIM]


@pytest.mark.parametrize("tidy", [False, True])
def test_the_order_does_not_depend_on_what_the_entries_looked_like(
    seed: int,
    tidy: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timers, "TIDY_MIN", 0)
    monkeypatch.setattr(timers, "TIDY_STEP", 3)
    rng = random.Random(seed)
    truth, clock_ms = Truth(), 0
    for _ in range(20_000):
        kind, key = rng.choice((TimerKind.LEASE, TimerKind.SESSION)), f"k{rng.randrange(30)}"
        match rng.randrange(10):
            case 0:
                truth.deadlines.pop((kind, key), None)
            case 1:
                clock_ms += rng.randrange(40)
                expected = truth.expected(clock_ms)
                earliest_ms = truth.timers.earliest_ms()
                assert not expected or (earliest_ms is not None and earliest_ms <= expected[0][0])
                assert truth.taken(clock_ms) == expected
            case _:
                truth.put(kind, key, clock_ms + rng.randrange(1, 200))
        if tidy:
            truth.timers.tidy(len(truth.deadlines))
            assert len(truth.timers) <= 250
    expected = truth.expected(clock_ms + 1_000)
    assert len(expected) == len(truth.deadlines)
    assert truth.taken(clock_ms + 1_000) == expected


@pytest.mark.parametrize(
    "habit", ["leases given back at once", "TTLs up and down", "orphans adopted", "holds on and off"]
)
def test_what_is_over_leaves_no_growing_heap_behind(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "TIDY_MIN", 50)
    log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=3_600_000))
    lasting = log.lease("lasting", ttl_ms=86_400_000, cleanup=file("lasting"))
    if habit == "holds on and off":
        log.release(lasting.id)
    for _ in range(2_000):
        log.at_ms += 10
        match habit:
            case "leases given back at once":
                log.release(log.lease("r", ttl_ms=86_400_000).id)
            case "TTLs up and down":
                log.renew(lasting.id, ttl_ms=100_000)
                log.renew(lasting.id, ttl_ms=86_400_000)
            case "orphans adopted":
                log.release(log.lease("r", ttl_ms=86_400_000, cleanup=file("a")).id)
            case _:
                log.one(log.holding("lasting"))
                log.one(log.unholding("lasting"))
    entries = len(integrity.state_of(log.machine).timers)
    assert entries < 200, f"{entries} timer entries for at most two leases and two resources"
    integrity.check(log.machine)


def test_tidying_up_is_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "TIDY_MIN", 10)
    monkeypatch.setattr(timers, "TIDY_STEP", 5)
    asked: list[TimerKey] = []

    def deadline_of(_: TimerKind, key: TimerKey) -> int | None:
        asked.append(key)
        return None

    heap = Timers(deadline_of)
    for number in range(1_000):
        heap.schedule(number, TimerKind.LEASE, f"k{number}")
    heap.tidy(0)
    asked.clear()
    while len(heap):
        heap.tidy(0)
        assert len(asked) <= 2_000 + 5
        asked.clear()
