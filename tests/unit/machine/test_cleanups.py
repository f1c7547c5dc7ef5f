"""Cleanups: claimed by one, reported by that one, tried again, parked, settled."""

import pytest

from garbagetruck.cluster.machine.model import (
    Bounds,
    CleanupSettings,
    EventType,
    ReportResult,
    ResourceState,
    Tombstone,
)
from garbagetruck.cluster.machine.outcomes import (
    CleanupClaimed,
    CleanupReported,
    Reason,
    ResourceChanged,
)
from tests.unit.machine.scribe import AT_ONCE, Scribe, accepted, file, refused

FAILED, FOR_GOOD, UNTRIED = ReportResult.FAILED, ReportResult.FAILED_FOR_GOOD, ReportResult.NOT_ATTEMPTED


@pytest.fixture
def log() -> Scribe:
    """One orphan that is due: `r`."""
    log = Scribe().begin()
    log.release(log.lease("r", cleanup=file("a")).id)
    return log


def attempt(log: Scribe, result: ReportResult, error: str = "no such host") -> CleanupReported:
    """Claim as soon as possible, and report."""
    wait_ms = max(0, log.resource("r").due_ms - log.at_ms)
    log.advance(wait_ms)
    return accepted(log.one(log.reporting(log.claim("r").token, result, error=error)), CleanupReported)


# -- claims -------------------------------------------------------------------------------------------------------


def test_i4_an_orphan_is_due_after_its_grace_and_not_before() -> None:
    log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=2_000))
    log.lease("r", ttl_ms=1_000, cleanup=file("a"))
    log.outlast(1_000)
    assert log.resource("r").due_ms == log.at_ms + 2_001
    log.advance(2_000)
    refused(log.one(log.claiming("r")), Reason.CLEANUP_NOT_DUE)
    log.advance(1)
    log.claim("r")


def test_a_claim_is_for_the_resource_exactly_as_it_was_seen(log: Scribe) -> None:
    stale = log.claiming("r")
    log.lease("r", "bob")
    refused(log.one(stale), Reason.CLEANUP_NOT_DUE)
    log.release_holder("bob")
    refused(log.one(stale), Reason.CLEANUP_NOT_DUE)
    log.claim("r")


def test_i1_an_acquire_in_the_same_batch_before_the_claim_wins(log: Scribe) -> None:
    outcomes = log.many(log.acquiring("r", "bob"), log.claiming("r"))
    refused(outcomes[1], Reason.CLEANUP_NOT_DUE)
    assert log.resource("r").state is ResourceState.LIVE


def test_an_acquire_in_the_same_batch_after_the_claim_loses(log: Scribe) -> None:
    outcomes = log.many(log.claiming("r"), log.acquiring("r", "bob"))
    accepted(outcomes[0], CleanupClaimed)
    refused(outcomes[1], Reason.RESOURCE_BEING_CLEANED)


def test_only_one_claim_stands_at_a_time(log: Scribe) -> None:
    first = log.claiming("r")
    log.claim("r")
    refused(log.one(first), Reason.CLEANUP_NOT_DUE)
    refused(log.one(log.claiming("r")), Reason.CLEANUP_NOT_DUE)


@pytest.mark.parametrize("duration_ms", [0, -1, 60_001, 1 << 63])
def test_a_claim_stands_for_a_bounded_time(log: Scribe, duration_ms: int) -> None:
    log.bounds(Bounds(claim_ms_max=60_000))
    refused(log.one(log.claiming("r", duration_ms)), Reason.INVALID_ARGUMENT)
    assert log.claim("r", 60_000).deadline_ms == log.at_ms + 60_000


def test_a_claim_of_what_is_not_there_is_refused(log: Scribe) -> None:
    gone = log.claiming("r")
    attempt(log, ReportResult.DONE)
    refused(log.one(gone), Reason.RESOURCE_NOT_FOUND)


@pytest.mark.parametrize("where", ["", "default"])
def test_no_claim_is_made_while_cleanups_are_paused(log: Scribe, where: str) -> None:
    log.one(log.pausing(where))
    assert log.machine.ready(10) == []
    refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)
    log.one(log.resuming(where))
    log.claim("r")


def test_a_running_claim_goes_on_while_paused(log: Scribe) -> None:
    claim = log.claim("r")
    log.one(log.pausing())
    assert log.one(log.reporting(claim.token)) == CleanupReported(ResourceState.CLEANED, 0)


