"""Hazard 4, through pysyncobj and the product's transport: nothing is said, and nothing committed, before it is durable.

The nodes' disks write when the test says so, and never by themselves. Beside each guard stands what happens without it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.durability import Durability
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.log import Role
from tests.unit.raft.stage import AlreadyDurable, Stage, StageNode, appending


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def itself(journal: Journal) -> Durability:
    return journal


def write(node: StageNode) -> None:
    """The disk does what waits."""
    while node.journal.writer.write_waiting():
        pass
    node.journal.advance()


def written(stage: Stage, *, guarded: bool = True) -> StageNode:
    node = stage.node("n1", durability=itself if guarded else AlreadyDurable)
    write(node)
    return node


def answers(node: StageNode, peer_id: str) -> list[int]:
    """How far each acknowledgement went that was sent to `peer_id`."""
    return [each.next_index - 1 for each in node.sent(peer_id) if isinstance(each, wire.NextIndex) and each.success]


def votes(node: StageNode, peer_id: str) -> list[wire.Message]:
    return [each for each in node.sent(peer_id) if isinstance(each, wire.Vote | wire.RequestVote)]


def leading(stage: Stage, *, guarded: bool = True) -> StageNode:
    """A leader of term 1, whose disk has come as far as the election."""
    node = written(stage, guarded=guarded)
    node.stand_for_election()
    write(node)
    node.hear("n2", wire.Vote(1))
    assert node.consensus.role is Role.LEADER
    write(node)
    node.tick()
    return node


class TestAFollower:
    def test_i2_acknowledges_what_is_durable_and_the_rest_when_it_is(self, stage: Stage) -> None:
        node = written(stage)
        node.hear("n2", appending(1, 1, 0, [1, 1]))
        assert answers(node, "n2") == []
        write(node)
        assert answers(node, "n2") == [3]

    def test_with_a_slow_disk_is_no_silent_one(self, stage: Stage) -> None:
        node = written(stage)
        node.hear("n2", appending(1, 1, 0))
        write(node)
        node.sent("n2")
        node.hear("n2", appending(1, 1, 0, [1, 1]), appending(1, 3, 1), appending(1, 3, 1))
        assert answers(node, "n2") == [1, 1]
        write(node)
        assert answers(node, "n2")[-1] == 3

    def test_would_acknowledge_at_once(self, stage: Stage) -> None:
        node = written(stage, guarded=False)
        node.hear("n2", appending(1, 1, 0, [1, 1]))
        assert answers(node, "n2") == [3]
        assert node.journal.durable_index == 1

    def test_i2_votes_when_its_vote_is_durable(self, stage: Stage) -> None:
        node = written(stage)
        node.hear("n2", wire.RequestVote(1, 1, 0, transfer=True))
        assert node.journal.getVotedForNodeId() == "n2"
        assert votes(node, "n2") == []
        write(node)
        assert votes(node, "n2") == [wire.Vote(1)]

    def test_would_vote_at_once(self, stage: Stage) -> None:
        node = written(stage, guarded=False)
        node.hear("n2", wire.RequestVote(1, 1, 0, transfer=True))
        assert votes(node, "n2") == [wire.Vote(1)]
        assert not node.journal.vows_durable

    def test_a_vote_that_a_later_term_overtook_is_not_sent(self, stage: Stage) -> None:
        node = written(stage)
        node.hear("n2", wire.RequestVote(1, 1, 0, transfer=True))
        node.hear("n3", wire.RequestVote(2, 1, 0, transfer=True))
        write(node)
        assert votes(node, "n2") == []
        assert votes(node, "n3") == [wire.Vote(2)]

    def test_what_was_cut_off_before_it_was_durable_is_not_acknowledged(self, stage: Stage) -> None:
        node = written(stage)
        node.hear("n2", appending(1, 1, 0, [1, 1, 1]))
        node.hear("n3", appending(2, 1, 0, [2]))
        write(node)
        assert 4 not in answers(node, "n2")
        assert answers(node, "n3")[-1] == 2

    def test_a_crash_forgets_nothing_that_was_said(self, stage: Stage) -> None:
        node = stage.node("n1", durability=itself, folder="one")
        write(node)
        node.hear("n2", wire.RequestVote(3, 1, 0, transfer=True))
        write(node)
        node.hear("n2", appending(3, 1, 0, [3, 3]))
        write(node)
        acknowledged = max(answers(node, "n2"))
        node.crash()
        again = stage.node("n1", durability=itself, folder="one")
        assert again.journal.last_index >= acknowledged == 3
        again.hear("n3", wire.RequestVote(3, 9, 3, transfer=True))
        write(again)
        assert votes(again, "n3") == []


class TestACandidate:
    def test_i2_asks_for_votes_when_its_own_is_durable(self, stage: Stage) -> None:
        node = written(stage)
        node.stand_for_election()
        assert votes(node, "n2") == votes(node, "n3") == []
        write(node)
        assert [type(each) for each in votes(node, "n2") + votes(node, "n3")] == [wire.RequestVote] * 2


class TestALeader:
    def test_i2_counts_itself_only_for_what_it_holds_durably(self, stage: Stage) -> None:
        node = leading(stage)
        node.propose(b"a", b"b")
        last = node.journal.last_index
        node.hear("n2", wire.NextIndex(1, last + 1, reset=False, success=True))
        node.tick()
        assert node.consensus.commit_index <= node.journal.durable_index < last
        write(node)
        node.tick()
        assert node.consensus.commit_index == last

    def test_would_count_itself_at_once(self, stage: Stage) -> None:
        node = leading(stage, guarded=False)
        node.propose(b"a", b"b")
        last = node.journal.last_index
        node.hear("n2", wire.NextIndex(1, last + 1, reset=False, success=True))
        node.tick()
        assert node.consensus.commit_index == last > node.journal.durable_index

    def test_sends_entries_before_they_are_durable(self, stage: Stage) -> None:
        """Both write at the same time."""
        node = leading(stage)
        node.sent("n2")
        node.propose(b"a")
        sent = [each for each in node.sent("n2") if isinstance(each, wire.AppendEntries)]
        assert any(each.entries for each in sent)
        assert node.journal.durable_index < node.journal.last_index
