"""The first state of another incarnation: a restore deletes nothing (I9)."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import precondition, rule

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import (
    INCARNATION_MAX,
    TOKEN_COUNTER_BITS,
    EventType,
    Member,
    ReportResult,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import EnterEpoch, ResumeCleanups
from garbagetruck.cluster.machine.outcomes import Acknowledged, CleanupClaimed, LeaseGranted, Reason, ResourceChanged
from garbagetruck.cluster.machine.restoring import begin_incarnation
from tests.unit.machine import integrity
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.integrity import restored, state_of
from tests.unit.machine.scribe import INCARNATION, Scribe, accepted, file, refused
from tests.unit.machine.test_against_an_oracle import EXAMPLES, Histories
from tests.unit.machine.walker import Walker

FOUNDER = Member("n9", "127.0.0.1:7109", "127.0.0.1:7209", "127.0.0.1:7309", "", "disk-9", 1)
LONGEST_TTL_MS = 60_000


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def restore(log: Scribe, incarnation: int = INCARNATION + 1) -> None:
    """As after a disaster: all that was saved is a snapshot."""
    log.machine = restored(log.machine)
    begin_incarnation(state_of(log.machine), incarnation, (FOUNDER,), source="the disk of n1")
    integrity.check(log.machine)
    log.machine = restored(log.machine)
    log.enter_epoch("n9")


def resume(log: Scribe) -> None:
    accepted(log.one(ResumeCleanups(log.at_ms, "", "", "operator", "looked")), Acknowledged)


def test_i9_an_id_of_the_former_incarnation_is_never_that_of_the_next(log: Scribe) -> None:
    for given in ("", "0123abcd"):
        state_of(log.machine).incarnation_id = "former"
        log.machine = restored(log.machine)
        number = log.machine.incarnation + 1
        begin_incarnation(state_of(log.machine), number, (FOUNDER,), source="a test", incarnation_id=given)
        assert restored(log.machine).incarnation_id == given


# -- what the next incarnation begins with ---------------------------------------------------------------------------


def test_i9_every_lease_and_session_has_its_full_ttl_again(log: Scribe) -> None:
    alone, session = log.lease("a", ttl_ms=9_000), log.session("bob", LONGEST_TTL_MS)
    attached = log.lease("b", "bob", session=session.id)
    log.advance(8_999)
    restore(log)
    for lease, ttl_ms in ((alone, 9_000), (attached, LONGEST_TTL_MS)):
        seen = log.machine.lease(lease.id, log.at_ms)
        assert seen is not None
        assert seen.remaining_ms == ttl_ms
    log.advance(9_000)
    assert log.machine.summary().leases == 2, "a TTL has passed only when a later stamp says so"
    log.advance(1)
    assert log.machine.summary().leases == 1


def test_i9_i5_every_token_is_above_any_before_and_one_that_nobody_saved_is_too(log: Scribe) -> None:
    before = log.lease("a").fencing_token
    restore(log)
    after = log.lease("b").fencing_token
    assert before < 2 << TOKEN_COUNTER_BITS < after
    assert after == (2 << TOKEN_COUNTER_BITS) + 1, "also above what the first incarnation could have issued later"


def test_the_highest_incarnation_still_issues_tokens_that_a_double_can_hold(log: Scribe) -> None:
    restore(log, INCARNATION_MAX)
    assert log.lease("a").fencing_token < 1 << 53


@pytest.mark.parametrize("incarnation", [0, INCARNATION, INCARNATION_MAX + 1])
def test_an_incarnation_that_is_not_higher_is_never_begun(log: Scribe, incarnation: int) -> None:
    with pytest.raises(AssertionError, match="higher incarnation"):
        begin_incarnation(state_of(log.machine), incarnation, (FOUNDER,), source="nowhere")


def test_its_members_are_the_founding_ones_and_its_events_tell_of_it(log: Scribe) -> None:
    log.lease("a", ttl_ms=LONGEST_TTL_MS)
    restore(log)
    assert log.machine.members() == (FOUNDER,)
    assert log.machine.cluster_id == "cluster-1"
    (event,) = log.events(EventType.CLUSTER_RESTORED)
    assert event.detail == "incarnation 2, from the disk of n1"
    assert log.machine.cleanups_paused
    reason = log.machine.cleanups_pause_reason
    assert "restored from the disk of n1 as incarnation 2; resume for all namespaces" in reason
    assert f"{LONGEST_TTL_MS} ms after that" in reason


def test_a_pause_from_before_is_still_told(log: Scribe) -> None:
    log.one(log.pausing())
    restore(log)
    assert log.machine.cleanups_pause_reason.endswith("(they were paused before: look first)")


def test_i6_a_request_that_is_repeated_after_the_disaster_gets_its_first_answer(log: Scribe) -> None:
    asked = log.acquiring(request_id="q")
    first = accepted(log.one(asked), LeaseGranted).lease
    restore(log)
    again = accepted(log.one(asked), LeaseGranted).lease
    assert (again.id, again.fencing_token) == (first.id, first.fencing_token)


def test_holds_stay(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("r")).id)
    log.one(log.holding("r"))
    restore(log)
    resume(log)
    log.outlast(10_000)
    refused(log.one(log.claiming("r")), Reason.HOLD_CONFLICT)


# -- cleanups -----------------------------------------------------------------------------------------------------


def test_i9_nothing_is_claimed_before_an_operator_resumes_however_long_that_takes(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("r")).id)
    restore(log)
    for wait_ms in (0, LONGEST_TTL_MS, 30 * 24 * 3_600_000):
        log.advance(wait_ms)
        assert log.machine.cleanups_paused
        assert log.machine.ready(1) == []
        refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)


@pytest.mark.parametrize("resumed_after_ms", [0, 1, LONGEST_TTL_MS, 10 * LONGEST_TTL_MS])
def test_i9_the_longest_ttl_runs_once_more_after_the_resume_whether_that_is_early_or_late(
    log: Scribe, resumed_after_ms: int
) -> None:
    log.session("ann", LONGEST_TTL_MS)
    log.release(log.lease("r", cleanup=file("r")).id)
    restore(log)
    log.advance(resumed_after_ms)
    resume(log)
    log.advance(LONGEST_TTL_MS)
    assert log.machine.ready(1) == []
    assert log.machine.summary().oldest_due_ms is None, "what may not be cleaned yet is not late"
    waits = refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)
    assert waits.retry_after_ms == log.machine.quarantine_left_ms == 1
    log.advance(1)
    assert log.machine.summary().oldest_due_ms == log.at_ms, "it is late from now on, not from before the disaster"
    assert [each.name for each in log.machine.ready(10)] == ["r"]
    accepted(log.one(log.claiming("r")), CleanupClaimed)


def test_i9_the_wait_is_not_begun_again_nor_cut_short_by_another_pause(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("r")).id)
    restore(log)
    resume(log)
    log.advance(4_000)
    log.one(log.pausing())
    log.advance(2_000)
    resume(log)
    assert log.machine.quarantine_left_ms == 10_001 - 6_000
    log.advance(4_000)
    refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)
    log.advance(1)
    accepted(log.one(log.claiming("r")), CleanupClaimed)


def test_i9_a_namespace_that_is_resumed_alone_resumes_nothing(log: Scribe) -> None:
    log.one(log.pausing("default"))
    log.release(log.lease("r", cleanup=file("r")).id)
    restore(log)
    accepted(log.one(log.resuming("default")), Acknowledged)
    log.outlast(LONGEST_TTL_MS)
    refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)


def test_i1_i9_a_live_resource_whose_known_holder_is_gone_waits_for_one_that_was_forgotten(log: Scribe) -> None:
    """Another holder's lease may have been acknowledged, and be on no disk that is left."""
    log.session("ann", LONGEST_TTL_MS)
    log.lease("r", ttl_ms=1_000, cleanup=file("r"))
    restore(log)
    resume(log)
    log.outlast(1_000)
    assert log.resource("r").state is ResourceState.DUE
    refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)
    accepted(log.one(log.acquiring("r", "back", cleanup=file("r"))), LeaseGranted)


