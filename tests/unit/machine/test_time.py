"""Cluster time: moved by stamps alone, swept in one order, a bounded part at a time."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.model import Bounds, CleanupSettings, EventType, ResourceState
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, EnterEpoch, Operation
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason
from garbagetruck.cluster.machine.questions import LeaseFilter
from tests.unit.machine.scribe import Scribe, accepted, file, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


# -- the clock ----------------------------------------------------------------------------------------------------


def test_a_stamp_moves_the_clock_and_never_back(log: Scribe) -> None:
    log.at_ms = 5_000
    log.many()
    assert log.machine.clock_ms == 5_000
    log.at_ms = 1_000
    lease = log.lease(ttl_ms=1_000)
    assert log.machine.clock_ms == 5_000
    assert lease.remaining_ms == 1_000
    log.at_ms = 6_000
    log.many()
    assert log.machine.lease(lease.id, 6_000) is not None
    assert log.machine.usage("default").leases == 1
    log.advance(1)
    assert log.machine.usage("default").leases == 0


def test_i7_the_outage_of_an_election_costs_no_lease_its_time(log: Scribe) -> None:
    """The new leader stamps on from where the old one stopped: leases are extended by the outage, and not restarted."""
    lease = log.lease(ttl_ms=1_000)
    log.advance(600)
    log.enter_epoch("n2")
    seen = log.machine.lease(lease.id, log.at_ms)
    assert seen is not None
    assert seen.remaining_ms == 400


# -- epochs -------------------------------------------------------------------------------------------------------


def test_i8_a_batch_of_a_deposed_leader_changes_nothing(log: Scribe) -> None:
    log.lease(ttl_ms=1_000)
    old = Batch(BATCH_FORMAT, log.epoch, log.at_ms + 60_000, "n1", 99, (log.acquiring("r2"),))
    log.enter_epoch("n2")
    digest = log.machine.digest()
    applied = log.write_bytes(codec.encode_batch(old))
    assert applied.refused is not None
    assert applied.refused.reason is Reason.STALE_EPOCH
    assert (applied.proposer, applied.sequence, applied.outcomes) == ("n1", 99, ())
    assert log.machine.digest() == digest, "an expiry is invalid outside its own term"


@pytest.mark.parametrize("operations", ["none", "an acquire", "an acquire before the entry"])
def test_a_later_epoch_begins_with_its_leaders_entry_only(log: Scribe, operations: str) -> None:
    content: dict[str, tuple[Operation, ...]] = {
        "none": (),
        "an acquire": (log.acquiring(),),
        "an acquire before the entry": (log.acquiring(), EnterEpoch("n2")),
    }
    digest = log.machine.digest()
    log.epoch += 1
    applied = log.write(*content[operations])
    assert applied.refused is not None
    assert applied.refused.reason is Reason.STALE_EPOCH
    assert log.machine.digest() == digest


def test_an_epoch_has_a_leader_and_tells_it(log: Scribe) -> None:
    log.epoch += 6
    log.many(EnterEpoch("n3"), log.acquiring())
    assert (log.machine.epoch, log.machine.leader) == (7, "n3")
    assert log.events(EventType.LEADER_CHANGED)[-1].detail == "n3 in epoch 7"


def test_an_epoch_may_be_entered_again(log: Scribe) -> None:
    log.one(EnterEpoch("n1"))
    assert (log.machine.epoch, log.machine.leader) == (1, "n1")


# -- the sweep ----------------------------------------------------------------------------------------------------


def test_ten_thousand_leases_ending_together_take_bounded_work_per_batch_and_all_end(log: Scribe) -> None:
    for start in range(0, 10_000, 1_000):
        log.many(
            *(
                log.acquiring(f"r{n}", f"h{n % 7}", ttl_ms=5_000, cleanup=file(f"f{n}"), grace_ms=1_000)
                for n in range(start, start + 1_000)
            )
        )
    log.at_ms += 5_001
    most = log.machine.bounds.expirations_per_batch_max
    left = 10_000
    while left:
        before = log.machine.event_index
        outcome = log.one(log.acquiring("meanwhile", "client", ttl_ms=10_000))
        assert accepted(outcome, LeaseGranted).lease.remaining_ms == 10_000, "and nobody waits for the end of it"
        assert log.machine.event_index - before == 2 * most + 1, "each lease ends and orphans its resource"
        left -= most
        assert len(log.machine.leases(LeaseFilter("default", resource="meanwhile"), 0, 100, log.at_ms).items) == (
            (10_000 - left) // most
        )
        assert log.machine.sweep_backlog() == bool(left)
    assert log.machine.usage("default").leases == 10_000 // most
    assert not log.machine.sweep_backlog()
    assert log.machine.usage("default").orphaned == 10_000
    log.outlast(1_000)
    log.settle()
    assert log.machine.usage("default").due == 10_000


def test_things_end_in_the_order_of_their_deadlines(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    ids = {ttl_ms: log.lease(f"r{ttl_ms}", ttl_ms=ttl_ms).id for ttl_ms in (3_000, 1_000, 4_000, 2_000)}
    log.renew(ids[1_000], ttl_ms=5_000)
    log.renew(ids[4_000], ttl_ms=1_500)
    log.at_ms += 10_000
    log.many()
    log.settle()
    ended = [each.lease_id for each in log.events(EventType.LEASE_EXPIRED)]
    assert ended == [ids[4_000], ids[2_000], ids[3_000], ids[1_000]]


def test_an_orphan_is_no_older_than_the_sweep_that_made_it(log: Scribe) -> None:
    """Grace counts from when the last lease was ended, not from when it might have been."""
    log.settings(cleanup=CleanupSettings(grace_ms_min=2_000))
    log.lease("r", ttl_ms=1_000, cleanup=file("a"))
    log.outlast(60_000)
    assert log.resource("r").state is ResourceState.ORPHANED
    assert log.resource("r").due_ms == log.at_ms + 2_001


def test_the_next_deadline_tells_when_a_tick_is_needed(log: Scribe) -> None:
    assert log.machine.next_deadline_ms() is None
    lease = log.lease(ttl_ms=5_000, cleanup=file("a"), grace_ms=500)
    assert log.machine.next_deadline_ms() == log.at_ms + 5_001, "the first stamp that ends it"
    log.session("ann", 3_000)
    assert log.machine.next_deadline_ms() == log.at_ms + 3_001
    log.outlast(3_000)
    log.renew(lease.id)
    early = log.machine.next_deadline_ms()
    assert early is not None
    assert early <= log.at_ms + 5_001
    log.outlast(5_000)
    assert log.machine.next_deadline_ms() == log.at_ms + 501, "the orphan's grace"


def test_a_backlog_asks_for_a_tick_at_once(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    for number in range(3):
        log.lease(f"r{number}", ttl_ms=1_000)
    log.outlast(1_000)
    assert log.machine.sweep_backlog()
    deadline_ms = log.machine.next_deadline_ms()
    assert deadline_ms is not None
    assert deadline_ms <= log.machine.clock_ms
    assert log.settle() == 2
    assert log.machine.next_deadline_ms() is None


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_the_end_does_not_depend_on_the_bound(log: Scribe, budget: int) -> None:
    log.bounds(Bounds(expirations_per_batch_max=budget))
    session = log.session("ann", 1_000)
    for number in range(7):
        log.lease(f"r{number}", "ann", session=session.id, cleanup=file(f"f{number}"))
        log.lease(f"r{number}", "bob", ttl_ms=900 + number)
    log.at_ms += 5_000
    log.many()
    log.settle()
    assert log.machine.usage("default").due == 7
    assert [each.name for each in log.machine.ready(10)] == [f"r{number}" for number in range(7)]


def test_a_year_in_one_stamp_is_swept_like_any_other(log: Scribe) -> None:
    """The leader's clock is what keeps the time fair (I7); whatever it stamps, every node sweeps it alike."""
    log.lease(ttl_ms=1_000, cleanup=file("a"))
    log.outlast(365 * 86_400_000)
    assert log.resource().state is ResourceState.DUE


@pytest.mark.parametrize("stamp_ms", [-1, -(1 << 63), (1 << 53) + 1, (1 << 64) - 1])
def test_a_stamp_that_no_clock_can_tell_is_no_batch(log: Scribe, stamp_ms: int) -> None:
    good = Batch(BATCH_FORMAT, log.epoch, log.at_ms, "n1", 1, (log.acquiring(ttl_ms=1_000),))
    digest = log.machine.digest()
    applied = log.write_bytes(codec.encode_batch(replace(good, at_ms=stamp_ms)))
    assert applied.refused is not None
    assert log.machine.digest() == digest


def test_at_the_last_stamp_that_there_is_everything_still_adds_up(log: Scribe) -> None:
    log.at_ms = 1 << 53
    lease = log.lease(ttl_ms=log.machine.bounds.ttl_ms_max, cleanup=file("a"))
    log.release(lease.id)
    claim = log.claim(duration_ms=log.machine.bounds.claim_ms_max)
    assert claim.deadline_ms > 1 << 53
    refused(log.one(log.acquiring()), Reason.RESOURCE_BEING_CLEANED)
    assert log.machine.digest() > 0
