"""I1 and I4 on histories told by hand: each check lets pass what is right, and finds what is not."""

import pytest

from garbagetruck.chaos.checkers.objects import (
    LATENESS_MS_MAX,
    every_orphan_is_reclaimed,
    in_use_is_never_deleted,
    lateness_ms,
    left_in_vain,
)
from garbagetruck.chaos.history import Outcome, Verb
from tests.unit.chaos.telling import Story


@pytest.fixture
def story() -> Story:
    """A lease on `a`, sent at 0 and acknowledged at 10, for a second; its object was there at 20."""
    told = Story()
    told.acquired("L", "a", 0, 10)
    told.written("a", 20, "L")
    return told


def in_use(story: Story) -> list[str]:
    return list(in_use_is_never_deleted(story.history))


def orphans(story: Story) -> list[str]:
    return list(every_orphan_is_reclaimed(story.history))


def test_i1_a_deletion_after_the_time_from_sending_is_right(story: Story) -> None:
    story.gone("a", 990, 1_000)
    assert in_use(story) == []


def test_i1_a_deletion_within_the_time_from_sending_is_found(story: Story) -> None:
    story.gone("a", 900, 999)
    assert len(in_use(story)) == 1
    assert "1 ms left" in in_use(story)[0]


def test_i1_time_counts_from_the_sending_of_a_renewal_not_from_its_answer(story: Story) -> None:
    story.renewed("L", 500, 800)
    story.gone("a", 1_490, 1_500)
    assert in_use(story) == []
    story.gone("a", 1_490, 1_499)
    assert len(in_use(story)) == 1


def test_i1_a_renewal_without_an_answer_protects_nothing(story: Story) -> None:
    story.attempt(Verb.RENEW, 500, 800, Outcome.UNKNOWN, lease="L", ttl_ms=1_000)
    story.gone("a", 1_000, 1_100)
    assert in_use(story) == []


def test_i1_a_renewal_that_was_answered_later_says_that_the_lease_was_alive_before(story: Story) -> None:
    story.gone("a", 1_100, 1_200)
    story.renewed("L", 1_500, 1_510)
    assert len(in_use(story)) == 1


def test_i1_the_session_protects_all_its_leases() -> None:
    story = Story()
    story.acquired("L", "a", 0, 10, session="S")
    story.written("a", 20, "L")
    story.session_renewed("S", 900, 910)
    story.gone("a", 1_800, 1_850)
    assert len(in_use(story)) == 1


def test_i1_who_sent_a_release_relies_on_nothing_whatever_became_of_it(story: Story) -> None:
    story.released("L", 100, 200, Outcome.UNKNOWN)
    story.gone("a", 50, 150)
    assert in_use(story) == []


def test_i1_another_holder_of_the_same_resource_is_protected_too(story: Story) -> None:
    story.released("L", 100, 200)
    story.acquired("M", "a", 30, 40)
    story.gone("a", 300, 400)
    assert len(in_use(story)) == 1
    assert "lease M" in in_use(story)[0]


def test_i1_an_earlier_life_of_the_resource_may_end_while_a_later_lease_is_asked_for() -> None:
    story = Story()
    story.gone("a", 100, 200)
    story.acquired("L", "a", 150, 190)
    assert in_use(story) == [], "it may have gone before the lease was granted"


def test_i1_what_was_taken_off_the_books_stays_for_ever(story: Story) -> None:
    story.kept("L", 100, 110)
    assert in_use(story) == []
    story.gone("a", 100_000, 100_050)
    assert len(in_use(story)) == 1
    assert "off the books" in in_use(story)[0]


def test_i1_a_keep_of_unknown_outcome_promises_nothing(story: Story) -> None:
    story.kept("L", 100, 110, Outcome.UNKNOWN)
    story.gone("a", 1_500, 1_550)
    assert in_use(story) == []


def test_i1_what_no_lease_ever_named_is_never_deleted(story: Story) -> None:
    story.history.foreign.add("b")
    story.written("b", 5)
    story.gone("b", 10, 20)
    assert len(in_use(story)) == 1
    assert lateness_ms(story.history) == []


def test_i4_an_orphan_that_was_deleted_in_time_is_right(story: Story) -> None:
    story.gone("a", 1_500, 1_600)
    assert orphans(story) == []
    (late_ms,) = lateness_ms(story.history)
    assert late_ms == 590, "the lease may have been granted just before its answer came"


@pytest.mark.parametrize("still_there", [True, False])
def test_i4_an_orphan_that_was_deleted_late_or_not_at_all_is_found(story: Story, still_there: bool) -> None:
    late_ms = 1_010 + LATENESS_MS_MAX + 1
    if still_there:
        story.left("a", late_ms)
    else:
        story.gone("a", late_ms - 10, late_ms)
    assert len(orphans(story)) == 1


def test_i4_a_release_that_was_acknowledged_ends_a_long_lease() -> None:
    story = Story()
    story.acquired("L", "a", 0, 10, ttl_ms=600_000)
    story.written("a", 20, "L")
    story.released("L", 100, 110)
    story.left("a", 111 + LATENESS_MS_MAX)
    assert len(orphans(story)) == 1


def test_i4_what_may_still_be_held_is_no_orphan() -> None:
    story = Story()
    story.acquired("L", "a", 0, 10)
    story.written("a", 20, "L")
    story.attempt(Verb.ACQUIRE, 30, 40, Outcome.UNKNOWN, key="a", request="lost", ttl_ms=600_000)
    story.left("a", 60_000)
    assert orphans(story) == []


def test_i4_outages_do_not_count_as_lateness(story: Story) -> None:
    story.fault(500, 20_000, 22_000)
    story.gone("a", 23_000, 23_050)
    assert orphans(story) == []
    story.gone("a", 33_000, 33_050)
    assert len(orphans(story)) == 1
    assert lateness_ms(story.history) == [], "what a fault delayed says nothing of a healthy cluster"


def test_i4_what_was_kept_is_no_orphan(story: Story) -> None:
    story.kept("L", 100, 110)
    story.left("a", 100_000)
    assert orphans(story) == []
    assert left_in_vain(story.history, ["a", "b"]) == ["b"]
