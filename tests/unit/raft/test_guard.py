"""Hazard 1: pysyncobj cuts matching entries from a follower, and repeats itself as a leader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.errors import LogDiverged
from garbagetruck.cluster.raft.guard import Carriage, fit
from tests.unit.raft.stage import Stage, appending


class Log:
    """A log of terms alone; the entry at index i is terms[i - 1]."""

    def __init__(self, terms: list[int]) -> None:
        self.terms = terms

    @property
    def last_index(self) -> int:
        return len(self.terms)

    def term_at(self, index: int) -> int | None:
        return self.terms[index - 1] if 0 < index <= len(self.terms) else None


def take_as_pysyncobj_does(log: Log, message: wire.AppendEntries) -> tuple[int | None, int]:
    """What syncobj.py 985-1033 does: (what it acknowledges, up to where it commits)."""
    if log.term_at(message.prev_index) != message.prev_term:
        return None, 0
    log.terms[message.prev_index :] = [term for _, _, term in message.entries]
    acknowledged = message.prev_index + len(message.entries)
    return acknowledged, min(message.commit_index, log.last_index)


class TestFit:
    def test_a_repeated_message_cuts_nothing(self) -> None:
        fitted = fit(appending(1, 1, 0, [1, 1]), Log([0, 1, 1, 1, 1]))
        assert fitted.message == appending(1, 5, 1)
        assert fitted.verified_index is None

    def test_what_is_new_in_an_overlapping_message_is_kept(self) -> None:
        fitted = fit(appending(1, 1, 0, [1, 1, 1]), Log([0, 1, 1]))
        assert fitted.message == appending(1, 3, 1, [1])

    def test_a_conflict_is_left_to_be_cut_and_nothing_before_it(self) -> None:
        fitted = fit(appending(3, 1, 0, [1, 3, 3]), Log([0, 1, 2, 2, 2]))
        assert fitted.message == appending(3, 2, 1, [3, 3])

    @pytest.mark.parametrize("log", [[0], [0, 1], [0, 1, 1, 2]])
    def test_a_message_that_does_not_fit_is_left_to_be_refused(self, log: list[int]) -> None:
        message = appending(3, 4, 3, [3])
        assert fit(message, Log(log)).message == message

    def test_a_suffix_of_an_older_term_is_neither_cut_nor_acknowledged_nor_committed(self) -> None:
        """It may be another leader's, and so wrong; or committed, and so not to be lost."""
        fitted = fit(appending(3, 1, 0, [1], commit_index=9), Log([0, 1, 2, 2]))
        assert fitted.message == appending(3, 4, 2, commit_index=2)
        answer = wire.NextIndex(3, 5, reset=False, success=True)
        assert fitted.bound(answer).next_index == 3

    def test_a_heartbeat_behind_the_end_of_the_leaders_own_term_acknowledges_all(self) -> None:
        fitted = fit(appending(3, 2, 1, commit_index=4), Log([0, 1, 3, 3]))
        assert fitted.message == appending(3, 4, 3, commit_index=4)
        assert fitted.verified_index is None

    def test_a_refusal_is_not_bounded(self) -> None:
        fitted = fit(appending(3, 1, 0, [1]), Log([0, 1, 2, 2]))
        refusal = wire.NextIndex(3, 9, reset=True, success=False)
        assert fitted.bound(refusal) == refusal


@st.composite
def a_follower_and_leaders(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, list[int], int]], st.DataObject]:
    """A follower's log, and leaders of rising terms, (term, log, commit index), none of which lacks what is committed.

    Every log makes its own terms, so that an index and a term name one entry, as in any history that Raft allows.
    """
    shared = [0, *sorted(draw(st.lists(st.integers(1, 2), max_size=5)))]
    follower = shared + sorted(draw(st.lists(st.integers(3, 4), max_size=5)))
    leaders = []
    log, committed = shared, 1
    for term in sorted(draw(st.sets(st.sampled_from([10, 20, 30, 40]), min_size=1, max_size=3))):
        keep = draw(st.integers(committed, len(log)))
        log = log[:keep] + [term - 5] * draw(st.integers(0, 3)) + [term] * draw(st.integers(1, 4))
        committed = draw(st.integers(committed, len(log)))
        leaders.append((term, log, committed))
    return follower, leaders, draw(st.data())


def common_prefix(one: list[int], other: list[int]) -> int:
    """Logs of one history that have an entry of the same index and term are equal up to it."""
    return max((i + 1 for i, (a, b) in enumerate(zip(one, other, strict=False)) if a == b), default=0)


@given(a_follower_and_leaders())
def test_whatever_a_leader_repeats_delays_or_reorders_a_follower_loses_no_entry_that_matches(
    case: tuple[list[int], list[tuple[int, list[int], int]], st.DataObject],
) -> None:
    follower_terms, leaders, data = case
    log = Log(list(follower_terms))
    for term, leader_log, commit_index in leaders:
        for _ in range(data.draw(st.integers(1, 6))):
            prev_index = data.draw(st.integers(1, len(leader_log)))
            end = data.draw(st.integers(prev_index, len(leader_log)))
            message = appending(term, prev_index, leader_log[prev_index - 1], leader_log[prev_index:end], commit_index)
            matching = common_prefix(log.terms, leader_log)
            fitted = fit(message, log)
            acknowledged, committed = take_as_pysyncobj_does(log, fitted.message)
            assert common_prefix(log.terms, leader_log) >= matching
            if acknowledged is not None:
                answer = fitted.bound(wire.NextIndex(term, acknowledged + 1, reset=False, success=True))
                assert answer.next_index - 1 <= common_prefix(log.terms, leader_log)
                assert answer.next_index - 1 >= message.end_index
                assert committed <= common_prefix(log.terms, leader_log)


