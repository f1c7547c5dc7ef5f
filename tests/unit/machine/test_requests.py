"""The request table: one request id, one effect, the first answer (I6)."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import requests
from garbagetruck.cluster.machine.model import Bounds, EventType, LeaseState, ResourceState
from garbagetruck.cluster.machine.operations import ClientOperation, Operation, RegisterMember
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason, Refused, SessionOpened
from tests.unit.machine.scribe import Scribe, accepted, file, founder, member, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def test_i6_a_repeated_acquire_makes_one_lease_and_gets_the_first_answer(log: Scribe) -> None:
    asked = log.acquiring("r", "ann", 10_000, cleanup=file("a"), request_id="q")
    first = accepted(log.one(asked), LeaseGranted).lease
    digest = log.machine.digest()
    again = replace(asked, lease_id="another-door-drew-this", entered_ms=log.at_ms)
    assert accepted(log.one(again), LeaseGranted).lease == first
    assert log.machine.digest() == digest
    assert log.resource("r").leases == (first.id,)


def test_i6_a_repetition_tells_what_remains_by_now(log: Scribe) -> None:
    asked = log.acquiring(ttl_ms=10_000, request_id="q")
    log.one(asked)
    log.at_ms += 4_000
    assert accepted(log.one(asked), LeaseGranted).lease.remaining_ms == 6_000, "a retry renews nothing"
    log.at_ms += 6_001
    over = accepted(log.one(asked), LeaseGranted).lease
    assert (over.remaining_ms, over.state) == (0, LeaseState.EXPIRED)
    assert over.id == asked.lease_id


def test_i6_the_first_answer_stands_even_when_the_lease_is_no_longer_remembered(log: Scribe) -> None:
    log.bounds(Bounds(ended_leases_max=1))
    asked = log.acquiring("r", request_id="q")
    first = accepted(log.one(asked), LeaseGranted).lease
    log.release(first.id)
    log.release(log.lease("other").id)
    assert log.machine.lease(first.id, log.at_ms) is None
    again = accepted(log.one(asked), LeaseGranted).lease
    assert (again.id, again.resource, again.holder, again.remaining_ms) == (first.id, "r", "h", 0)
    assert again.state is not LeaseState.ACTIVE


def test_i6_a_repeated_session_is_opened_once(log: Scribe) -> None:
    asked = log.opening("ann", 1_000, request_id="q")
    first = accepted(log.one(asked), SessionOpened).session
    assert accepted(log.one(replace(asked, session_id="another")), SessionOpened).session == first
    assert log.machine.usage("default").sessions == 1
    log.at_ms += 1_001
    over = accepted(log.one(asked), SessionOpened).session
    assert (over.id, over.active, over.remaining_ms) == (first.id, False, 0)
    log.bounds(Bounds(ended_sessions_max=1))
    log.one(log.closing(log.session("bob").id))
    forgotten = accepted(log.one(asked), SessionOpened).session
    assert (forgotten.id, forgotten.active) == (first.id, False)


@pytest.mark.parametrize(
    "name",
    [
        "hold",
        "unhold",
        "retry",
        "discard",
        "pause",
        "resume",
        "set namespace",
        "add member",
        "remove member",
    ],
)
def test_i6_an_operators_repeated_mutation_has_one_effect_and_the_first_answer(log: Scribe, name: str) -> None:
    lease = log.lease("r", cleanup=file("a"))
    log.one(log.holding("r", "old"))
    if name in ("retry", "discard"):
        log.one(log.unholding("r", "old"))
        log.release(lease.id)
        log.claim("r", 1_000)
        log.settings(cleanup=replace(log.machine.namespaces()[0].cleanup, attempts_max=1))
        log.outlast(1_000)
        assert log.resource("r").state is ResourceState.DEAD_LETTER
    if name == "resume":
        log.one(log.pausing())
    if name in ("add member", "remove member"):
        log.one(RegisterMember(founder(1)))
    if name == "remove member":
        log.one(log.adding(member(2)))
    operations: dict[str, Operation] = {
        "hold": log.holding("r", "new", "q"),
        "unhold": log.unholding("r", "old", "q"),
        "retry": log.retrying("r", "q"),
        "discard": log.discarding("r", "q"),
        "pause": log.pausing("default", "q"),
        "resume": log.resuming("", "q"),
        "set namespace": log.setting("team", request_id="q"),
        "add member": log.adding(member(2), "q"),
        "remove member": log.removing("n2", "q"),
    }
    first = log.one(operations[name])
    assert not isinstance(first, Refused)
    digest, events = log.machine.digest(), log.machine.event_index
    assert log.one(operations[name]) == first
    assert (log.machine.digest(), log.machine.event_index) == (digest, events)


def test_i6_a_request_id_cannot_be_used_for_something_else(log: Scribe) -> None:
    log.one(log.acquiring("r", "ann", request_id="q"))
    digest = log.machine.digest()
    others: list[Operation] = [
        log.acquiring("other", "ann", request_id="q"),
        log.acquiring("r", "ann", 9_999, request_id="q"),
        log.acquiring("r", "ann", request_id="q", labels=(("a", "b"),)),
        log.acquiring("r", "ann", request_id="q", cleanup=file("a")),
        log.opening("ann", request_id="q"),
    ]
    for other in others:
        why = refused(log.one(other), Reason.REQUEST_ID_REUSED)
        assert why.field == "request_id"
    assert log.machine.digest() == digest


def test_a_request_id_is_its_holders_own_and_its_namespaces(log: Scribe) -> None:
    log.lease("r", "ann")
    log.settings("team")
    accepted(log.one(log.acquiring("r1", "ann", request_id="q")), LeaseGranted)
    accepted(log.one(log.acquiring("r2", "bob", request_id="q")), LeaseGranted)
    log.namespace = "team"
    accepted(log.one(log.acquiring("r3", "ann", request_id="q")), LeaseGranted)


def test_without_a_holder_a_request_id_is_its_sessions_own(log: Scribe) -> None:
    for holder in ("ann", "bob"):
        session = log.session(holder)
        asked = log.acquiring(f"r-{holder}", "", session=session.id, request_id="q")
        assert accepted(log.one(asked), LeaseGranted).lease.holder == holder


def test_i11_what_was_refused_is_not_remembered(log: Scribe) -> None:
    log.one(log.acquiring("r1", cleanup=file("a")))
    asked = log.acquiring("r2", cleanup=file("a"), request_id="q")
    refused(log.one(asked), Reason.TARGET_IN_USE)
    log.release_holder("h")
    claim = log.claim("r1")
    log.one(log.reporting(claim.token, name="r1"))
    accepted(log.one(asked), LeaseGranted)


def test_an_answer_is_kept_for_as_long_as_a_retry_may_come(log: Scribe) -> None:
    asked = log.acquiring("r", ttl_ms=3_600_000, request_id="q")
    first = accepted(log.one(asked), LeaseGranted).lease
    age_ms = log.machine.bounds.request_age_ms_max
    log.at_ms += age_ms
    assert accepted(log.one(asked), LeaseGranted).lease.id == first.id
    log.at_ms += 1
    refused(log.one(asked), Reason.REQUEST_TOO_OLD)
    fresh = log.acquiring("r", ttl_ms=3_600_000, request_id="q")
    assert accepted(log.one(fresh), LeaseGranted).lease.id != first.id, "after that it is a new request"


def test_an_operation_that_lingered_is_refused(log: Scribe) -> None:
    log.one(log.acquiring("x", ttl_ms=3_600_000))
    late: list[ClientOperation] = [
        log.acquiring("r"),
        log.renewing("lease-1"),
        log.releasing("lease-1"),
        log.opening(),
        log.heartbeat("s"),
        log.closing("s"),
        log.holding("x"),
        log.pausing(),
        log.setting("team"),
    ]
    log.at_ms += log.machine.bounds.request_age_ms_max + 1
    log.many()
    digest = log.machine.digest()
    for operation in late:
        refused(log.one(operation), Reason.REQUEST_TOO_OLD)
    assert log.machine.digest() == digest


def test_a_full_table_refuses_and_never_evicts_early(log: Scribe) -> None:
    log.bounds(Bounds(requests_max=2, request_age_ms_max=10_000))
    first = log.acquiring("r1", request_id="q1")
    granted = log.one(first)
    log.at_ms += 5_000
    log.one(log.acquiring("r2", request_id="q2"))
    why = refused(log.one(log.acquiring("r3", request_id="q3")), Reason.REQUEST_TABLE_FULL)
    assert why.retry_after_ms > 0
    refused(log.one(log.opening(request_id="q4")), Reason.REQUEST_TABLE_FULL)
    accepted(log.one(log.acquiring("r3")), LeaseGranted)
    again = accepted(log.one(first), LeaseGranted).lease
    assert again.id == accepted(granted, LeaseGranted).lease.id, "what is remembered is still answered"
    log.at_ms += 5_000
    refused(log.one(log.acquiring("r4", request_id="q3")), Reason.REQUEST_TABLE_FULL)
    log.at_ms += 1
    accepted(log.one(log.acquiring("r4", request_id="q3")), LeaseGranted)


def test_an_operator_can_pause_cleanups_though_clients_filled_the_table(log: Scribe) -> None:
    log.bounds(Bounds(requests_max=2))
    log.one(log.acquiring("r1", request_id="q1"))
    log.one(log.acquiring("r2", request_id="q2"))
    refused(log.one(log.acquiring("r3", request_id="q3")), Reason.REQUEST_TABLE_FULL)
    pause = log.pausing(request_id="urgent")
    first = log.one(pause)
    assert log.machine.cleanups_paused
    assert log.one(pause) == first
    assert len(log.events(EventType.CLEANUPS_PAUSED)) == 1


def test_forgetting_old_answers_is_bounded_work(log: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "EVICTIONS_PER_BATCH_MAX", 3)
    for number in range(10):
        log.one(log.acquiring(f"r{number}", request_id=f"q{number}"))
    log.at_ms += 60_001
    left = []
    for _ in range(4):
        log.many()
        left.append(len(log.machine._state.requests))
    assert left == [7, 4, 1, 0]


def test_payloads_of_equal_hash_make_no_exception(log: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is not a secret: whoever can make two requests collide may confuse himself, and nobody else."""
    monkeypatch.setattr(requests, "payload_hash", lambda *_: 7)
    log.one(log.acquiring("r", "operator", request_id="q"))
    refused(log.one(log.pausing("default", request_id="q")), Reason.REQUEST_ID_REUSED)
    log.one(log.pausing("default", request_id="q2"))
    refused(log.one(log.acquiring("r", "operator", request_id="q2")), Reason.REQUEST_ID_REUSED)
