"""Leases: who holds, for how long, and what a late word is told."""

import pytest

from garbagetruck.cluster.machine.model import (
    Bounds,
    CleanupSettings,
    EventType,
    LeaseState,
    NamespaceLimits,
    ResourceState,
    Tombstone,
)
from garbagetruck.cluster.machine.outcomes import LeasesReleased, Reason
from tests.unit.machine.scribe import AT_ONCE, INCARNATION, Scribe, accepted, file, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def test_a_new_lease_makes_its_resource_and_has_its_whole_ttl(log: Scribe) -> None:
    lease = log.lease("r", "ann", 10_000, cleanup=file("a"))
    assert (lease.state, lease.remaining_ms, lease.ttl_ms) == (LeaseState.ACTIVE, 10_000, 10_000)
    resource = log.resource("r")
    assert resource.state is ResourceState.LIVE
    assert resource.generation == resource.fencing_token == lease.fencing_token
    assert resource.leases == (lease.id,)


@pytest.mark.parametrize("last", ["expires", "is released"])
def test_a_resource_with_two_holders_survives_the_end_of_one(log: Scribe, last: str) -> None:
    ann = log.lease("r", "ann", 1_000, cleanup=file("a"))
    bob = log.lease("r", "bob", 60_000)
    if last == "expires":
        log.outlast(1_000)
    else:
        log.release(ann.id)
    assert log.resource("r").state is ResourceState.LIVE
    assert log.resource("r").leases == (bob.id,)
    refused(log.one(log.claiming("r")), Reason.CLEANUP_NOT_DUE)
    log.release(bob.id)
    assert log.resource("r").state is ResourceState.DUE


def test_i5_every_lease_and_claim_has_a_higher_token_than_all_before_it(log: Scribe) -> None:
    first = log.lease("r", cleanup=file("a"))
    second = log.lease("other")
    assert first.fencing_token > INCARNATION << 40
    assert second.fencing_token > first.fencing_token
    log.release(first.id)
    claim = log.claim("r")
    assert claim.token > second.fencing_token
    log.one(log.reporting(claim.token))
    assert log.lease("r").fencing_token > claim.token, "a forgotten name does not reset the tokens"


# -- the deadline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_ms", [0, 1, 500])
def test_a_renewal_until_the_deadline_begins_the_time_anew(log: Scribe, early_ms: int) -> None:
    lease = log.lease(ttl_ms=1_000, cleanup=file("a"))
    log.at_ms += 1_000 - early_ms
    assert log.renew(lease.id).remaining_ms == (1_000,)
    log.advance(1_000)
    assert log.resource().state is ResourceState.LIVE
    log.advance(1)
    assert log.resource().state is ResourceState.DUE


@pytest.mark.parametrize("late_ms", [1, 2])
def test_a_renewal_after_the_deadline_is_refused_and_told_when_and_why(log: Scribe, late_ms: int) -> None:
    lease = log.lease("r", ttl_ms=1_000, cleanup=file("a"))
    log.at_ms += 1_000 + late_ms
    outcome = log.renew(lease.id)
    assert outcome.remaining_ms == (-1,)
    ((place, why),) = outcome.refusals
    assert place == 0
    assert dict(refused(why, Reason.LEASE_ENDED).metadata) == {
        "ended_ms": str(log.at_ms),
        "end_reason": "expired",
        "resource": "r",
    }
    assert "expired" in why.message


