"""Hazard 17: the voters change one at a time, when the entry is applied, and no restart goes back behind that."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.raft import voter_change, wire
from garbagetruck.cluster.raft.changing import Changed, ChangeVoters, Changing
from garbagetruck.cluster.raft.errors import ChangeRefused, ChangeUnknown, NotLeader
from garbagetruck.cluster.raft.journal.format import Metadata
from garbagetruck.cluster.raft.log import AddVoter, Change, RemoveVoter, Role
from garbagetruck.cluster.raft.voter_change import LEARNER_LAG_ENTRIES_MAX, VoterChange
from tests.unit.raft.stage import SETTINGS, Stage, StageNode

FOUNDERS = {"n1": "", "n2": "", "n3": ""}
FOUR = {**FOUNDERS, "n4": "disk-n4"}
FIVE = {**FOUR, "n5": "disk-n5"}
ADD_4, ADD_5 = VoterChange("add", "n4", "disk-n4", FOUR), VoterChange("add", "n5", "disk-n5", FIVE)
REMOVE_1 = VoterChange("remove", "n1", "disk-n1", {"n2": "", "n3": ""})


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


class Unmet:
    """Nobody's disk is known, and only n9's was removed."""

    def disk_of(self, node_id: str) -> str:
        return f"disk-{node_id}"

    def was_removed(self, node_id: str, _disk_id: str) -> bool:
        return node_id == "n9"


def command(change: VoterChange) -> bytes:
    return bytes([wire.MEMBERSHIP]) + voter_change.encode(change)


def meet(node: StageNode, node_id: str) -> None:
    """Somebody connects who does not vote."""
    node.sessions.set_peers(node.sessions._door.peer_ids | {node_id})
    node.connect(node_id)


def acknowledge(node: StageNode, *peer_ids: str) -> None:
    """These have the whole log."""
    for peer_id in peer_ids:
        node.hear(peer_id, wire.NextIndex(node.consensus.term, node.journal.last_index + 1, False, True))
    node.tick()


def write(node: StageNode) -> None:
    """The disk comes as far as it can."""
    while node.journal.writer.write_waiting():
        pass
    node.journal.advance()


def leader(stage: Stage) -> StageNode:
    node = stage.node("n1")
    node.elect("n2")
    acknowledge(node, "n2", "n3")
    return node


def ask(node: StageNode, change: Change, changing: Changing | None = None, *, term: int = 1) -> Any:
    """As the exchange does it, in the middle of a tick."""
    answers: list[Changed | None] = []
    changing = changing or Changing("n1", Unmet())

    def between() -> None:
        request = ChangeVoters(1, change, term)
        answers.append(changing.take(request, node.consensus, node.guard, hands_over=False))

    node.between = between
    node.tick()
    node.between = lambda: None
    return answers[0]


def reason(answer: Changed) -> str:
    assert isinstance(answer.failure, ChangeRefused)
    return answer.failure.reason


class TestALeader:
    def test_a_learner_that_has_the_log_becomes_a_voter_when_the_entry_is_applied(self, stage: Stage) -> None:
        node = leader(stage)
        meet(node, "n4")
        acknowledge(node, "n4")
        assert ask(node, AddVoter("n4", "disk-n4")) is None
        assert "n4" not in node.voters.ids, "it is not committed yet"
        acknowledge(node, "n4")
        assert "n4" not in node.voters.ids, "a learner's acknowledgement counts for nothing"
        acknowledge(node, "n2")
        assert node.voters.disks == {f"n{i}": f"disk-n{i}" for i in (1, 2, 3, 4)}, "and the disks are known from now on"
        assert {each.id for each in node.consensus.otherNodes} == {"n2", "n3", "n4"}
        node.propose(b"x")
        acknowledge(node, "n2")
        assert node.payloads == [], "two of four are no majority"
        acknowledge(node, "n4")
        assert node.payloads == [b"x"]

    def test_a_second_change_is_refused_while_one_is_not_applied(self, stage: Stage) -> None:
        """The rule that keeps any two majorities in touch; pysyncobj does not keep it (1361)."""
        node = leader(stage)
        for learner in ("n4", "n5"):
            meet(node, learner)
            acknowledge(node, learner)
        assert ask(node, AddVoter("n4", "disk-n4")) is None
        assert reason(ask(node, AddVoter("n5", "disk-n5"))) == "another change is under way"
        assert reason(ask(node, RemoveVoter("n3"))) == "another change is under way"
        acknowledge(node, "n2", "n4")
        assert ask(node, AddVoter("n5", "disk-n5")) is None

    def test_a_change_waits_for_an_entry_of_the_leaders_own_term(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        assert reason(ask(node, RemoveVoter("n3"))) == "this leader has not applied an entry of its own term yet"

    def test_a_learner_that_is_far_behind_is_not_made_a_voter(self, stage: Stage) -> None:
        node = leader(stage)
        meet(node, "n4")
        acknowledge(node, "n4")
        node.propose(*(b"%d" % number for number in range(LEARNER_LAG_ENTRIES_MAX + 1)))
        acknowledge(node, "n2", "n3")
        refused = reason(ask(node, AddVoter("n4", "disk-n4")))
        assert (
            refused == f"n4 is {LEARNER_LAG_ENTRIES_MAX + 1} entries behind, and {LEARNER_LAG_ENTRIES_MAX} are the most"
        )

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (AddVoter("n3", "disk-n3"), "n3 votes already"),
            (AddVoter("n4", ""), "it is not known which disk n4 has"),
            (AddVoter("n4", "other"), "n4 is connected with the disk disk-n4, and not with other"),
            (AddVoter("n5", "disk-n5"), "n5 is not connected"),
            (AddVoter("n9", "disk-n9"), "the disk disk-n9 was removed; n9 needs an empty folder"),
            (RemoveVoter("n4"), "n4 does not vote"),
            (RemoveVoter("n1"), "n1 leads; another must lead before it can be removed"),
        ],
    )
    def test_i11_what_cannot_be_is_refused_and_changes_nothing(
        self, stage: Stage, change: AddVoter | RemoveVoter, why: str
    ) -> None:
        node = leader(stage)
        meet(node, "n4")
        acknowledge(node, "n4")
        before = node.log
        assert reason(ask(node, change)) == why
        assert node.log == before

    def test_a_change_that_leaves_too_few_connected_voters_is_refused(self, stage: Stage) -> None:
        node = leader(stage)
        node.disconnect("n3")
        assert reason(ask(node, RemoveVoter("n2"))) == "of the 2 voters that there would be, only 1 are connected"
        assert ask(node, RemoveVoter("n3")) is None

    def test_a_change_is_refused_while_a_node_is_connected_that_could_not_read_it(self, stage: Stage) -> None:
        node = leader(stage)
        session = node.sessions.get("n3")
        assert session is not None
        assert session.hello is not None
        session.hello = replace(session.hello, format=1)
        assert "does not know changes" in reason(ask(node, RemoveVoter("n3")))

    def test_a_change_is_for_the_term_that_was_meant_and_never_during_a_transfer(self, stage: Stage) -> None:
        node = leader(stage)
        stale = ask(node, RemoveVoter("n3"), term=0)
        assert isinstance(stale.failure, NotLeader)
        request = ChangeVoters(1, RemoveVoter("n3"), 1)
        refused = Changing("n1", Unmet()).take(request, node.consensus, node.guard, hands_over=True)
        assert refused is not None
        assert reason(refused) == "leadership is being handed over"

    def test_what_became_of_it_is_told_when_it_is_applied_or_called_unknown(self, stage: Stage) -> None:
        node, changing = leader(stage), Changing("n1", Unmet())
        assert ask(node, RemoveVoter("n3"), changing) is None
        assert changing.advance(node.consensus) is None
        acknowledge(node, "n2")
        assert changing.advance(node.consensus) is None, "this node could still forget it"
        write(node)
        assert changing.advance(node.consensus) == Changed(1)
        assert changing.advance(node.consensus) is None
        meet(node, "n4")
        acknowledge(node, "n4", "n2")
        assert ask(node, AddVoter("n4", "disk-n4"), changing) is None
        node.consensus.learn_term(7)
        answer = changing.advance(node.consensus)
        assert answer is not None
        assert isinstance(answer.failure, ChangeUnknown)

    def test_a_leader_that_applies_its_own_removal_leads_no_longer(self, stage: Stage) -> None:
        node = leader(stage)
        node.between = lambda: node.consensus.propose_change(REMOVE_1)
        node.tick()
        node.between = lambda: None
        acknowledge(node, "n2")
        assert node.consensus.role is Role.FOLLOWER
        assert node.voters.removed
        node.stand_for_election()
        assert node.consensus.role is Role.FOLLOWER

    def test_a_removed_follower_still_hears_and_its_late_answers_hurt_nobody(self, stage: Stage) -> None:
        """`raftMatchIndex` has no entry for a node that pysyncobj does not know (1101)."""
        node = leader(stage)
        assert ask(node, RemoveVoter("n3")) is None
        node.sent("n3")
        acknowledge(node, "n2")
        stage.clock.advance(SETTINGS.heartbeat_ms + 1)
        node.tick()
        heard = [each for each in node.sent("n3") if isinstance(each, wire.AppendEntries)]
        assert heard[-1].commit_index == node.journal.last_index
        node.disconnect("n3")
        node.guard.deliver("n3", wire.NextIndex(1, 3, False, True))
        assert "n3" not in {each.id for each in node.consensus.readonlyNodes}


class TestAFollower:
    def test_a_change_counts_when_it_is_applied_and_not_when_it_is_appended(self, stage: Stage) -> None:
        node = stage.node("n2")
        node.hear("n1", wire.AppendEntries(1, 1, 1, 0, [(b"\1", 2, 1), (command(ADD_4), 3, 1)]))
        node.tick()
        assert "n4" not in node.voters.ids
        node.hear("n1", wire.AppendEntries(1, 3, 3, 1, []))
        node.tick()
        assert node.voters.ids == {"n1", "n2", "n3", "n4"}

    def test_nobody_stands_under_a_configuration_that_is_known_to_be_over(self, stage: Stage) -> None:
        """pysyncobj's own election comes before applying in a tick (635)."""
        node = stage.node("n2")
        node.hear("n1", wire.AppendEntries(1, 3, 1, 0, [(b"\1", 2, 1), (command(ADD_4), 3, 1)]))
        node.stand_for_election()
        node.hear("n3", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.CANDIDATE, "two of four are no majority"

    def test_who_does_not_vote_never_stands_and_its_vote_is_not_counted(self, stage: Stage) -> None:
        node = stage.node("n2")
        meet(node, "n4")
        removal = VoterChange("remove", "n3", "", {"n1": "", "n2": ""})
        node.hear("n1", wire.AppendEntries(1, 3, 1, 0, [(b"\1", 2, 1), (command(removal), 3, 1)]))
        node.tick()
        node.stand_for_election()
        for stranger in ("n3", "n4"):
            node.hear(stranger, wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.CANDIDATE
        assert node.refusals.counts["vote of a node that does not vote"] == 2
        node.hear("n1", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.LEADER  # type: ignore[comparison-overlap]

    def test_who_does_not_vote_gives_its_vote_when_it_is_asked(self, stage: Stage) -> None:
        """It may be a voter and not have heard of it; then the others may need it."""
        node = stage.node("n2")
        node.voters.begin({"n1": "", "n3": ""}, is_founder=False)
        stage.clock.advance(10_000)
        node.hear("n3", wire.RequestVote(5, 1, 0))
        assert wire.Vote(5) in node.sent("n3")
        node.stand_for_election()
        assert node.consensus.role is Role.FOLLOWER

    def test_a_node_that_was_told_wrong_counts_right_before_it_stands(self, stage: Stage) -> None:
        """pysyncobj applies changes to what it began with; an entry says what there is."""
        node = stage.node("n2")
        learnt = VoterChange("add", "n2", "disk-n2", {"n1": "", "n2": "disk-n2", "n4": "", "n5": ""})
        node.hear("n1", wire.AppendEntries(1, 3, 1, 0, [(b"\1", 2, 1), (command(learnt), 3, 1)]))
        node.tick()
        assert {each.id for each in node.consensus.otherNodes} == {"n1", "n3"}
        node.stand_for_election()
        assert node.consensus.role is Role.FOLLOWER
        node.sent("n1")
        node.tick()
        assert {each.id for each in node.consensus.otherNodes} == {"n1", "n4", "n5"}
        answers = [each for each in node.sent("n1") if isinstance(each, wire.NextIndex)]
        assert [each.next_index for each in answers] == [4]
        assert node.consensus.applied_index == 3
        assert len(node.journal) == 3
        node.stand_for_election()
        assert node.consensus.role is Role.CANDIDATE  # type: ignore[comparison-overlap]


class TestARestart:
    """{n1, n2, n3} became {n1, n2, n3, n4} and then {…, n5}: n2 and n3 are no majority any more, n1, n4 and n5 are one."""

    def crashed(self, stage: Stage) -> StageNode:
        node = stage.node("n2", folder="n2")
        node.hear("n1", wire.AppendEntries(1, 3, 1, 0, [(b"\1", 2, 1), (command(ADD_4), 3, 1), (command(ADD_5), 4, 1)]))
        write(node)
        node.crash()
        return stage.node("n2", folder="n2")

    def test_the_last_change_but_one_is_known_to_be_committed(self, stage: Stage) -> None:
        node = self.crashed(stage)
        assert node.journal.getRaftCommitIndex() == 3
        node.stand_for_election()
        node.hear("n3", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.CANDIDATE
        assert node.voters.ids == {"n1", "n2", "n3", "n4"}

    def test_without_that_two_majorities_have_nobody_in_common(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Metadata, "knowing_of", lambda found, _changes: found)
        node = self.crashed(stage)
        node.stand_for_election()
        node.hear("n3", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.LEADER, "by two of the five"

    def test_what_was_applied_is_remembered_at_once(self, stage: Stage) -> None:
        """So that a node that was removed may be turned off, and the others do not wait for it after a restart."""
        node = stage.node("n2", folder="n2")
        node.hear("n1", wire.AppendEntries(1, 3, 1, 0, [(b"\1", 2, 1), (command(REMOVE_1), 3, 1)]))
        node.tick()
        write(node)
        node.crash()
        again = stage.node("n2", folder="n2")
        again.tick()
        assert again.voters.ids == {"n2", "n3"}
