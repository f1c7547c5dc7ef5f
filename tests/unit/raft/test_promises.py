"""Hazards 4 and 5, the transport's part: nothing is said that this node could still forget, nor counted."""

from collections.abc import Callable

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.voter_change import VoterChange
from tests.unit.raft.stage import SETTINGS, Stage, StageNode, appending


class SlowDisk:
    """A `Durability` that comes as far as a test says."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.durable_index = 1
        self.vows_durable = self.metadata_durable = True
        self._waiting: list[Callable[[], None]] = []

    def when_durable(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def come_to(self, index: int) -> None:
        """Entries up to `index`, and the term and the vote, are durable."""
        self.durable_index = index
        self.vows_durable = self.metadata_durable = True
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


@pytest.fixture
def node(stage: Stage) -> StageNode:
    return stage.node("n1", durability=SlowDisk)


def disk(node: StageNode) -> SlowDisk:
    assert isinstance(node.durability, SlowDisk)
    return node.durability


def told(node: StageNode, peer_id: str) -> list[wire.AppendEntries]:
    return [message for message in node.sent(peer_id) if isinstance(message, wire.AppendEntries)]


def acknowledged(node: StageNode, peer_id: str) -> list[int]:
    return [message.next_index - 1 for message in node.sent(peer_id) if isinstance(message, wire.NextIndex)]


class TestAChangeOfTheVoters:
    def test_nobody_hears_that_it_is_committed_before_the_leader_has_stored_that(
        self, stage: Stage, node: StageNode
    ) -> None:
        """A removed node that hears of it ends for good. The leader, started again without knowing, would wait for its vote."""
        node.elect("n2")
        disk(node).come_to(node.journal.last_index)
        change = VoterChange("remove", "n3", "disk-n3", {"n1": "", "n2": ""})
        node.between = lambda: node.consensus.propose_change(change)
        node.tick()
        node.between = lambda: None
        index = node.journal.last_index
        disk(node).come_to(index)
        disk(node).metadata_durable = False
        node.sent("n3")
        node.hear("n2", wire.NextIndex(1, index + 1, False, True))
        node.tick()
        assert node.voters.ids == {"n1", "n2"}
        assert [each.commit_index for each in told(node, "n3")] == [index - 1]
        disk(node).come_to(index)
        stage.clock.advance(SETTINGS.heartbeat_ms + 1)
        node.tick()
        assert told(node, "n3")[-1].commit_index == index


class TestAFollower:
    def test_i2_acknowledges_as_far_as_its_disk_has_come_and_the_rest_when_it_has(self, node: StageNode) -> None:
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        assert acknowledged(node, "n2") == []
        disk(node).come_to(3)
        assert acknowledged(node, "n2") == [3]

    def test_answers_a_heartbeat_although_its_disk_stalls(self, node: StageNode) -> None:
        """Else the leader would take it for dead, and step down."""
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]), appending(1, 4, 1))
        assert acknowledged(node, "n2") == [1]
        disk(node).come_to(4)
        assert acknowledged(node, "n2") == [4, 4]

    def test_answers_although_its_disk_has_not_the_commit_index_that_it_stores_every_second(
        self, node: StageNode
    ) -> None:
        disk(node).metadata_durable = False
        node.hear("n2", appending(1, 1, 0))
        assert acknowledged(node, "n2") == [1]

    def test_what_waited_is_not_said_to_another_leader(self, node: StageNode) -> None:
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        node.hear("n3", appending(2, 1, 0, [2]))
        node.sent("n2")
        disk(node).come_to(2)
        assert acknowledged(node, "n2") == []
        assert acknowledged(node, "n3")[-1] == 2

    def test_acknowledges_nothing_at_all_under_a_term_that_it_could_forget(self, node: StageNode) -> None:
        disk(node).vows_durable = False
        node.hear("n2", appending(1, 1, 0))
        assert node.sent("n2") == []
        disk(node).come_to(1)
        assert acknowledged(node, "n2") == [1]

    def test_a_refusal_waits_for_the_term_too(self, node: StageNode) -> None:
        disk(node).vows_durable = False
        node.hear("n2", appending(1, 9, 1))
        assert node.sent("n2") == []
        disk(node).come_to(1)
        assert node.sent("n2") == [wire.NextIndex(1, 2, reset=True, success=False)]


class TestAVoter:
    def test_i2_its_vote_leaves_when_it_cannot_be_forgotten(self, stage: Stage, node: StageNode) -> None:
        stage.clock.advance(SETTINGS.election_timeout_ms_min)
        disk(node).vows_durable = False
        node.hear("n2", wire.RequestVote(1, 9, 1))
        assert node.sent("n2") == []
        disk(node).come_to(1)
        assert node.sent("n2") == [wire.Vote(1)]

    def test_a_vote_of_a_term_that_is_over_is_not_given(self, stage: Stage, node: StageNode) -> None:
        stage.clock.advance(SETTINGS.election_timeout_ms_min)
        disk(node).vows_durable = False
        node.hear("n2", wire.RequestVote(1, 9, 1))
        node.hear("n3", appending(2, 1, 0))
        disk(node).come_to(1)
        assert node.sent("n2") == []


class TestACandidate:
    def test_i2_it_asks_for_votes_when_its_own_cannot_be_forgotten(self, node: StageNode) -> None:
        disk(node).vows_durable = False
        node.consensus.stand()
        assert node.sent("n2") == []
        disk(node).come_to(1)
        assert node.sent("n2") == [wire.RequestVote(1, 1, 0)]


class TestALeader:
    def test_i2_hazard_5_it_commits_nothing_that_it_could_lose_itself(self, node: StageNode) -> None:
        node.elect("n2")
        node.propose(b"a")
        node.hear("n2", wire.NextIndex(1, 4, reset=False, success=True))
        node.tick()
        assert node.consensus.role is Role.LEADER
        assert node.consensus.commit_index == 1
        disk(node).come_to(3)
        node.tick()
        assert node.consensus.commit_index == 3

    def test_what_waited_for_its_disk_does_not_count_in_a_later_term(self, node: StageNode) -> None:
        node.elect("n2")
        node.propose(b"a")
        node.hear("n2", wire.NextIndex(1, 4, reset=False, success=True))
        node.hear("n3", appending(2, 1, 0, [2, 2]))
        node.elect("n3")
        disk(node).come_to(3)
        node.tick()
        assert node.consensus.commit_index == 1
