"""Breakers: an outage behind a handler makes no dead letters, and one cleanup at a time finds out when it is over."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import breakers, capture, features, restoring, snapshot
from garbagetruck.cluster.machine.brake_operations import CloseBreaker, OpenBreaker
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import CleanupSpec, EventType, ReportResult, ResourceState
from garbagetruck.cluster.machine.operations import RegisterMember
from garbagetruck.cluster.machine.outcomes import Acknowledged, CleanupClaimed, CleanupReported, Reason
from tests.unit.machine import integrity
from tests.unit.machine.scribe import AT_ONCE, MEMBER, NO_BRAKE, Scribe, accepted, file, refused

PAUSE_MS = 5_000
OPEN = OpenBreaker("http", "12 of 12 attempts failed", PAUSE_MS, 4 * PAUSE_MS)


def http(name: str) -> CleanupSpec:
    return CleanupSpec("http", (), f"http:/{name}")


@pytest.fixture
def log() -> Scribe:
    """Three cleanups of `http` and one of `file` are due, in a cluster that reads breakers."""
    log = Scribe().begin()
    accepted(log.one(RegisterMember(replace(MEMBER, feature_level=4))), Acknowledged)
    for number in range(3):
        log.release(log.lease(f"r{number}", cleanup=http(f"r{number}")).id)
    log.release(log.lease("other", cleanup=file("other")).id)
    return log


def closing(log: Scribe, handler: str = "http") -> CloseBreaker:
    return CloseBreaker(log.at_ms, "", "ann", handler, "it is up again")


def claimable(log: Scribe) -> list[str]:
    return sorted(each.name for each in log.machine.ready(10))


def test_while_it_is_open_nothing_of_its_handler_is_claimed_and_others_go_on(log: Scribe) -> None:
    accepted(log.one(OPEN), Acknowledged)
    assert claimable(log) == ["other"]
    assert log.machine.waiting("http") == {}
    refusal = refused(log.one(log.claiming("r0")), Reason.CLEANUPS_PAUSED)
    assert "12 of 12 attempts failed" in refusal.message
    assert refusal.retry_after_ms == PAUSE_MS + 1
    log.claim("other")
    assert log.machine.ready_counts() == {"http": 3}
    assert [each.detail for each in log.events(EventType.BREAKER_OPENED)] == [
        "handler http: 12 of 12 attempts failed; a trial in 5000 ms"
    ]


def test_it_is_no_lateness_of_the_clusters(log: Scribe) -> None:
    log.claim("other")
    assert log.machine.summary().oldest_due_ms is not None
    log.one(OPEN)
    assert log.machine.summary().oldest_due_ms is None


def test_after_its_pause_one_cleanup_is_tried_and_no_other_beside_it(log: Scribe) -> None:
    log.one(OPEN)
    log.advance(PAUSE_MS)
    refused(log.one(log.claiming("r0")), Reason.CLEANUPS_PAUSED)
    log.advance(1)
    assert claimable(log) == ["other", "r0", "r1", "r2"]
    first, second = log.many(log.claiming("r1"), log.claiming("r2"))
    accepted(first, CleanupClaimed)
    refused(second, Reason.CLEANUPS_PAUSED)


def test_a_trial_that_is_done_closes_it(log: Scribe) -> None:
    log.one(OPEN)
    log.outlast(PAUSE_MS)
    log.one(log.reporting(log.claim("r0").token, name="r0"))
    assert log.machine.breakers() == ()
    assert claimable(log) == ["other", "r1", "r2"]
    assert [each.detail for each in log.events(EventType.BREAKER_CLOSED)] == ["handler http: the trial was done"]


def test_each_trial_that_fails_doubles_the_pause_up_to_its_most(log: Scribe) -> None:
    log.settings(cleanup=replace(AT_ONCE, attempts_max=10, retry_delay_ms_min=10, retry_delay_ms_max=10))
    log.one(OPEN)
    for pause_ms in (2 * PAUSE_MS, 4 * PAUSE_MS, 4 * PAUSE_MS):
        seen = log.machine.breaker("http")
        assert seen is not None
        log.outlast(seen.trial_ms - log.at_ms)
        token = log.claim("r0").token
        log.one(log.reporting(token, ReportResult.FAILED, "r0", "still down"))
        seen = log.machine.breaker("http")
        assert seen is not None
        assert seen.trial_ms == log.at_ms + pause_ms + 1
        assert not breakers.lets_through(integrity.state_of(log.machine), "http")
    assert [each.failed_trials for each in log.machine.breakers()] == [3]


def test_a_trial_of_which_nothing_is_heard_has_failed(log: Scribe) -> None:
    log.one(OPEN)
    log.outlast(PAUSE_MS)
    log.claim("r0", duration_ms=1_000)
    log.outlast(1_000)
    seen = log.machine.breaker("http")
    assert seen is not None
    assert (seen.failed_trials, seen.trial_token) == (1, 0)


@pytest.mark.parametrize("result", [ReportResult.NOT_ATTEMPTED, ReportResult.FAILED_FOR_GOOD])
def test_a_trial_that_tells_nothing_of_the_handler_leaves_room_for_the_next(log: Scribe, result: ReportResult) -> None:
    log.one(OPEN)
    log.outlast(PAUSE_MS)
    log.one(log.reporting(log.claim("r0").token, result, "r0"))
    seen = log.machine.breaker("http")
    assert seen is not None
    assert (seen.failed_trials, seen.trial_token) == (0, 0)
    log.claim("r1")


def test_what_was_claimed_before_it_opened_moves_nothing(log: Scribe) -> None:
    before = log.claim("r0")
    log.one(OPEN)
    log.one(log.reporting(before.token, name="r0"))
    assert log.machine.breaker("http") is not None
    accepted(log.one(OPEN), Acknowledged)
    assert len(log.events(EventType.BREAKER_OPENED)) == 1, "a second time changes nothing"


def test_an_operator_closes_it_with_a_reason(log: Scribe) -> None:
    log.one(OPEN)
    accepted(log.one(closing(log)), Acknowledged)
    assert claimable(log) == ["other", "r0", "r1", "r2"]
    (told,) = log.events(EventType.BREAKER_CLOSED)
    assert (told.holder, told.detail) == ("ann", "handler http: by ann: it is up again")
    refused(log.one(closing(log)), Reason.NOT_PAUSED)
    refused(log.one(closing(log, "x" * 65)), Reason.INVALID_ARGUMENT)


def test_there_are_no_more_than_a_bounded_number_of_them(log: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakers, "BREAKERS_MAX", 1)
    log.one(OPEN)
    refused(log.one(replace(OPEN, handler="another")), Reason.QUOTA_EXCEEDED)
    refused(log.one(replace(OPEN, handler="")), Reason.INVALID_ARGUMENT)


def test_i3_it_is_in_snapshots_and_in_the_digest(log: Scribe) -> None:
    before = log.machine.digest()
    log.one(OPEN)
    assert log.machine.digest() != before
    header, state = snapshot.read(capture.write(integrity.state_of(log.machine), 9, 1))
    assert header.format == breakers_level()
    other = Machine(state)
    assert other.breakers() == log.machine.breakers()
    integrity.check(other)
    integrity.check(log.machine)


def test_below_its_level_there_is_none() -> None:
    log = Scribe().begin()
    refused(log.one(OPEN), Reason.FEATURE_NOT_ENABLED)
    assert log.machine.feature_level < breakers_level()


def test_i9_a_restore_ends_a_trial_and_keeps_the_breaker(log: Scribe) -> None:
    log.one(OPEN)
    log.outlast(PAUSE_MS)
    log.claim("r0")
    state = integrity.state_of(log.machine)
    restoring.begin_incarnation(state, 2, (MEMBER,), source="a test")
    seen = log.machine.breaker("http")
    assert seen is not None
    assert (seen.trial_token, seen.failed_trials) == (0, 0)


def test_i4_an_outage_longer_than_all_retries_makes_no_dead_letter_but_of_what_was_tried(log: Scribe) -> None:
    """Half a minute of outage, with three attempts for each cleanup: without a breaker all three would be dead letters."""
    log.settings(cleanup=AT_ONCE, brake=NO_BRAKE)
    log.one(OPEN)
    end_ms = log.at_ms + 30_000
    while log.at_ms < end_ms:
        log.advance(500)
        for resource in log.machine.ready(10):
            if resource.name != "other" and breakers.lets_through(integrity.state_of(log.machine), "http"):
                token = log.claim(resource.name).token
                log.one(log.reporting(token, ReportResult.FAILED, resource.name, "down"))
    assert [log.resource(f"r{number}").state for number in range(3)] == [ResourceState.DUE] * 3
    accepted(log.one(closing(log)), Acknowledged)
    log.advance(60_000)
    for number in range(3):
        done = log.reporting(log.claim(f"r{number}").token, name=f"r{number}")
        accepted(log.one(done), CleanupReported)


def breakers_level() -> int:
    return features.LEVELS[OpenBreaker]