def test_claims_wait_until_the_sweep_has_caught_up(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    for number in range(3):
        log.lease(f"x{number}", f"h{number}", ttl_ms=1_000)
    log.outlast(1_000)
    assert log.machine.ready(10) == []
    why = refused(log.one(log.claiming("r")), Reason.SWEEP_BEHIND)
    assert why.retry_after_ms == 0
    log.settle()
    log.claim("r")


def test_a_release_in_the_same_batch_does_not_hold_up_claims(log: Scribe) -> None:
    """Otherwise a namespace without grace, where something is always given back, would never clean anything."""
    other = log.lease("other", cleanup=file("b"))
    outcomes = log.many(log.releasing(other.id), log.claiming("r"))
    accepted(outcomes[1], CleanupClaimed)
    assert [each.name for each in log.machine.ready(10)] == ["other"]


# -- reports ------------------------------------------------------------------------------------------------------


def test_a_cleaned_resource_leaves_a_tombstone(log: Scribe) -> None:
    claim = log.claim("r")
    assert log.one(log.reporting(claim.token)) == CleanupReported(ResourceState.CLEANED, 0)
    tombstone = accepted(log.machine.resource("default", "r"), Tombstone)
    assert (tombstone.claim_token, tombstone.attempts, tombstone.cleaned_ms) == (claim.token, 1, log.at_ms)
    assert [each.token for each in log.events(EventType.CLEANUP_DONE)] == [claim.token]


def test_i5_only_the_claims_own_token_reports_its_end(log: Scribe) -> None:
    first = log.claim("r", 1_000)
    refused(log.one(log.reporting(first.token + 1)), Reason.CLAIM_NOT_CURRENT)
    log.outlast(1_000)
    refused(log.one(log.reporting(first.token)), Reason.CLAIM_NOT_CURRENT)
    log.outlast(10_000)
    second = log.claim("r", 1_000)
    refused(log.one(log.reporting(first.token)), Reason.CLAIM_NOT_CURRENT)
    accepted(log.one(log.reporting(second.token)), CleanupReported)
    refused(log.one(log.reporting(second.token)), Reason.CLAIM_NOT_CURRENT)
    refused(log.one(log.reporting(second.token, name="never")), Reason.CLAIM_NOT_CURRENT)


def test_a_report_that_meets_an_overdue_but_unswept_claim_counts(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    log.lease("x", ttl_ms=999)
    claim = log.claim("r", 1_000)
    log.at_ms += 1_001
    assert log.one(log.reporting(claim.token)) == CleanupReported(ResourceState.CLEANED, 0)


def test_a_failed_attempt_waits_longer_each_time_and_is_parked_in_the_end(log: Scribe) -> None:
    log.settings(
        cleanup=CleanupSettings(grace_ms_min=0, attempts_max=6, retry_delay_ms_min=1_000, retry_delay_ms_max=5_000)
    )
    for expected_ms in (1_000, 2_000, 4_000, 5_000, 5_000):
        reported = attempt(log, FAILED)
        delay_ms = reported.due_ms - log.at_ms
        assert reported.state is ResourceState.DUE
        assert expected_ms // 2 <= delay_ms <= expected_ms
        assert log.machine.ready(10) == []
        refused(log.one(log.claiming("r")), Reason.CLEANUP_NOT_DUE)
        log.advance(delay_ms - 1)
        assert log.machine.ready(10) == []
        log.advance(1)
        assert [each.name for each in log.machine.ready(10)] == ["r"]
    assert attempt(log, FAILED) == CleanupReported(ResourceState.DEAD_LETTER, 0)
    assert log.resource("r").failures == log.resource("r").claims == 6
    assert len(log.events(EventType.CLEANUP_DEAD_LETTER)) == 1


def test_the_jitter_spreads_retries_and_is_the_same_on_every_node() -> None:
    delays = []
    for _ in range(2):
        log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=0, retry_delay_ms_min=60_000))
        names = [f"r{number}" for number in range(50)]
        for name in names:
            log.lease(name, cleanup=file(name))
        log.release_holder("h")
        claims = [(name, log.claim(name)) for name in names]
        log.many(*(log.reporting(claim.token, FAILED, name) for name, claim in claims))
        delays.append([log.resource(name).due_ms - log.at_ms for name in names])
    assert delays[0] == delays[1]
    assert all(30_000 <= delay <= 60_000 for delay in delays[0])
    assert len(set(delays[0])) > 40
    assert min(delays[0]) < 36_000
    assert max(delays[0]) > 54_000


def test_what_failed_for_good_is_parked_at_once(log: Scribe) -> None:
    assert attempt(log, FOR_GOOD, "no permission") == CleanupReported(ResourceState.DEAD_LETTER, 0)
    assert log.resource("r").last_error == "no permission"


