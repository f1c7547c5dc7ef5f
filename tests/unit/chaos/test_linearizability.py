"""Linearizability on histories told by hand: each anomaly is found by the search, and what merely looks odd is not."""

import random
import time

import pytest

from garbagetruck.chaos.checkers import linearizability, search
from garbagetruck.chaos.checkers.linearizability import linearizable, undecided
from garbagetruck.chaos.history import Outcome, Verb
from garbagetruck.chaos.judge import doubts_of, verdict_of, violations_of
from garbagetruck.chaos.simulator.result import Verdict
from tests.unit.chaos.telling import Story

RELEASE = Verb.RELEASE


@pytest.fixture
def story() -> Story:
    """L, acknowledged at 10 and good until 1,000."""
    told = Story()
    told.acquired("L", "a", 0, 10, token=5)
    return told


def found_in(story: Story) -> list[str]:
    assert list(undecided(story.history)) == []
    return list(linearizable(story.history))


# -- what is right -----------------------------------------------------------------------------------------------------


def test_calls_one_after_the_other_are_linearizable(story: Story) -> None:
    story.looked("a", 20, 30, "L")
    story.acquired("M", "a", 40, 50, token=6)
    story.looked("a", 60, 70, "L", "M")
    story.released("L", 80, 90)
    story.looked("a", 100, 110, "M")
    assert found_in(story) == []


def test_calls_that_overlap_are_seen_in_any_one_order(story: Story) -> None:
    story.acquired("M", "a", 20, 100, token=6)
    story.looked("a", 30, 40, "L")
    story.looked("a", 50, 60, "L", "M")
    assert found_in(story) == []


def test_a_lease_whose_time_is_over_may_be_there_or_not(story: Story) -> None:
    story.looked("a", 1_100, 1_110, "L")
    story.refused(Verb.READ, "L", 1_120, 1_130, "ended")
    story.looked("a", 1_140, 1_150)
    assert found_in(story) == []


def test_a_call_that_nobody_answered_may_have_its_effect_much_later_or_never(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 20, 30, Outcome.UNKNOWN, key="a", request="request of M", ttl_ms=1_000)
    story.looked("a", 40, 50, "L")
    story.looked("a", 500, 510, "L", "M")
    story.attempt(Verb.ACQUIRE, 520, 530, Outcome.UNKNOWN, key="a", request="request of N", ttl_ms=1_000)
    story.looked("a", 900, 910, "L", "M")
    assert found_in(story) == []


def test_a_release_that_nobody_answered_may_have_its_effect_later(story: Story) -> None:
    story.released("L", 20, 30, Outcome.UNKNOWN)
    story.looked("a", 40, 50, "L")
    story.looked("a", 60, 70)
    assert found_in(story) == []


def test_a_repeated_request_may_have_had_its_effect_the_first_time(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 20, 30, Outcome.UNKNOWN, key="a", request="request of M", ttl_ms=1_000)
    story.looked("a", 40, 50, "L", "M")
    story.acquired("M", "a", 60, 70, token=6)
    assert found_in(story) == []


def test_a_session_that_is_closed_takes_its_leases_with_it() -> None:
    story = Story()
    story.acquired("L", "a", 0, 10, session="S")
    story.attempt(Verb.CLOSE_SESSION, 20, 30, session="S")
    story.looked("a", 40, 50)
    assert found_in(story) == []
    story.looked("a", 60, 70, "L")
    assert len(found_in(story)) == 1


# -- the classical anomalies -------------------------------------------------------------------------------------------


def test_a_stale_read_is_found(story: Story) -> None:
    story.acquired("M", "a", 20, 30, token=6)
    story.looked("a", 40, 50, "L")
    (found,) = found_in(story)
    assert "look by c at n1: with the leases of request of L" in found


def test_a_lost_acquire_is_found(story: Story) -> None:
    story.looked("a", 20, 30)
    assert len(found_in(story)) == 1


def test_a_read_of_what_was_never_applied_is_found(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 20, 30, Outcome.NOT_APPLIED, key="a", request="request of M")
    story.looked("a", 40, 50, "L", "M")
    assert len(found_in(story)) == 1


def test_reads_that_go_back_in_time_are_found(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 20, 30, Outcome.UNKNOWN, key="a", request="request of M", ttl_ms=900)
    story.looked("a", 40, 50, "L", "M")
    story.looked("a", 60, 70, "L")
    assert len(found_in(story)) == 1, "M has been seen, and cannot be over before 920"