def test_i9_a_lease_that_ended_a_moment_before_counts_towards_the_longest_ttl(log: Scribe) -> None:
    """Its holder may know of a renewal that the saved log does not."""
    log.lease("long", ttl_ms=LONGEST_TTL_MS)
    log.outlast(LONGEST_TTL_MS)
    log.release(log.lease("r", cleanup=file("r")).id)
    restore(log)
    assert log.machine.quarantine_left_ms == LONGEST_TTL_MS


def test_i9_a_claim_under_way_is_void_counts_and_has_its_deadline_waited_out(log: Scribe) -> None:
    log.release(log.lease("r", ttl_ms=100, cleanup=file("r")).id)
    claim = log.claim("r", duration_ms=50_000)
    restore(log)
    seen = log.resource("r")
    assert (seen.state, seen.claims, seen.failures, seen.claim) == (ResourceState.DUE, 1, 1, None)
    assert seen.last_error == "attempt 1 by n1 was under way when the cluster was restored"
    refused(log.one(log.reporting(claim.token)), Reason.CLAIM_NOT_CURRENT)
    refused(log.one(log.acquiring("r")), Reason.RESOURCE_BEING_CLEANED)
    resume(log)
    accepted(
        log.one(log.retrying("r")), ResourceChanged
    )  # not even an operator's impatience brings two attempts together
    log.at_ms = claim.deadline_ms
    refused(log.one(log.claiming("r")), Reason.CLEANUPS_PAUSED)
    log.at_ms += 1
    assert log.claim("r").token > claim.token