class TestCarriage:
    def test_the_leader_does_not_repeat_what_the_connection_carried(self) -> None:
        carriage = Carriage()
        carriage.strip(appending(1, 1, 0, [1, 1, 1]))
        assert carriage.strip(appending(1, 2, 1, [1, 1, 1])) == appending(1, 4, 1, [1])
        assert carriage.strip(appending(1, 2, 1, [1])) == appending(1, 5, 1)

    def test_what_a_follower_refused_is_repeated(self) -> None:
        carriage = Carriage()
        carriage.strip(appending(1, 1, 0, [1, 1, 1]))
        carriage.forget()
        assert carriage.strip(appending(1, 1, 0, [1, 1])) == appending(1, 1, 0, [1, 1])

    def test_a_new_term_carried_nothing_yet(self) -> None:
        carriage = Carriage()
        carriage.strip(appending(1, 1, 0, [1, 1, 1]))
        assert carriage.strip(appending(2, 1, 0, [1, 2])) == appending(2, 1, 0, [1, 2])


class TestWithPysyncobj:
    """The same against pysyncobj itself, with the guard and without."""

    @staticmethod
    def hear_a_repeated_message(stage: Stage, *, guarded: bool) -> list[tuple[int, int]]:
        follower = stage.node("n1", guarded=guarded)
        follower.hear("n2", appending(1, 1, 0, [1]), appending(1, 2, 1, [1, 1]))
        acknowledged = [m.next_index - 1 for m in follower.sent("n2") if isinstance(m, wire.NextIndex)]
        assert acknowledged[-1] == 4
        follower.hear("n2", appending(1, 1, 0, [1]))
        return follower.log

    def test_i2_a_follower_keeps_what_it_acknowledged_when_the_leader_repeats_itself(self, stage: Stage) -> None:
        assert self.hear_a_repeated_message(stage, guarded=True) == [(1, 0), (2, 1), (3, 1), (4, 1)]

    def test_pysyncobj_alone_drops_what_it_acknowledged(self, stage: Stage) -> None:
        assert self.hear_a_repeated_message(stage, guarded=False) == [(1, 0), (2, 1)]

    def test_a_follower_dies_rather_than_drop_a_committed_entry(self, stage: Stage) -> None:
        """The journal's own check, should the guard ever fail."""
        follower = stage.node("n1", guarded=False)
        follower.hear("n2", appending(1, 1, 0, [1, 1], commit_index=3))
        with pytest.raises(LogDiverged, match="entry 2 is committed"):
            follower.hear("n2", appending(1, 1, 0, [1], commit_index=3))
        assert follower.log == [(1, 0), (2, 1), (3, 1)]

    def test_a_suffix_of_another_leader_is_not_committed_by_this_leaders_word(self, stage: Stage) -> None:
        follower = stage.node("n1")
        follower.hear("n3", appending(1, 1, 0, [1, 1, 1, 1]))
        follower.hear("n2", appending(2, 1, 0, [1], commit_index=4))
        assert follower.log == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
        assert follower.consensus.commit_index == 2
        assert follower.sent("n2") == [wire.NextIndex(2, 3, reset=False, success=True)]

    @staticmethod
    def acknowledge_the_first_of_three(stage: Stage, *, guarded: bool) -> list[int]:
        """The indexes that the leader then sends when a fourth comes."""
        leader = stage.node("n1", guarded=guarded)
        leader.elect("n2")
        for payload in (b"a", b"b", b"c"):
            leader.propose(payload)
        sent = [m for m in leader.sent("n2") if isinstance(m, wire.AppendEntries)]
        assert sent[-1].end_index == 5
        leader.hear("n2", wire.NextIndex(1, 3, reset=False, success=True))
        leader.propose(b"d")
        return [index for m in leader.sent("n2") if isinstance(m, wire.AppendEntries) for _, index, _ in m.entries]

    def test_a_leader_sends_only_what_is_new(self, stage: Stage) -> None:
        assert self.acknowledge_the_first_of_three(stage, guarded=True) == [6]

    def test_pysyncobj_alone_repeats_what_is_on_its_way(self, stage: Stage) -> None:
        assert self.acknowledge_the_first_of_three(stage, guarded=False) == [3, 4, 5, 6]

    def test_a_leader_repeats_what_a_follower_refused(self, stage: Stage) -> None:
        leader = stage.node("n1")
        leader.elect("n2")
        leader.propose(b"a")
        leader.sent("n2")
        leader.hear("n2", wire.NextIndex(1, 2, reset=True, success=False))
        stage.clock.advance(200)
        leader.tick()
        (message,) = leader.sent("n2")
        assert isinstance(message, wire.AppendEntries)
        assert [index for _, index, _ in message.entries] == [2, 3]