def test_a_renewal_that_meets_an_overdue_but_unswept_lease_saves_it(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    first, second = log.lease("r1", ttl_ms=1_000, cleanup=file("a")), log.lease("r2", ttl_ms=1_001, cleanup=file("b"))
    log.at_ms += 2_000
    assert log.renew(first.id, second.id).remaining_ms == (-1, 1_001), "the first was swept, the second waits its turn"
    log.settle()
    assert log.resource("r1").state is ResourceState.DUE
    assert log.resource("r2").state is ResourceState.LIVE
    assert log.machine.lease(second.id, log.at_ms + 1_000) is not None


def test_a_renewal_in_the_same_batch_as_the_stamp_that_ends_it_comes_too_late(log: Scribe) -> None:
    lease = log.lease(ttl_ms=1_000)
    log.at_ms += 999
    log.renew(lease.id)
    log.at_ms += 1_001
    assert log.renew(lease.id).remaining_ms == (-1,)


def test_a_renewal_may_bring_another_ttl_either_way(log: Scribe) -> None:
    lease = log.lease(ttl_ms=10_000, cleanup=file("a"))
    assert log.renew(lease.id, ttl_ms=1_000).remaining_ms == (1_000,)
    log.advance(999)
    assert log.resource().state is ResourceState.LIVE
    assert log.renew(lease.id).remaining_ms == (1_000,), "the new TTL stays"
    assert log.renew(lease.id, ttl_ms=5_000).remaining_ms == (5_000,)
    log.advance(5_000)
    assert log.resource().state is ResourceState.LIVE
    log.advance(1)
    assert log.resource().state is ResourceState.DUE


def test_one_renewal_carries_many_leases_and_refuses_only_the_lost_ones(log: Scribe) -> None:
    ids = [log.lease(f"r{number}", ttl_ms=1_000 + number).id for number in range(3)]
    log.release(ids[1])
    outcome = log.renew(ids[0], ids[1], "never", ids[2], ids[0])
    assert outcome.remaining_ms == (1_000, -1, -1, 1_002, 1_000)
    assert [(place, why.reason) for place, why in outcome.refusals] == [
        (1, Reason.LEASE_ENDED),
        (2, Reason.LEASE_NOT_FOUND),
    ]


def test_the_time_of_an_unswept_lease_never_looks_negative(log: Scribe) -> None:
    lease = log.lease(ttl_ms=1_000)
    seen = log.machine.lease(lease.id, log.at_ms + 5_000)
    assert seen is not None
    assert (seen.remaining_ms, seen.state) == (0, LeaseState.ACTIVE)


def test_a_clock_that_stands_still_ends_nothing(log: Scribe) -> None:
    """I7: without available time, as during an election, nothing expires."""
    log.lease(ttl_ms=1_000, cleanup=file("a"))
    for _ in range(50):
        log.enter_epoch()
    assert log.resource().state is ResourceState.LIVE


# -- giving back --------------------------------------------------------------------------------------------------


def test_giving_back_twice_is_giving_back_once(log: Scribe) -> None:
    lease = log.lease()
    assert log.release(lease.id) == LeasesReleased(1, ())
    digest = log.machine.digest()
    assert log.release(lease.id) == LeasesReleased(1, ())
    assert log.machine.digest() == digest


def test_giving_back_an_expired_or_unknown_lease_is_refused(log: Scribe) -> None:
    lease = log.lease(ttl_ms=1_000)
    log.outlast(1_000)
    outcome = log.release(lease.id, "never")
    assert [why.reason for _, why in outcome.refusals] == [Reason.LEASE_ENDED, Reason.LEASE_NOT_FOUND]
    assert outcome.released == 0


def test_the_last_holder_may_keep_the_resource_off_the_books(log: Scribe) -> None:
    lease = log.lease("r", cleanup=file("a"))
    log.release(lease.id, keep=True)
    assert log.machine.resource("default", "r") is None
    assert [each.detail for each in log.events(EventType.RESOURCE_FORGOTTEN)] == ["kept by h"]
    assert log.release(lease.id, keep=True).released == 1, "a repeated release is the same release"
    log.lease("other", cleanup=file("a"))


def test_with_other_holders_a_resource_cannot_be_kept(log: Scribe) -> None:
    ann, bob = log.lease("r", "ann", cleanup=file("a")), log.lease("r", "bob")
    outcome = log.release(ann.id, keep=True)
    refused(outcome.refusals[0][1], Reason.RESOURCE_HAS_OTHER_HOLDERS)
    assert log.resource("r").leases == (ann.id, bob.id)
    log.release(bob.id)
    assert log.release(ann.id, keep=True).released == 1


def test_a_held_resource_cannot_be_kept(log: Scribe) -> None:
    lease = log.lease("r", cleanup=file("a"))
    log.one(log.holding("r"))
    refused(log.release(lease.id, keep=True).refusals[0][1], Reason.HOLD_CONFLICT)


@pytest.mark.parametrize("by_now", ["an orphan", "claimed", "cleaned"])
def test_keeping_comes_too_late_once_the_lease_was_given_back_without(log: Scribe, by_now: str) -> None:
    lease = log.lease("r", cleanup=file("a"))
    log.release(lease.id)
    if by_now != "an orphan":
        claim = log.claim("r")
        if by_now == "cleaned":
            log.one(log.reporting(claim.token))
            assert isinstance(log.machine.resource("default", "r"), Tombstone)
    refused(log.release(lease.id, keep=True).refusals[0][1], Reason.LEASE_ENDED)


def test_a_holder_gives_back_all_it_has_a_bounded_number_at_a_time(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=4))
    for number in range(10):
        log.lease(f"r{number}", "ann")
    bob = log.lease("r0", "bob")
    assert log.release_holder("ann", limit=3) == LeasesReleased(3, (), 7)
    assert log.release_holder("ann", limit=1_000) == LeasesReleased(4, (), 3)
    assert log.release_holder("ann") == LeasesReleased(3, (), 0)
    assert log.release_holder("ann") == LeasesReleased(0, (), 0)
    assert log.resource("r0").leases == (bob.id,)