def test_a_claim_that_was_the_last_attempt_ends_as_a_dead_letter(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("r")).id)
    for _ in range(2):
        log.one(log.reporting(log.claim("r").token, ReportResult.FAILED))
        log.advance(10_000)
    log.claim("r")
    restore(log)
    assert log.resource("r").state is ResourceState.DEAD_LETTER
    assert log.resource("r").failures == 3


def test_i9_a_second_disaster_does_not_shorten_the_wait_of_the_first(log: Scribe) -> None:
    log.lease("long", ttl_ms=LONGEST_TTL_MS)
    restore(log)
    log.outlast(2 * LONGEST_TTL_MS)
    log.outlast(LONGEST_TTL_MS)
    restore(log, 3)
    assert log.machine.quarantine_left_ms == LONGEST_TTL_MS
    resume(log)
    log.outlast(LONGEST_TTL_MS)
    restore(log, 4)
    assert log.machine.quarantine_left_ms == 0, "that one was over"


def test_a_cluster_that_was_never_restored_has_the_digest_it_always_had(log: Scribe) -> None:
    assert state_of(log.machine).quarantine is None
    digest = log.machine.digest()
    begin_incarnation(state_of(log.machine), 2, (FOUNDER,), source="the disk of n1")
    assert log.machine.digest() != digest
    assert Machine(state_of(restored(log.machine))).digest() == log.machine.digest()


# -- whatever the history -----------------------------------------------------------------------------------------


def test_i9_random_histories_go_on_as_the_oracle_says_after_a_restore(seed: int) -> None:
    rng = random.Random(seed)
    claims = 0
    for _ in range(6):
        walker = Walker(Chorus(), random.Random(rng.getrandbits(32)))
        walker.begin()
        for _ in range(rng.randrange(20, 120)):
            walker.step()
        walker.chorus.restore()
        walker.epoch += 1
        walker.write(EnterEpoch("n9"))
        for _ in range(40):
            walker.step()
        walker.write(ResumeCleanups(walker.at_ms, "", "", "op", "looked"))
        walker.at_ms += 45_000
        for _ in range(60):
            walker.step()
        claims += walker.chorus.promises.claims_after_a_restore
    assert claims, f"seed {seed} claimed nothing after a restore, so it proves nothing about one"


class RestoredHistories(Histories):
    """As those, with a disaster somewhere on the way."""

    restores = 0

    @precondition(lambda self: self.restores < 2)
    @rule()
    def disaster(self) -> None:
        self.flush()
        self.restores += 1
        self.walker.chorus.restore()
        self.walker.epoch += 1
        self.walker.write(EnterEpoch("n9"))

    @rule()
    def quarantine_ends(self) -> None:
        self.flush()
        self.walker.write(ResumeCleanups(self.walker.at_ms, "", "", "op", "looked"))
        self.walker.at_ms += 45_000
        self.flush()


TestI9RestoredHistories = RestoredHistories.TestCase
TestI9RestoredHistories.settings = settings(
    max_examples=max(1, EXAMPLES // 4),
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
