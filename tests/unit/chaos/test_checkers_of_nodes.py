"""I3 and I8 on histories told by hand, and what nodes take of the machine; and the verdict on the whole."""

from garbagetruck.chaos.checkers.nodes import (
    LAG_MS_MAX,
    STEP_DOWN_MS_MAX,
    burdens_are_bounded,
    indexes_compared,
    no_zombie_leader,
    one_history,
    one_leader_for_each_term,
    time_is_fair,
)
from garbagetruck.chaos.history import Outcome, Verb
from garbagetruck.chaos.judge import CHECKERS, doubts_of, verdict_of, violations_of
from garbagetruck.chaos.simulator.result import Verdict
from tests.unit.chaos.telling import Story


def test_i3_different_digests_at_one_index_are_found() -> None:
    story = Story()
    story.seen("n1", 7, "aa")
    story.seen("n2", 7, "aa")
    story.seen("n2", 8, "bb")
    assert list(one_history(story.history)) == []
    assert indexes_compared(story.history) == 1
    story.seen("n3", 8, "cc")
    assert len(list(one_history(story.history))) == 1


def test_i3_a_node_that_has_another_state_after_its_restart_is_found() -> None:
    story = Story()
    story.seen("n1", 7, "aa")
    story.seen("n1", 7, "bb")
    assert len(list(one_history(story.history))) == 1


def test_i3_two_leaders_in_one_term_are_found() -> None:
    story = Story()
    story.seen("n1", 7, "aa", term=3, role="leader")
    story.seen("n2", 7, "aa", term=4, role="leader")
    assert list(one_leader_for_each_term(story.history)) == []
    story.seen("n3", 7, "aa", term=4, role="leader")
    assert len(list(one_leader_for_each_term(story.history))) == 1


def test_i7_time_that_gains_on_the_observers_is_found_under_one_leader_and_from_one_to_the_next() -> None:
    fair, fast, added = Story(), Story(), Story()
    for story in (fair, fast, added):
        story.told_time(1_000, 100, 110)
        story.told_time(2_000, 1_100, 9_000)
        story.told_time(50, 9_000, 9_100, role="follower")
        story.told_time(5_000, 9_200, 9_300)
    # It stood still for a while, and may go on from there, with the step that was granted, and under another leader.
    fair.told_time(6_900, 9_300, 11_200)
    fair.told_time(7_000, 11_200, 11_400, term=2)
    assert list(time_is_fair(fair.history)) == []
    fast.told_time(9_000, 9_300, 9_400)
    assert len(list(time_is_fair(fast.history))) == 1
    added.told_time(9_300 + 900 + LAG_MS_MAX + 1, 9_200, 9_300, term=2)
    assert len(list(time_is_fair(added.history))) == 1


def test_i7_a_leader_that_does_not_know_yet_that_it_is_none_makes_nobody_gain() -> None:
    story = Story()
    story.told_time(1_000, 1_000, 1_010, node="n1", term=1)
    story.told_time(30_000, 30_000, 30_010, node="n2", term=2)
    story.told_time(1_250, 30_000, 30_010, node="n1", term=1)
    story.told_time(30_100, 30_100, 30_110, node="n2", term=2)
    assert list(time_is_fair(story.history)) == []


def test_i8_what_a_leader_without_a_majority_acknowledges_is_found() -> None:
    story = Story()
    story.fault(1_000, 20_000, 21_000, cut_off=("n1",))
    story.attempt(Verb.RENEW, 1_100, 1_200, node="n1")
    story.attempt(Verb.RENEW, 10_000, 10_100, node="n2")
    story.attempt(Verb.RENEW, 10_000, 10_100, Outcome.NOT_APPLIED, node="n1", reason="NO_LEADER")
    story.attempt(Verb.RENEW, 19_000, 20_100, node="n1")
    assert list(no_zombie_leader(story.history)) == [], "at once, elsewhere, refused, or answered after the end"
    story.attempt(Verb.READ, 1_000 + STEP_DOWN_MS_MAX, 10_000, node="n1")
    assert len(list(no_zombie_leader(story.history))) == 1


def test_what_grows_for_as_long_as_a_run_lasts_is_found() -> None:
    flat, growing, young = Story(), Story(), Story()
    for second in range(80):
        flat.burden(second, resident_bytes=(1 << 26) + second % 7)
        growing.burden(second, descriptors=40 + 5 * second)
    for second in range(8):
        young.burden(second, descriptors=40 + 50 * second)
    assert list(burdens_are_bounded(flat.history)) == []
    assert list(burdens_are_bounded(young.history)) == []
    (found,) = burdens_are_bounded(growing.history)
    assert found.startswith("descriptors of n1 (pid 1) grew")


def test_a_journal_that_grows_through_all_restarts_of_its_node_is_found() -> None:
    story = Story()
    for second in range(80):
        story.burden(second, pid=second // 20, journal_bytes=second << 20)
    (found,) = burdens_are_bounded(story.history)
    assert found.startswith("journal_bytes of n1 grew")


def test_a_good_history_passes_and_every_checker_looks_at_it() -> None:
    story = good()
    assert violations_of(story.history) == []
    assert doubts_of(story.history) == []
    assert verdict_of([], []) is Verdict.PASSED
    assert len(CHECKERS) == 12


def test_a_fault_that_did_not_bite_leaves_a_run_undecided() -> None:
    story = good()
    story.fault(100, 200, 300, proof="")
    assert doubts_of(story.history) == ["fault did not bite"]
    assert verdict_of([], doubts_of(story.history)) is Verdict.UNDECIDED


def test_a_run_in_which_nothing_happened_is_undecided() -> None:
    assert len(doubts_of(Story().history)) == 4


def test_what_a_scenario_found_by_itself_is_a_violation_and_outweighs_a_doubt() -> None:
    story = good()
    story.found("the term stays", holds=False)
    violations = violations_of(story.history)
    assert len(violations) == 1
    assert verdict_of(violations, ["something did not bite"]) is Verdict.VIOLATED


def good() -> Story:
    """A lease, its object, a fault that bit, and the object's end in time."""
    story = Story()
    story.acquired("L", "a", 0, 10)
    story.written("a", 20, "L")
    story.fault(30, 40, 50)
    story.gone("a", 1_100, 1_150)
    story.seen("n1", 7, "aa")
    story.seen("n2", 7, "aa")
    return story
