"""Hazards 13 and 14: who stands for election, who is voted for, and how a leader learns that its time is over."""

import random
from collections.abc import Callable

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.election import Election, Standing
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.voters import founders_of
from tests.unit.raft.links import VirtualTime, voting
from tests.unit.raft.stage import SETTINGS, Stage, StageNode, appending

MINIMUM_MS, MAXIMUM_MS = SETTINGS.election_timeout_ms_min, SETTINGS.election_timeout_ms_max
PEERS = frozenset({"n2", "n3"})
FOLLOWING = Standing(Role.FOLLOWER, 4, 9, 4)


class Bench:
    """An election of n1, among n2 and n3."""

    def __init__(self) -> None:
        self.clock = VirtualTime()
        self.voters = voting("n1", *PEERS)
        self.election = Election(
            node_id="n1",
            voters=self.voters,
            settings=SETTINGS,
            random=random.Random(1),
            monotonic_ns=self.clock.monotonic_ns,
        )

    def ask(self, standing: Standing = FOLLOWING) -> wire.PreVote:
        """Let the timer end."""
        self.clock.advance(MAXIMUM_MS)
        question = self.election.ask(standing, self.voters.others)
        assert question is not None
        return question

    def grant(self, question: wire.PreVote, *peer_ids: str) -> None:
        for peer_id in peer_ids:
            self.election.answered(peer_id, wire.PreVoteAnswer(question.term, question.round_, granted=True))


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestAsking:
    def test_nobody_asks_before_the_minimum_timeout_nor_later_than_the_maximum(self) -> None:
        for seed in range(100):
            bench = Bench()
            bench.election._random = random.Random(seed)
            bench.election.heard("n2")
            bench.clock.advance(MINIMUM_MS - 1)
            assert bench.election.ask(FOLLOWING, PEERS) is None
            bench.clock.advance(MAXIMUM_MS - MINIMUM_MS + 1)
            assert bench.election.ask(FOLLOWING, PEERS) == wire.PreVote(4, 1, 9, 4)

    def test_nobody_asks_while_its_own_disk_has_not_the_term_and_the_vote(self, bench: Bench) -> None:
        """The election that they belong to is under way: a further term would end it before its votes are there."""
        bench.clock.advance(MAXIMUM_MS)
        assert bench.election.ask(Standing(Role.CANDIDATE, 4, 9, 4, vowed=False), PEERS) is None
        assert bench.election.ask(Standing(Role.CANDIDATE, 4, 9, 4), PEERS) is not None

    def test_a_majority_that_would_vote_makes_it_stand_once(self, bench: Bench) -> None:
        question = bench.ask()
        assert not bench.election.stands(FOLLOWING)
        bench.grant(question, "n3")
        assert bench.election.stands(FOLLOWING)
        assert not bench.election.stands(FOLLOWING)

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda bench: bench.election.heard("n2"), id="a leader was heard"),
            pytest.param(lambda bench: bench.clock.advance(MINIMUM_MS + 1), id="it was sent too long ago"),
            pytest.param(lambda bench: bench.election.held_up(), id="the process stood still"),
            pytest.param(lambda bench: bench.election.voted(), id="another was voted for"),
        ],
    )
    def test_a_round_that_was_won_counts_no_more_when(self, bench: Bench, spoil: Callable[[Bench], None]) -> None:
        question = bench.ask()
        bench.grant(question, "n2", "n3")
        spoil(bench)
        assert not bench.election.stands(FOLLOWING)

    def test_a_round_of_another_term_does_not_count(self, bench: Bench) -> None:
        question = bench.ask()
        bench.grant(question, "n2", "n3")
        assert not bench.election.stands(Standing(Role.FOLLOWER, 5, 9, 4))

    def test_answers_count_for_their_own_round_and_once_for_each_voter(self) -> None:
        bench = Bench()
        bench.voters.begin(founders_of(("n1", "n2", "n3", "n4", "n5")), is_founder=True)
        former = bench.ask()
        latter = bench.ask()
        bench.grant(former, "n2", "n3", "n4")
        bench.grant(latter, "n2", "n2", "n9")
        assert not bench.election.stands(FOLLOWING)
        bench.grant(latter, "n5")
        assert bench.election.stands(FOLLOWING)

    def test_a_refusal_is_no_vote(self, bench: Bench) -> None:
        question = bench.ask()
        bench.election.answered("n2", wire.PreVoteAnswer(4, question.round_, granted=False))
        assert not bench.election.stands(FOLLOWING)

    def test_a_round_that_is_lost_keeps_nobody_back(self) -> None:
        """Two that missed the leader at nearly the same moment: the first asks too early, the second must not wait."""
        bench = Bench()
        bench.election._node_id = "n4"
        question = bench.ask()
        bench.election.answered("n2", wire.PreVoteAnswer(4, question.round_, granted=False))
        assert not bench.election.answer("n3", TestAnswering.QUESTION, FOLLOWING).granted, "n3 may still say yes"
        bench.election.answered("n3", wire.PreVoteAnswer(4, question.round_, granted=False))
        assert bench.election.answer("n3", TestAnswering.QUESTION, FOLLOWING).granted

    def test_who_can_reach_no_majority_asks_nobody_and_asks_as_soon_as_it_can(self, bench: Bench) -> None:
        bench.clock.advance(MAXIMUM_MS)
        assert bench.election.ask(FOLLOWING, frozenset()) is None
        assert bench.election.ask(FOLLOWING, frozenset({"n3"})) is not None

    def test_a_broken_connection_to_the_leader_shortens_the_wait_and_not_below_the_minimum(self, bench: Bench) -> None:
        bench.election.heard("n2")
        bench.election.disconnected("n2")
        bench.clock.advance(MINIMUM_MS - 1)
        assert bench.election.ask(FOLLOWING, PEERS) is None
        bench.clock.advance(1 + SETTINGS.lost_leader_spread_ms)
        assert bench.election.ask(FOLLOWING, PEERS) is not None


