"""Sessions: one heartbeat for many leases, which are over when it is over."""

import pytest

from garbagetruck.cluster.machine.model import Bounds, EventType, LeaseState, NamespaceLimits, ResourceState
from garbagetruck.cluster.machine.operations import ReleaseHolder, SetBounds
from garbagetruck.cluster.machine.outcomes import (
    LeaseGranted,
    LeasesReleased,
    LeasesRenewed,
    Reason,
    SessionClosed,
    SessionOpened,
    SessionsRenewed,
)
from tests.unit.machine.scribe import Scribe, accepted, file, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def test_one_heartbeat_keeps_all_leases_of_a_session(log: Scribe) -> None:
    session = log.session("ann", 1_000)
    for number in range(5):
        log.lease(f"r{number}", "ann", session=session.id, cleanup=file(f"f{number}"))
    for _ in range(3):
        log.at_ms += 999
        assert log.one(log.heartbeat(session.id)) == SessionsRenewed((1_000,), ())
    assert log.machine.usage("default").leases == 5
    log.outlast(1_000)
    assert log.machine.usage("default").leases == 0
    assert log.resource("r4").state is ResourceState.DUE


def test_every_acknowledged_operation_that_names_a_session_renews_it(log: Scribe) -> None:
    session = log.session("ann", 1_000)
    log.at_ms += 900
    lease = log.lease("r", "ann", session=session.id)
    assert lease.remaining_ms == 1_000
    log.at_ms += 900
    assert log.renew(lease.id).remaining_ms == (1_000,)
    log.advance(900)
    seen = log.machine.session(session.id, log.at_ms)
    assert seen is not None
    assert (seen.active, seen.remaining_ms, seen.lease_count) == (True, 100, 1)


def test_a_ttl_asked_for_is_without_effect_on_a_lease_of_a_session(log: Scribe) -> None:
    """One call may renew both kinds: it must not refuse the one because of what it says to the other."""
    session = log.session("ann", 1_000)
    attached = log.lease("r1", "ann", session=session.id)
    alone = log.lease("r2", "ann", ttl_ms=1_000)
    log.at_ms += 900
    assert log.renew(attached.id, alone.id, ttl_ms=5_000) == LeasesRenewed((1_000, 5_000), ())
    log.advance(1_000)
    assert log.machine.session(session.id, log.at_ms) is not None
    assert log.machine.usage("default").leases == 2
    log.advance(1)
    assert log.machine.usage("default").leases == 1, "the session's TTL held"


def test_an_attached_lease_reports_its_sessions_remaining_time(log: Scribe) -> None:
    session = log.session("ann", 1_000)
    lease = log.lease("r", "ann", session=session.id)
    log.at_ms += 400
    seen = log.machine.lease(lease.id, log.at_ms)
    assert seen is not None
    assert (seen.remaining_ms, seen.ttl_ms, seen.session_id) == (600, 1_000, session.id)


def test_only_the_sessions_holder_may_attach_a_lease_to_it(log: Scribe) -> None:
    session = log.session("ann")
    refused(log.one(log.acquiring("r", "bob", session=session.id)), Reason.HOLDER_MISMATCH)
    assert log.lease("r", "", session=session.id).holder == "ann", "without a holder it is the session's"
    assert log.machine.usage("default").holders == 1


@pytest.mark.parametrize("late_ms", [1, 2])
def test_a_session_cannot_be_renewed_once_its_time_is_over(log: Scribe, late_ms: int) -> None:
    session = log.session("ann", 1_000)
    log.at_ms += 999
    assert accepted(log.one(log.heartbeat(session.id)), SessionsRenewed).remaining_ms == (1_000,)
    log.at_ms += 1_000 + late_ms
    outcome = accepted(log.one(log.heartbeat(session.id, "never")), SessionsRenewed)
    assert outcome.remaining_ms == (-1, -1)
    ended, unknown = (why for _, why in outcome.refusals)
    assert dict(refused(ended, Reason.SESSION_ENDED).metadata) == {"ended_ms": str(log.at_ms), "end_reason": "expired"}
    refused(unknown, Reason.SESSION_NOT_FOUND)


def test_closing_a_session_ends_its_leases_and_twice_is_once(log: Scribe) -> None:
    session = log.session("ann")
    lease = log.lease("r", "ann", session=session.id, cleanup=file("a"))
    assert log.one(log.closing(session.id)) == SessionClosed(1)
    seen = log.machine.lease(lease.id, log.at_ms)
    assert seen is not None
    assert (seen.state, seen.end_reason) == (LeaseState.RELEASED, "session_closed")
    assert log.one(log.closing(session.id)) == SessionClosed(0)
    log.advance(0)
    assert log.resource("r").state is ResourceState.DUE
    assert log.one(log.closing(session.id)) == SessionClosed(0)
    refused(log.one(log.acquiring("r2", "ann", session=session.id)), Reason.SESSION_ENDED)


