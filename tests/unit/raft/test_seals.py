"""Hazard 17: behind a seal nobody counts votes by what was so before, as one that restarts might for ever."""

from pathlib import Path
from typing import Any

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.changing import Changed, Changing
from garbagetruck.cluster.raft.log import Role, SealVoters
from garbagetruck.cluster.raft.voter_change import VoterChange
from tests.unit.raft.stage import Stage
from tests.unit.raft.test_changes import ADD_4, FOUNDERS, Unmet, acknowledge, ask, command, leader, write

REMOVE_4, SEAL = VoterChange("remove", "n4", "disk-n4", FOUNDERS), VoterChange("add", "n1", "disk-n1", FOUNDERS)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def test_a_seal_says_once_more_who_votes_and_changes_nothing(stage: Stage) -> None:
    node, changing = leader(stage), Changing("n1", Unmet())
    others, voters, last_index = {*node.consensus.otherNodes}, node.voters.ids, node.journal.last_index
    assert ask(node, SealVoters(), changing) is None
    assert node.journal.changes_after(last_index), "it is an entry like every change"
    acknowledge(node, "n2")
    write(node)
    assert changing.advance(node.consensus) == Changed(1)
    assert (node.consensus.otherNodes, node.voters.ids, node.voters.votes) == (others, voters, True)
    node.propose(b"x")
    acknowledge(node, "n3")
    assert node.payloads == [b"x"]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_i4_behind_a_seal_nobody_needs_the_vote_of_who_was_removed(stage: Stage, *, is_sealed: bool) -> None:
    """n4 was removed and ended, n1 is gone for good. That the removal is committed, neither n2 nor n3 has stored: by what
    came before it, two of four are no majority, and would never be one again.
    """
    node = stage.node("n2", folder="n2")
    changes = [ADD_4, REMOVE_4, *([SEAL] if is_sealed else [])]
    entries = [(b"\1", 2, 1), *((command(each), index, 1) for index, each in enumerate(changes, 3))]
    node.hear("n1", wire.AppendEntries(1, 3, 1, 0, entries))
    write(node)
    node.crash()
    again = stage.node("n2", folder="n2")
    again.stand_for_election()
    again.hear("n3", wire.Vote(again.consensus.term))
    assert again.consensus.role is (Role.LEADER if is_sealed else Role.CANDIDATE)


@pytest.mark.parametrize("is_sealed", [True, False])
def test_i4_behind_a_seal_the_leader_that_let_a_node_in_may_be_lost(stage: Stage, *, is_sealed: bool) -> None:
    """Found by the simulator: cluster world, corrupt, seed 8. n2 was alone with n1, which let n3 in, was told that it votes, and is
    gone for good with its disk. n2 has that in its log; n3, that has its folder, would vote for it.
    """
    node = stage.node("n2", folder="n2")
    two = {"n1": "disk-n1", "n2": "disk-n2"}
    three = {**two, "n3": "disk-n3"}
    changes = [VoterChange("remove", "n3", "", two), VoterChange("add", "n3", "disk-n3", three)]
    if is_sealed:
        changes.append(VoterChange("add", "n1", "disk-n1", three))
    entries = [(b"\1", 2, 1), *((command(each), index, 1) for index, each in enumerate(changes, 3))]
    node.hear("n1", wire.AppendEntries(1, 3, 1, 0, entries))
    write(node)
    node.crash()
    again = stage.node("n2", folder="n2")
    again.stand_for_election()
    again.hear("n3", wire.Vote(again.consensus.term))
    assert again.consensus.role is (Role.LEADER if is_sealed else Role.CANDIDATE)
