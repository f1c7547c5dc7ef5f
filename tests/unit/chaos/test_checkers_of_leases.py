"""I2, I5, I6 and I7 on histories told by hand: each check lets pass what is right, and finds what is not."""

import pytest

from garbagetruck.chaos.checkers.leases import (
    a_retry_is_one_operation,
    acknowledged_is_never_lost,
    nothing_ends_early,
    tokens_are_monotonic,
)
from garbagetruck.chaos.history import Outcome, Verb
from tests.unit.chaos.telling import Story


@pytest.fixture
def story() -> Story:
    """A lease that its holder may rely on from 10 to 1,000."""
    told = Story()
    told.acquired("L", "a", 0, 10, token=5)
    return told


@pytest.mark.parametrize("verb", [Verb.READ, Verb.RENEW])
def test_i2_a_lease_that_nobody_knows_any_more_is_found(story: Story, verb: Verb) -> None:
    story.refused(verb, "L", 500, 510, "LEASE_NOT_FOUND")
    assert len(list(acknowledged_is_never_lost(story.history))) == 1


def test_i2_a_lease_whose_time_is_over_may_be_forgotten(story: Story) -> None:
    story.refused(Verb.READ, "L", 990, 1_000, "LEASE_NOT_FOUND")
    assert list(acknowledged_is_never_lost(story.history)) == []


def test_i2_a_session_that_nobody_knows_any_more_takes_its_leases_with_it() -> None:
    story = Story()
    story.acquired("L", "a", 0, 10, session="S")
    story.acquired("M", "b", 20, 30, session="S", token=2)
    story.attempt(Verb.RENEW_SESSION, 500, 510, Outcome.REFUSED, session="S", reason="SESSION_NOT_FOUND")
    assert len(list(acknowledged_is_never_lost(story.history))) == 2


@pytest.mark.parametrize(("verb", "reason"), [(Verb.READ, "ended"), (Verb.RENEW, "LEASE_ENDED")])
def test_i7_a_lease_that_is_over_too_early_is_found(story: Story, verb: Verb, reason: str) -> None:
    story.refused(verb, "L", 990, 999, reason)
    assert len(list(nothing_ends_early(story.history))) == 1
    assert list(acknowledged_is_never_lost(story.history)) == [], "that is another invariant"


def test_i7_a_lease_that_is_over_in_time_or_was_released_is_right(story: Story) -> None:
    story.refused(Verb.READ, "L", 990, 1_000, "ended")
    story.acquired("M", "a", 0, 10, token=6)
    story.released("M", 20, 30)
    story.refused(Verb.READ, "M", 40, 50, "ended")
    assert list(nothing_ends_early(story.history)) == []


def test_i5_a_lease_that_was_asked_for_later_has_the_higher_token(story: Story) -> None:
    story.acquired("M", "b", 11, 20, token=6)
    story.acquired("N", "a", 15, 30, token=7)
    assert list(tokens_are_monotonic(story.history)) == []


def test_i5_tokens_of_calls_that_overlap_come_in_any_order(story: Story) -> None:
    story.acquired("M", "b", 5, 20, token=4)
    assert list(tokens_are_monotonic(story.history)) == []


def test_i5_a_lower_token_for_a_later_lease_is_found(story: Story) -> None:
    story.acquired("K", "c", 0, 3_000, token=9)
    story.acquired("M", "b", 11, 20, token=4)
    (found,) = tokens_are_monotonic(story.history)
    assert "token 4 of M is not above 5 of L" in found


def test_i5_the_same_token_twice_is_found(story: Story) -> None:
    story.acquired("M", "b", 5, 20, token=5)
    (found,) = tokens_are_monotonic(story.history)
    assert "token 5 was issued to" in found


def test_i5_a_repeated_request_counts_from_its_first_attempt_that_may_have_had_the_effect(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 0, 5, Outcome.UNKNOWN, key="b", request="r")
    story.acquired("M", "b", 50, 60, token=4, request="r")
    assert list(tokens_are_monotonic(story.history)) == []


def test_i6_a_repeated_request_that_makes_another_lease_is_found(story: Story) -> None:
    story.acquired("L", "a", 20, 30, token=5)
    assert list(a_retry_is_one_operation(story.history)) == []
    story.acquired("M", "a", 40, 50, token=6, request="request of L")
    assert len(list(a_retry_is_one_operation(story.history))) == 1