def test_reads_that_go_back_in_time_while_the_write_is_under_way_are_found(story: Story) -> None:
    story.acquired("M", "a", 20, 100, token=6)
    story.looked("a", 30, 40, "L", "M")
    story.looked("a", 50, 60, "L")
    assert len(found_in(story)) == 1


def test_a_lease_that_comes_back_is_found(story: Story) -> None:
    story.released("L", 20, 30)
    story.looked("a", 40, 50, "L")
    assert len(found_in(story)) == 1


def test_a_lease_that_comes_back_after_an_unanswered_release_was_seen_is_found(story: Story) -> None:
    story.released("L", 20, 30, Outcome.UNKNOWN)
    story.looked("a", 40, 50)
    story.attempt(Verb.READ, 60, 70, lease="L")
    assert len(found_in(story)) == 1


def test_two_halves_of_a_brain_are_found(story: Story) -> None:
    story.acquired("M", "a", 100, 200, token=6)
    story.acquired("N", "a", 100, 200, token=7)
    story.looked("a", 110, 150, "L", "M")
    story.looked("a", 110, 150, "L", "N")
    assert len(found_in(story)) == 1, "one of them has to be seen with the other"


def test_a_write_that_another_one_skewed_is_found(story: Story) -> None:
    story.acquired("M", "b", 0, 10, token=6)
    story.released("M", 20, 30)
    story.refused(Verb.RENEW, "L", 20, 30, "LEASE_ENDED")
    assert len(found_in(story)) == 1, "what was released was another lease"


def test_a_lease_that_ends_before_its_time_is_found(story: Story) -> None:
    story.refused(Verb.READ, "L", 900, 990, "ended")
    assert len(found_in(story)) == 1


def test_a_resource_that_is_cleaned_while_it_has_a_lease_is_found(story: Story) -> None:
    story.attempt(Verb.ACQUIRE, 20, 30, Outcome.REFUSED, key="a", request="r", reason="RESOURCE_BEING_CLEANED")
    assert len(found_in(story)) == 1


def test_i5_tokens_that_no_order_explains_are_found(story: Story) -> None:
    story.acquired("M", "a", 5, 100, token=4)
    assert found_in(story) == [], "they overlap: M may have been first"
    story.looked("a", 6, 8, "L")
    story.looked("a", 12, 14, "L")
    assert len(found_in(story)) == 1, "L was there, and M was not"


# -- bounds ------------------------------------------------------------------------------------------------------------


def crowd(seed: int, *, width: int, rounds: int, lie: bool) -> Story:
    """Rounds of acquires that all overlap, and looks at any moment of each; the last look may tell a lie."""
    story, generator, token = Story(), random.Random(seed), 0
    leases: list[str] = []
    for number in range(rounds):
        start_ms = number * 100
        order = [f"{number}-{each}" for each in range(width)]
        generator.shuffle(order)
        for lease in order:
            token += 1
            story.acquired(lease, "a", start_ms, start_ms + 50, token=token, ttl_ms=1_000_000)
        story.looked("a", start_ms, start_ms + 50, *leases, *order[: width // 2])
        leases += order
    story.looked("a", rounds * 100, rounds * 100 + 10, *(leases[:-1] if lie else leases))
    return story


def test_crowds_are_searched_quickly(seed: int) -> None:
    began_s = time.monotonic()
    assert found_in(crowd(seed, width=12, rounds=40, lie=False)) == []
    assert len(found_in(crowd(seed, width=12, rounds=40, lie=True))) == 1
    assert time.monotonic() - began_s < 60, "the memo does its work"


def test_a_search_that_gives_up_is_undecided_and_never_passed(story: Story) -> None:
    for number in range(20):
        story.acquired(f"M{number}", "a", 20, 500, token=6)
    found = search.search(linearizability.calls_of(story.history)["a"], steps_max=0)
    assert found.verdict is search.Verdict.UNDECIDED
    story.looked("a", 600, 610, "L")
    assert list(linearizable(story.history, steps_max=0)) == []
    (doubt,) = undecided(story.history, steps_max=0)
    assert "the search ended after" in doubt
    assert verdict_of([], [doubt]) is Verdict.UNDECIDED


def test_the_judge_asks_for_it(story: Story) -> None:
    story.looked("a", 20, 30)
    assert any(each.startswith("not linearizable: no order") for each in violations_of(story.history))
    assert not any("linearizable" in each for each in doubts_of(story.history))
