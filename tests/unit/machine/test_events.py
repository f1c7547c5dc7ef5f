"""The event ring: bounded, resumable by index, the same on every node."""

import pytest

from garbagetruck.cluster.machine.model import Bounds, EventType
from garbagetruck.cluster.machine.questions import EventsGone
from tests.unit.machine import integrity
from tests.unit.machine.scribe import Scribe, file


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def test_a_watcher_that_resumes_after_an_index_misses_and_repeats_nothing(log: Scribe) -> None:
    seen: list[int] = []
    for number in range(40):
        log.release(log.lease(f"r{number}").id)
        if number % 3 == 0:
            after = seen[-1] if seen else 0
            while batch := log.machine.events_after(after, 2):
                seen += [each.index for each in batch]
                after = seen[-1]
    seen += [each.index for each in log.machine.events_after(seen[-1], 1_000)]
    assert seen == list(range(1, log.machine.event_index + 1))


def test_the_ring_is_bounded_and_says_where_it_begins(log: Scribe) -> None:
    log.bounds(Bounds(events_max=10))
    for number in range(20):
        log.release(log.lease(f"r{number}").id)
    newest = log.machine.event_index
    assert [each.index for each in log.machine.events_after(newest - 10, 100)] == list(range(newest - 9, newest + 1))
    with pytest.raises(EventsGone) as gone:
        log.machine.events_after(newest - 11, 100)
    assert gone.value.oldest_index == newest - 9
    assert log.machine.events_after(newest, 100) == ()
    assert log.machine.events_after(newest + 1_000, 100) == (), "an index of the future waits"


def test_a_smaller_ring_is_cut_by_the_next_event(log: Scribe) -> None:
    for number in range(20):
        log.lease(f"r{number}")
    log.bounds(Bounds(events_max=3))
    log.lease("last")
    assert len(integrity.state_of(log.machine).events) == 3


def test_a_machine_without_a_ring_does_not_pretend_that_nothing_happened(log: Scribe) -> None:
    log.lease()
    newest = log.machine.event_index
    integrity.state_of(log.machine).events.clear()
    with pytest.raises(EventsGone) as gone:
        log.machine.events_after(newest - 1, 10)
    assert gone.value.oldest_index == newest + 1
    assert log.machine.events_after(newest, 10) == ()


def test_the_life_of_a_resource_is_told_in_order(log: Scribe) -> None:
    begin = log.machine.event_index
    lease = log.lease("r", cleanup=file("a"))
    log.release(lease.id)
    adopted = log.lease("r", ttl_ms=1_000)
    log.outlast(1_000)
    claim = log.claim("r")
    log.one(log.reporting(claim.token))
    told = [(each.type, each.lease_id or each.token) for each in log.machine.events_after(begin, 100)]
    assert told == [
        (EventType.LEASE_ACQUIRED, lease.id),
        (EventType.LEASE_RELEASED, lease.id),
        (EventType.RESOURCE_ORPHANED, 0),
        (EventType.CLEANUP_DUE, 0),
        (EventType.RESOURCE_ADOPTED, adopted.id),
        (EventType.LEASE_ACQUIRED, adopted.id),
        (EventType.LEASE_EXPIRED, adopted.id),
        (EventType.RESOURCE_ORPHANED, 0),
        (EventType.CLEANUP_DUE, 0),
        (EventType.CLEANUP_CLAIMED, claim.token),
        (EventType.CLEANUP_DONE, claim.token),
    ]
    assert all(each.at_ms <= log.at_ms for each in log.machine.events_after(0, 100))