class TestAnswering:
    QUESTION = wire.PreVote(4, 7, 9, 4)

    def test_who_hears_a_leader_grants_nothing_until_the_minimum_timeout(self, bench: Bench) -> None:
        bench.election.heard("n2")
        bench.clock.advance(MINIMUM_MS - 1)
        assert not bench.election.answer("n3", self.QUESTION, FOLLOWING).granted
        bench.clock.advance(1)
        assert bench.election.answer("n3", self.QUESTION, FOLLOWING).granted

    def test_a_leader_is_one_until_nothing_was_heard_of_it_for_the_maximum_timeout(self, bench: Bench) -> None:
        assert not bench.election.hears("n2")
        bench.election.heard("n2")
        bench.clock.advance(MAXIMUM_MS - 1)
        assert bench.election.hears("n2")
        assert not bench.election.hears("n3")
        bench.clock.advance(1)
        assert not bench.election.hears("n2")

    def test_a_leader_that_asks_has_stopped_leading(self, bench: Bench) -> None:
        bench.election.heard("n2")
        assert bench.election.answer("n2", self.QUESTION, FOLLOWING).granted

    def test_a_node_that_just_started_does_as_if_it_had_heard_a_leader(self, bench: Bench) -> None:
        bench.clock.advance(MINIMUM_MS - 1)
        assert not bench.election.answer("n3", self.QUESTION, FOLLOWING).granted

    @pytest.mark.parametrize(
        ("standing", "granted"),
        [
            (Standing(Role.FOLLOWER, 4, 9, 4), True),
            (Standing(Role.CANDIDATE, 4, 9, 4), True),
            (Standing(Role.FOLLOWER, 3, 20, 3), True),
            (Standing(Role.LEADER, 4, 9, 4), False),
            (Standing(Role.FOLLOWER, 5, 9, 4), False),
            (Standing(Role.FOLLOWER, 4, 10, 4), False),
            (Standing(Role.FOLLOWER, 4, 9, 4, vowed=False), False),
        ],
    )
    def test_a_vote_is_promised_to_who_would_get_it(self, bench: Bench, standing: Standing, granted: bool) -> None:
        bench.clock.advance(MINIMUM_MS)
        answer = bench.election.answer("n3", self.QUESTION, standing)
        assert answer == wire.PreVoteAnswer(standing.term, 7, granted)

    def test_of_two_that_ask_at_once_the_greater_id_goes_first(self, bench: Bench) -> None:
        bench.ask()
        assert bench.election.answer("n3", self.QUESTION, FOLLOWING).granted
        other = Bench()
        other.election._node_id = "n4"
        question = other.ask()
        assert not other.election.answer("n3", self.QUESTION, FOLLOWING).granted
        other.grant(question, "n2")
        assert other.election.stands(FOLLOWING)

    def test_who_gave_way_does_not_stand_on_what_it_was_promised(self, bench: Bench) -> None:
        question = bench.ask()
        bench.grant(question, "n2")
        assert bench.election.answer("n3", self.QUESTION, FOLLOWING).granted
        assert not bench.election.stands(FOLLOWING)

    def test_granting_again_and_again_does_not_keep_a_node_from_asking(self, bench: Bench) -> None:
        bench.election.heard("n2")
        for _ in range(MAXIMUM_MS // 10 + SETTINGS.heartbeat_ms // 10 + 1):
            bench.clock.advance(10)
            bench.election.answer("n3", self.QUESTION, FOLLOWING)
        assert bench.election.ask(FOLLOWING, PEERS) is not None


class TestWithPysyncobj:
    """The same around pysyncobj itself."""

    @staticmethod
    def following(stage: Stage, *, guarded: bool = True) -> StageNode:
        node = stage.node("n1", guarded=guarded)
        node.hear("n2", appending(3, 1, 0, [3]))
        node.sent("n2")
        return node

    @staticmethod
    def question(node: StageNode, peer_id: str) -> wire.PreVote:
        (question,) = (message for message in node.sent(peer_id) if isinstance(message, wire.PreVote))
        return question

    def test_a_node_that_comes_back_asks_and_changes_nothing(self, stage: Stage) -> None:
        node = self.following(stage)
        for _ in range(20):
            stage.clock.advance(MAXIMUM_MS)
            node.hear("n3", wire.Alive())
            node.hear("n2", wire.Alive())
            node.tick()
        assert (node.consensus.role, node.consensus.term) == (Role.FOLLOWER, 3)
        assert {type(message) for message in node.sent("n3")} <= {wire.PreVote, wire.Alive}

    def test_pysyncobj_alone_raises_its_term_and_deposes_the_leader(self, stage: Stage) -> None:
        node = self.following(stage, guarded=False)
        for _ in range(20):
            stage.clock.advance(MAXIMUM_MS)
            node.tick()
        assert node.consensus.term > 10
        leader = stage.node("n2", guarded=False)
        leader.elect("n3")
        leader.hear("n1", wire.RequestVote(node.consensus.term, 1, 0))
        assert leader.consensus.role is Role.FOLLOWER

    def test_a_majoritys_word_makes_it_stand(self, stage: Stage) -> None:
        node = self.following(stage)
        stage.clock.advance(MAXIMUM_MS)
        node.tick()
        question = self.question(node, "n3")
        node.hear("n3", wire.PreVoteAnswer(3, question.round_, granted=True))
        node.tick()
        assert node.sent("n3") == [wire.RequestVote(4, 2, 3)]
        assert node.consensus.role is Role.CANDIDATE

    def test_a_later_term_is_learnt_by_asking_and_asked_under_at_once(self, stage: Stage) -> None:
        node = self.following(stage)
        stage.clock.advance(MAXIMUM_MS)
        node.tick()
        question = self.question(node, "n3")
        node.hear("n3", wire.PreVoteAnswer(8, question.round_, granted=False))
        node.tick()
        assert node.consensus.term == 8
        assert node.sent("n3") == [wire.PreVote(8, question.round_ + 1, 2, 3)]

    def test_who_hears_a_leader_gives_no_vote_and_takes_no_term(self, stage: Stage) -> None:
        node = self.following(stage)
        node.hear("n3", wire.RequestVote(9, 99, 9))
        assert node.consensus.term == 3
        assert node.sent("n3") == []

    def test_pysyncobj_alone_takes_any_later_term(self, stage: Stage) -> None:
        node = self.following(stage, guarded=False)
        node.hear("n3", wire.RequestVote(9, 99, 9))
        assert node.consensus.term == 9

    def test_a_leader_gives_no_vote_while_it_leads(self, stage: Stage) -> None:
        leader = stage.node("n1")
        leader.elect("n2")
        leader.hear("n3", wire.RequestVote(9, 99, 9))
        assert (leader.consensus.role, leader.consensus.term) == (Role.LEADER, 1)

    def test_a_transfer_is_voted_for_although_a_leader_is_heard(self, stage: Stage) -> None:
        node = self.following(stage)
        node.hear("n3", wire.RequestVote(4, 9, 4, transfer=True))
        assert node.sent("n3") == [wire.Vote(4)]

    def test_who_is_asked_by_its_leader_stands_at_once_and_says_why(self, stage: Stage) -> None:
        node = self.following(stage)
        node.hear("n2", wire.TimeoutNow(3))
        assert node.sent("n3") == [wire.RequestVote(4, 2, 3, transfer=True)]
        stage.clock.advance(MAXIMUM_MS)
        node.tick()
        assert self.question(node, "n3").term == 4, "and the next time it asks first again"

    @pytest.mark.parametrize(("peer_id", "term"), [("n3", 3), ("n2", 2), ("n2", 4)])
    def test_nobody_but_the_leader_of_this_term_can_make_it_stand(self, stage: Stage, peer_id: str, term: int) -> None:
        node = self.following(stage)
        node.hear(peer_id, wire.TimeoutNow(term))
        node.tick()
        assert (node.consensus.role, node.consensus.term) == (Role.FOLLOWER, 3)

    def test_a_node_that_can_send_to_nobody_does_not_stand_then_nor_later(self, stage: Stage) -> None:
        """pysyncobj alone would remember it."""
        node = stage.node("n1", connected=False)
        node.consensus.stand()
        node.connect("n2")
        node.tick()
        assert (node.consensus.role, node.consensus.term) == (Role.FOLLOWER, 0)

    def test_a_leader_of_a_former_term_is_told_and_steps_down(self, stage: Stage) -> None:
        """Hazard 14."""
        node = self.following(stage)
        node.hear("n3", appending(2, 1, 0, [2]))
        assert node.sent("n3") == [wire.TermNotice(3)]
        leader = stage.node("n2")
        leader.elect("n3")
        leader.hear("n1", wire.TermNotice(3))
        assert (leader.consensus.role, leader.consensus.term) == (Role.FOLLOWER, 3)
        leader.hear("n1", wire.TermNotice(2))
        assert leader.consensus.term == 3

    def test_pysyncobj_alone_says_nothing_to_a_leader_of_a_former_term(self, stage: Stage) -> None:
        node = self.following(stage, guarded=False)
        node.hear("n3", appending(2, 1, 0, [2]))
        assert node.sent("n3") == []

    def test_i8_a_leader_without_a_majority_steps_down_within_an_election_timeout(self, stage: Stage) -> None:
        leader = stage.node("n1")
        leader.elect("n2")
        stage.clock.advance(SETTINGS.leader_fallback_ms + 1)
        leader.tick()
        assert leader.consensus.role is not Role.LEADER
        assert SETTINGS.leader_fallback_ms <= MAXIMUM_MS

    def test_one_peer_votes_once(self, stage: Stage) -> None:
        """pysyncobj counts votes, and does not look whose they are."""
        node = stage.node("n1")
        node.consensus.stand()
        node.hear("n2", wire.Vote(1), wire.Vote(1))
        assert node.refusals.counts["second vote"] == 1
