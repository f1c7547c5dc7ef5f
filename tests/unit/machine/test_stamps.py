"""Stamps are cut to the whole millisecond. That shortens nothing that was granted: no lease, no grace, no claim.

A span begins at a moment of the leader's clock, between two ticks; what the log tells of that moment is its whole
milliseconds. So each span here begins with a fraction of a millisecond on the clock, and ends by a stamp of it.
"""

import pytest

from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings, ResourceState
from garbagetruck.cluster.machine.outcomes import Reason
from garbagetruck.cluster.node.clock import NS_PER_MS, ClusterClock
from tests.unit.machine.scribe import NO_BRAKE, Scribe, file, refused

FRACTIONS_NS = (0, 1, 499_999, NS_PER_MS - 1)
TTL_MS = 1_000
GRACE_MS = 2_000


class Leading:
    """A scribe whose stamps are read from a real cluster clock, of which a test turns the nanoseconds."""

    def __init__(self, fraction_ns: int) -> None:
        self.now_ns = 0
        self.log = Scribe().begin(cleanup=CleanupSettings(grace_ms_min=GRACE_MS))
        self._clock = ClusterClock(monotonic_ns=lambda: self.now_ns, step_ms=1_000_000, drift_ppm=0)
        self._clock.lead(self.log.at_ms)
        self.pass_ns(fraction_ns)

    def pass_ns(self, span_ns: int) -> None:
        """Let time pass and write an empty batch."""
        self.now_ns += span_ns
        self.log.at_ms = self._clock.now_ms()
        self.log.many()

    def pass_until_ns(self, at_ns: int) -> None:
        self.pass_ns(at_ns - self.now_ns)


@pytest.fixture(params=FRACTIONS_NS)
def leading(request: pytest.FixtureRequest) -> Leading:
    fraction_ns: int = request.param
    return Leading(fraction_ns)


def test_i1_i7_a_lease_has_all_of_its_ttl_wherever_in_a_millisecond_it_began(leading: Leading) -> None:
    lease = leading.log.lease(ttl_ms=TTL_MS, cleanup=file("a"))
    granted_ns = leading.now_ns
    leading.pass_until_ns(granted_ns + lease.remaining_ms * NS_PER_MS - 1)
    assert leading.log.resource().state is ResourceState.LIVE, "a nanosecond before its time is over"
    assert leading.log.renew(lease.id).remaining_ms == (TTL_MS,)
    renewed_ns = leading.now_ns
    leading.pass_until_ns(renewed_ns + TTL_MS * NS_PER_MS - 1)
    assert leading.log.resource().state is ResourceState.LIVE
    leading.pass_until_ns(renewed_ns + (TTL_MS + 1) * NS_PER_MS)
    assert leading.log.resource().state is ResourceState.ORPHANED, "and a millisecond after it at the latest it ends"


def test_i1_i7_a_repeated_answer_promises_no_more_than_the_lease_has(leading: Leading) -> None:
    asked = leading.log.acquiring(ttl_ms=TTL_MS, cleanup=file("a"), request_id="q")
    leading.log.one(asked)
    leading.pass_ns(600 * NS_PER_MS + NS_PER_MS // 3)
    seen = leading.log.machine.lease(asked.lease_id, leading.log.at_ms)
    assert seen is not None
    leading.pass_ns(seen.remaining_ms * NS_PER_MS - 1)
    assert leading.log.resource().state is ResourceState.LIVE


def test_i1_i7_a_session_has_all_of_its_ttl_wherever_in_a_millisecond_it_was_renewed(leading: Leading) -> None:
    session = leading.log.session("ann", TTL_MS)
    leading.log.lease("r", "ann", session=session.id, cleanup=file("a"))
    leading.pass_ns(TTL_MS * NS_PER_MS - 1)
    leading.log.one(leading.log.heartbeat(session.id))
    renewed_ns = leading.now_ns
    leading.pass_until_ns(renewed_ns + TTL_MS * NS_PER_MS - 1)
    assert leading.log.machine.usage("default").leases == 1
    leading.pass_until_ns(renewed_ns + (TTL_MS + 1) * NS_PER_MS)
    assert leading.log.machine.usage("default").leases == 0


def test_i1_i7_an_orphan_has_all_of_its_grace_wherever_in_a_millisecond_it_began(leading: Leading) -> None:
    log = leading.log
    log.release(log.lease(ttl_ms=TTL_MS, cleanup=file("a")).id)
    orphaned_ns = leading.now_ns
    leading.pass_until_ns(orphaned_ns + GRACE_MS * NS_PER_MS - 1)
    refused(log.one(log.claiming()), Reason.CLEANUP_NOT_DUE)
    assert log.machine.ready(10) == []
    leading.pass_until_ns(orphaned_ns + (GRACE_MS + 1) * NS_PER_MS)
    log.claim()


def test_i1_i7_orphans_have_all_of_the_fresh_grace_after_a_brake(leading: Leading) -> None:
    log = leading.log
    brake = BrakeSettings(enabled=True, holders_min=1, share=0.5)
    log.settings(cleanup=CleanupSettings(grace_ms_min=GRACE_MS), brake=brake)
    log.lease(ttl_ms=TTL_MS, cleanup=file("a"))
    leading.pass_ns(10_000 * NS_PER_MS)
    leading.pass_ns(10_000 * NS_PER_MS)
    log.settings(cleanup=CleanupSettings(grace_ms_min=GRACE_MS), brake=NO_BRAKE)
    released_ns = leading.now_ns
    leading.pass_until_ns(released_ns + GRACE_MS * NS_PER_MS - 1)
    refused(log.one(log.claiming()), Reason.CLEANUPS_PAUSED)
    assert log.machine.ready(10) == []
    leading.pass_until_ns(released_ns + (GRACE_MS + 1) * NS_PER_MS)
    log.claim()


def test_i5_nobody_else_claims_while_a_claim_may_still_act(leading: Leading) -> None:
    log = leading.log
    log.release(log.lease(ttl_ms=TTL_MS, cleanup=file("a")).id)
    leading.pass_ns(GRACE_MS * NS_PER_MS * 2)
    log.claim(duration_ms=5_000)
    claimed_ns = leading.now_ns
    leading.pass_until_ns(claimed_ns + 5_000 * NS_PER_MS - 1)
    assert log.resource().state is ResourceState.CLAIMED
    leading.pass_until_ns(claimed_ns + 5_001 * NS_PER_MS)
    assert log.resource().state is ResourceState.DUE


def test_without_grace_an_orphan_is_due_at_once(leading: Leading) -> None:
    log = leading.log
    log.settings(cleanup=CleanupSettings(grace_ms_min=0))
    log.release(log.lease(ttl_ms=TTL_MS, cleanup=file("a")).id)
    log.claim()


def test_the_tick_that_ends_a_lease_is_asked_for_a_millisecond_past_its_deadline(leading: Leading) -> None:
    leading.log.lease(ttl_ms=TTL_MS, cleanup=file("a"))
    assert leading.log.machine.next_deadline_ms() == leading.log.at_ms + TTL_MS + 1