def test_what_was_not_attempted_uses_up_no_attempt(log: Scribe) -> None:
    for number in range(1, 10):
        assert attempt(log, UNTRIED).state is ResourceState.DUE
        assert (log.resource("r").failures, log.resource("r").claims) == (0, number)


def test_a_claim_that_lapses_under_its_own_leader_counts_as_a_failure(log: Scribe) -> None:
    for failures in (1, 2):
        log.advance(max(0, log.resource("r").due_ms - log.at_ms))
        log.claim("r", 1_000)
        log.outlast(1_000)
        assert log.resource("r").failures == failures
        assert "did not report" in log.resource("r").last_error
    log.outlast(10_000)
    log.claim("r", 1_000)
    log.outlast(1_000)
    assert log.resource("r").state is ResourceState.DEAD_LETTER


@pytest.mark.parametrize("when", ["after the next leader began", "with its very first batch"])
def test_a_claim_that_lapses_because_its_leader_is_gone_uses_up_an_attempt(log: Scribe, when: str) -> None:
    """Nobody knows why it is gone: it may be that the handler took it down."""
    log.claim("r", 1_000)
    if when == "after the next leader began":
        log.enter_epoch("n2")
        assert log.resource("r").state is ResourceState.CLAIMED, "the next leader waits the deadline out"
        refused(log.one(log.claiming("r")), Reason.CLEANUP_NOT_DUE)
        log.outlast(1_000)
    else:
        log.at_ms += 1_001
        log.enter_epoch("n2")
    assert (log.resource("r").state, log.resource("r").failures) == (ResourceState.DUE, 1)
    assert "no longer leads" in log.resource("r").last_error


def test_i4_a_handler_that_takes_its_leader_down_each_time_ends_as_a_dead_letter(log: Scribe) -> None:
    for _ in range(3):
        assert log.resource("r").state is ResourceState.DUE
        log.advance(max(0, log.resource("r").due_ms - log.at_ms))
        log.claim("r", 1_000)
        log.enter_epoch("another")
        log.outlast(1_000)
    assert (log.resource("r").state, log.resource("r").failures) == (ResourceState.DEAD_LETTER, 3)


def test_a_report_of_a_deposed_leaders_executor_still_counts(log: Scribe) -> None:
    claim = log.claim("r")
    log.enter_epoch("n2")
    assert log.one(log.reporting(claim.token)) == CleanupReported(ResourceState.CLEANED, 0)


def test_an_error_is_kept_up_to_a_bound(log: Scribe) -> None:
    attempt(log, FAILED, "ä" * 10_000 + "x")
    assert log.resource("r").last_error == "ä" * 512, "1,024 bytes, and never half a character"


# -- dead letters -------------------------------------------------------------------------------------------------


def test_i4_a_dead_letter_stays_visible_until_somebody_settles_it(log: Scribe) -> None:
    attempt(log, FOR_GOOD)
    log.outlast(365 * 86_400_000)
    assert log.resource("r").state is ResourceState.DEAD_LETTER
    assert log.machine.summary().dead_letter == 1
    assert [each.name for each in log.machine.cleanups(None, None, 0, 10).items] == ["r"]
    why = refused(log.one(log.acquiring("r")), Reason.RESOURCE_BEING_CLEANED)
    assert why.retry_after_ms < 0, "waiting does not help"


def test_a_retried_dead_letter_has_all_its_attempts_again(log: Scribe) -> None:
    attempt(log, FOR_GOOD)
    changed = accepted(log.one(log.retrying("r")), ResourceChanged)
    assert changed.state is ResourceState.DUE
    for _ in range(AT_ONCE.attempts_max - 1):
        assert attempt(log, FAILED).state is ResourceState.DUE
    assert attempt(log, FAILED).state is ResourceState.DEAD_LETTER
    assert log.resource("r").claims == 1 + AT_ONCE.attempts_max, "attempts are numbered on"


def test_a_retry_shortens_the_wait_of_a_failed_cleanup(log: Scribe) -> None:
    attempt(log, FAILED)
    assert log.machine.ready(10) == []
    log.one(log.retrying("r"))
    assert [each.name for each in log.machine.ready(10)] == ["r"]
    log.claim("r")


def test_a_discarded_dead_letter_is_off_the_books_and_its_name_free(log: Scribe) -> None:
    attempt(log, FOR_GOOD)
    log.one(log.discarding("r"))
    assert log.machine.resource("default", "r") is None
    assert [each.holder for each in log.events(EventType.CLEANUP_DISCARDED)] == ["operator"]
    refused(log.one(log.discarding("r")), Reason.RESOURCE_NOT_FOUND)
    log.lease("r", cleanup=file("a"))