def test_an_expired_session_cannot_be_closed(log: Scribe) -> None:
    session = log.session("ann", 1_000)
    log.at_ms += 1_001
    refused(log.one(log.closing(session.id)), Reason.SESSION_ENDED)
    refused(log.one(log.closing("never")), Reason.SESSION_NOT_FOUND)


def test_sessions_are_bounded_and_their_ids_are_given_once(log: Scribe) -> None:
    log.settings(limits=NamespaceLimits(sessions_max=2))
    first = log.opening("ann")
    accepted(log.one(first), SessionOpened)
    refused(log.one(first), Reason.SESSION_ID_TAKEN)
    log.session("bob")
    refused(log.one(log.opening("cid")), Reason.QUOTA_EXCEEDED)
    log.one(log.closing(first.session_id))
    log.session("cid")
    refused(log.one(first), Reason.SESSION_ID_TAKEN)


# -- draining: the session is over, its leases wait to be swept -----------------------------------------------------


@pytest.fixture
def draining(log: Scribe) -> tuple[Scribe, str, list[str]]:
    """A session of ten leases that expired, of which two a batch are swept."""
    log.bounds(Bounds(expirations_per_batch_max=2))
    session = log.session("ann", 1_000)
    ids = [log.lease(f"r{n}", "ann", session=session.id, cleanup=file(f"f{n}")).id for n in range(10)]
    log.outlast(1_000)
    assert log.machine.sweep_backlog()
    return log, session.id, ids


def test_a_session_with_many_leases_takes_bounded_work_per_batch(draining: tuple[Scribe, str, list[str]]) -> None:
    log, _, ids = draining
    left = [log.machine.usage("default").leases]
    while log.machine.sweep_backlog():
        log.advance(0)
        left.append(log.machine.usage("default").leases)
    assert left == [9, 7, 5, 3, 1, 0]
    assert [each.lease_id for each in log.events(EventType.LEASE_EXPIRED)] == ids


def test_leases_of_an_ended_session_are_over_for_every_reader_and_writer_at_once(
    draining: tuple[Scribe, str, list[str]],
) -> None:
    log, session_id, ids = draining
    ended_ms = log.at_ms
    last = ids[-1]
    seen = log.machine.lease(last, log.at_ms)
    assert seen is not None
    assert (seen.state, seen.end_reason, seen.ended_ms) == (LeaseState.EXPIRED, "session_expired", ended_ms)
    refused(log.renew(last).refusals[0][1], Reason.LEASE_ENDED)
    refused(log.one(log.acquiring("new", "ann", session=session_id)), Reason.SESSION_ENDED)
    log.settle()
    assert log.machine.lease(last, log.at_ms) == seen, "the sweep changes nothing that anybody sees"


@pytest.mark.parametrize("keep", [False, True])
def test_a_lease_of_an_ended_session_cannot_be_given_back(
    draining: tuple[Scribe, str, list[str]],
    keep: bool,
) -> None:
    """It is over: nobody may take its resource off the books, nor make the expiry look like a release."""
    log, _, ids = draining
    refused(log.release(ids[-1], keep=keep).refusals[0][1], Reason.LEASE_ENDED)
    assert log.resource("r9").leases == (ids[-1],)
    log.settle()
    refused(log.release(ids[-1], keep=keep).refusals[0][1], Reason.LEASE_ENDED)


def test_giving_back_all_of_a_holder_does_not_count_what_its_session_ended(
    draining: tuple[Scribe, str, list[str]],
) -> None:
    log, _, ids = draining
    alone = log.acquiring("alone", "ann")
    _, _, outcome = log.many(SetBounds(Bounds()), alone, ReleaseHolder(log.at_ms, "default", "ann", 1_000))
    assert outcome == LeasesReleased(1, (), 0)
    assert [each.lease_id for each in log.events(EventType.LEASE_EXPIRED)] == ids, "they expired, whoever swept them"
    assert [each.lease_id for each in log.events(EventType.LEASE_RELEASED)] == [alone.lease_id]
    log.settle()
    assert not log.machine.sweep_backlog()


def test_a_resource_is_not_claimed_while_a_lease_of_an_ended_session_waits_on_it(
    draining: tuple[Scribe, str, list[str]],
) -> None:
    log, _, _ = draining
    assert log.resource("r9").state is ResourceState.LIVE
    assert log.machine.ready(10) == []
    joined = accepted(log.one(log.acquiring("r9", "bob")), LeaseGranted).lease
    log.settle()
    assert log.resource("r9").leases == (joined.id,)
    assert log.resource("r9").state is ResourceState.LIVE


def test_ended_sessions_are_remembered_up_to_a_bound(log: Scribe) -> None:
    log.bounds(Bounds(ended_sessions_max=1))
    first, second = log.session("ann"), log.session("ann")
    log.one(log.closing(first.id))
    log.one(log.closing(second.id))
    refused(log.one(log.closing(first.id)), Reason.SESSION_NOT_FOUND)
    assert log.one(log.closing(second.id)) == SessionClosed(0)