# -- bounds -------------------------------------------------------------------------------------------------------


def test_ended_leases_are_remembered_up_to_a_bound_and_then_unknown(log: Scribe) -> None:
    log.bounds(Bounds(ended_leases_max=2))
    ids = [log.lease(f"r{number}").id for number in range(3)]
    for lease_id in ids:
        log.release(lease_id)
    reasons = [why.reason for _, why in log.renew(*ids).refusals]
    assert reasons == [Reason.LEASE_NOT_FOUND, Reason.LEASE_ENDED, Reason.LEASE_ENDED]


def test_a_lease_id_is_given_once(log: Scribe) -> None:
    lease = log.lease("r1")
    refused(log.one(log.acquiring("r2", lease_id=lease.id)), Reason.LEASE_ID_TAKEN)
    log.release(lease.id)
    refused(log.one(log.acquiring("r2", lease_id=lease.id)), Reason.LEASE_ID_TAKEN)


def test_quotas_of_leases_are_kept(log: Scribe) -> None:
    log.settings(limits=NamespaceLimits(leases_max=3, leases_per_holder_max=2, resources_max=10))
    log.lease("r1", "ann")
    log.lease("r2", "ann")
    refused(log.one(log.acquiring("r3", "ann")), Reason.QUOTA_EXCEEDED)
    bob = log.lease("r3", "bob")
    refused(log.one(log.acquiring("r4", "cid")), Reason.QUOTA_EXCEEDED)
    log.release(bob.id)
    log.lease("r4", "cid")


def test_a_lease_of_one_namespace_is_unknown_in_another(log: Scribe) -> None:
    lease = log.lease(ttl_ms=1_000)
    log.settings("team", cleanup=CleanupSettings(grace_ms_min=0))
    log.namespace = "team"
    assert [why.reason for _, why in log.renew(lease.id).refusals] == [Reason.LEASE_NOT_FOUND]
    assert [why.reason for _, why in log.release(lease.id).refusals] == [Reason.LEASE_NOT_FOUND]
    log.outlast(1_000)
    assert [why.reason for _, why in log.renew(lease.id).refusals] == [Reason.LEASE_NOT_FOUND], "nor what became of it"


def test_an_unknown_namespace_is_refused_and_not_made(log: Scribe) -> None:
    log.namespace = "nowhere"
    refused(log.one(log.acquiring()), Reason.NAMESPACE_NOT_FOUND)
    refused(log.one(log.renewing("x")), Reason.NAMESPACE_NOT_FOUND)
    assert [each.name for each in log.machine.namespaces()] == ["default"]


def test_grace_is_the_longest_that_was_asked_for_and_no_less_than_the_namespaces(log: Scribe) -> None:
    log.settings(cleanup=CleanupSettings(grace_ms_min=500))
    ann = log.lease("r", "ann", cleanup=file("a"), grace_ms=100)
    assert log.resource("r").grace_ms == 500
    bob = log.lease("r", "bob", grace_ms=900)
    log.lease("r", "cid", grace_ms=700)
    assert log.resource("r").grace_ms == 900
    log.release(ann.id, bob.id)
    log.release_holder("cid")
    log.advance(900)
    assert log.resource("r").state is ResourceState.ORPHANED
    log.advance(1)
    assert log.resource("r").state is ResourceState.DUE


def test_a_resource_without_a_cleanup_is_forgotten_with_its_last_lease(log: Scribe) -> None:
    lease = log.lease("r")
    log.release(lease.id)
    assert log.machine.resource("default", "r") is None


def test_lease_events_tell_release_from_expiry(log: Scribe) -> None:
    given, lost = log.lease("r1", ttl_ms=1_000), log.lease("r2", ttl_ms=1_000)
    log.release(given.id)
    log.outlast(1_000)
    assert [each.lease_id for each in log.events(EventType.LEASE_RELEASED)] == [given.id]
    assert [each.lease_id for each in log.events(EventType.LEASE_EXPIRED)] == [lost.id]
    assert accepted(log.machine.lease(lost.id, log.at_ms), type(given)).state is LeaseState.EXPIRED
    assert AT_ONCE.grace_ms_min == 0
