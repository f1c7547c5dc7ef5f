"""Hazard 17: whose votes count, by the configuration that was applied."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from garbagetruck.cluster.raft import voter_change, wire
from garbagetruck.cluster.raft.disk import REAL_DISK
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.founding import Founding, found
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.peers import PeerDisks, VoterDisks
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader, decode_header, encode_header
from garbagetruck.cluster.raft.voter_change import NAME_CHARS_MAX, VOTERS_MAX, VoterChange
from garbagetruck.cluster.raft.voters import Voters, founders_of
from tests.unit.raft.links import voting
from tests.unit.raft.stage import Stage, appending

TRIO = founders_of(("n1", "n2", "n3"))
KNOWN = {"n1": "disk-n1", "n2": "disk-n2", "n3": "disk-n3"}
NO_RECORD = dict.fromkeys(KNOWN, "")
FOUR = {**KNOWN, "n4": "disk-n4"}


def adding(node_id: str, voters: dict[str, str]) -> VoterChange:
    return VoterChange("add", node_id, voters[node_id], voters)


def removing(node_id: str, voters: dict[str, str], disk_id: str = "") -> VoterChange:
    return VoterChange("remove", node_id, disk_id, {each: disk for each, disk in voters.items() if each != node_id})


class TestVoters:
    def test_a_majority_is_of_those_who_vote_now(self) -> None:
        voters = voting("n1", "n2", "n3")
        assert voters.is_majority({"n2"})
        voters.apply(5, adding("n4", FOUR))
        assert not voters.is_majority({"n2"})
        assert not voters.is_majority({"n2", "n9"}), "who does not vote does not count"
        assert voters.is_majority({"n2", "n4"})

    def test_a_learner_is_no_majority_with_anybody(self) -> None:
        learner = Voters("n4", "disk-n4")
        learner.begin(TRIO, is_founder=False)
        assert (learner.votes, learner.is_certain) == (False, False)
        assert not learner.is_majority({"n1", "n2", "n3"})
        learner.apply(5, adding("n4", FOUR))
        assert (learner.votes, learner.is_certain, learner.voting_since) == (True, True, 5)

    def test_a_node_alone_is_a_majority(self) -> None:
        voters = voting("n1", "n2")
        assert (voters.is_alone, voters.is_majority(set())) == (False, False)
        voters.apply(5, removing("n2", {"n1": "disk-n1", "n2": "disk-n2"}))
        assert voters.is_alone
        assert voters.is_majority(set())

    def test_who_applied_its_own_removal_is_removed_and_stays_so(self) -> None:
        voters = voting("n1", "n2", "n3")
        voters.apply(5, removing("n1", KNOWN))
        assert voters.removed
        assert not voters.votes
        voters.apply(9, adding("n1", KNOWN))
        assert voters.removed

    def test_a_name_on_another_disk_is_another_node(self) -> None:
        """It applies what was so before its time: that a node of its name voted, and was removed."""
        successor = Voters("n3", "second")
        successor.begin(founders_of(("n1", "n2")), is_founder=False)
        successor.apply(5, adding("n4", FOUR))
        assert not successor.votes
        successor.apply(7, removing("n3", FOUR, "disk-n3"))
        assert not successor.removed
        successor.apply(9, adding("n3", {"n1": "", "n3": "second"}))
        assert successor.votes

    def test_a_founder_that_a_snapshot_does_not_name_was_removed(self) -> None:
        voters = voting("n3", "n1", "n2")
        voters.go_on(20, {"n1": "disk-n1", "n2": "disk-n2"})
        assert voters.removed

    def test_a_learner_that_a_snapshot_does_not_name_was_not(self) -> None:
        learner = Voters("n4", "disk-n4")
        learner.begin(TRIO, is_founder=False)
        learner.go_on(20, KNOWN)
        assert not learner.removed
        assert learner.is_certain

    def test_a_snapshot_from_before_the_first_change_names_the_founders(self) -> None:
        voters = voting("n1", "n2", "n3")
        voters.go_on(20, None)
        assert voters.disks == TRIO
        assert voters.votes

    def test_what_was_so_at_an_index_is_remembered_as_long_as_a_snapshot_may_ask(self) -> None:
        voters = voting("n1", "n2", "n3")
        voters.apply(5, adding("n4", FOUR))
        voters.apply(9, removing("n2", FOUR))
        assert [sorted(voters.at(index)) for index in (4, 5, 8, 9)] == [
            ["n1", "n2", "n3"],
            ["n1", "n2", "n3", "n4"],
            ["n1", "n2", "n3", "n4"],
            ["n1", "n3", "n4"],
        ]
        voters.forget_before(7)
        assert voters.at(7) == FOUR
        with pytest.raises(StopIteration):
            voters.at(4)


class TestSnapshots:
    def test_one_of_a_cluster_that_never_changed_names_no_voters(self) -> None:
        """So versions that know no changes read it."""
        voters = voting("n1", "n2", "n3")
        assert voters.to_store(9) is None
        voters.go_on(20, None)
        assert voters.to_store(30) is None
        voters.apply(31, adding("n4", FOUR))
        assert voters.to_store(31) == FOUR
        assert voters.to_store(30) is None
        voters.apply(33, removing("n4", {**TRIO, "n4": ""}))
        assert voters.to_store(33) == TRIO, "a node that joined does not know the founders"

    def test_its_header_holds_the_longest_names_of_the_most_voters(self) -> None:
        disks = {f"{i:02}".ljust(NAME_CHARS_MAX, "x"): "d" * NAME_CHARS_MAX for i in range(VOTERS_MAX)}
        header = SnapshotHeader("c" * 200, 1, "0" * 32, 2**62, 2**62, 2**62, disks)
        page, _ = encode_header(header)
        assert decode_header(Path("a"), page)[0] == header

    def test_a_header_of_the_former_format_is_read(self) -> None:
        header = SnapshotHeader("c", 1, "id", 9, 3, 2)
        page, _ = encode_header(header)
        assert page[8:12] == (1).to_bytes(4, "little")
        assert decode_header(Path("a"), page)[0].voters is None


class TestTheEntry:
    def test_a_change_comes_back_as_it_was(self) -> None:
        change = adding("n4", FOUR)
        assert voter_change.decode(voter_change.encode(change)) == change

    def test_no_other_payload_begins_like_one(self) -> None:
        with pytest.raises(msgspec.MsgspecError):
            msgspec.msgpack.decode(voter_change.MARK)

    @pytest.mark.parametrize(
        "content",
        [
            ["add", "n4", "d", {"n1": ""}],
            ["remove", "n1", "d", {"n1": ""}],
            ["remove", "n1", "d", {}],
            ["swap", "n1", "d", {"n1": ""}],
            ["add", "", "d", {"": ""}],
            ["add", "n1", "d", {"n1": 1}],
            ["add", "n1", "d", {"n1": "", **{f"m{i}": "" for i in range(16)}}],
            ["add", "n1"],
        ],
        ids=range(8),
    )
    def test_what_is_no_change_is_refused(self, content: object) -> None:
        with pytest.raises(msgspec.MsgspecError):
            voter_change.decode(voter_change.MARK + msgspec.msgpack.encode(content))
        with pytest.raises(msgspec.MsgspecError):
            voter_change.decode(msgspec.msgpack.encode(content))


class TestTheFounding:
    def test_founders_of_one_log_have_a_mark_in_common_and_who_joins_has_none(self) -> None:
        mark = Founding(["n1", "n2"], is_founder=True).mark
        assert mark == Founding(["n2", "n1"], is_founder=True).mark
        assert mark != Founding(["n1", "n2", "n3"], is_founder=True).mark
        assert mark != Founding(["n1,n2"], is_founder=True).mark
        assert Founding(["n1", "n2"], is_founder=False).mark == ""

    def test_it_is_stored_once_and_nothing_said_later_changes_it(self, tmp_path: Path) -> None:
        first = found(REAL_DISK, tmp_path, node_id="n1", told=("n1", "n2"), founders=("n1", "n2"), has_log=False)
        assert first == Founding(["n1", "n2"], is_founder=True)
        for founders in (None, ("n1", "n9")):
            again = found(REAL_DISK, tmp_path, node_id="n1", told=("n1", "n9"), founders=founders, has_log=True)
            assert again == first

    def test_who_joins_is_no_founder_and_begins_with_what_it_was_told(self, tmp_path: Path) -> None:
        founding = found(REAL_DISK, tmp_path, node_id="n4", told=("n1", "n4"), founders=None, has_log=False)
        assert founding == Founding(["n1"], is_founder=False)

    def test_a_log_from_before_members_could_change_was_founded_by_all_of_them(self, tmp_path: Path) -> None:
        founding = found(REAL_DISK, tmp_path, node_id="n2", told=("n1", "n2", "n3"), founders=None, has_log=True)
        assert founding == Founding(["n1", "n2", "n3"], is_founder=True)

    def test_a_founding_without_this_node_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="do not include the node that begins it, n1"):
            found(REAL_DISK, tmp_path, node_id="n1", told=("n1", "n2"), founders=("n2",), has_log=False)
        assert not [*tmp_path.iterdir()]

    def test_a_damaged_file_is_refused_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "founding.json").write_text('{"voters": 3}')
        with pytest.raises(JournalDamaged, match=r"founding\.json is damaged"):
            found(REAL_DISK, tmp_path, node_id="n1", told=("n1",), founders=("n1",), has_log=True)


class TestDisks:
    def test_the_disk_that_the_configuration_names_is_the_only_one(self, tmp_path: Path) -> None:
        voters, met = voting("n1", "n2", "n3"), PeerDisks(tmp_path / "peers.json")
        disks = VoterDisks(voters, met, NO_RECORD.__getitem__)
        assert disks.is_known_or_new("n2", "met first")
        voters.apply(5, adding("n4", FOUR))
        assert not disks.is_known_or_new("n2", "met first")
        assert disks.is_known_or_new("n2", "disk-n2")

    def test_a_disk_is_held_against_a_learner_only_if_its_record_tells_another(self, tmp_path: Path) -> None:
        """A folder that connects and is never registered would keep the name from the one that is."""
        met, records = PeerDisks(tmp_path / "peers.json"), {"n5": ""}
        disks = VoterDisks(voting("n1", "n2", "n3"), met, records.__getitem__)
        assert disks.is_known_or_new("n5", "never registered")
        assert disks.is_known_or_new("n5", "registered")
        assert met.load() == {}
        records["n5"] = "registered"
        assert not disks.is_known_or_new("n5", "never registered")
        assert disks.is_known_or_new("n5", "registered")

    def test_i2_a_founder_that_was_never_met_is_nobody_who_joined(self, tmp_path: Path) -> None:
        """It may be that founder after its disk was lost: it forgot what it acknowledged, and whom it voted for."""
        met = PeerDisks(tmp_path / "peers.json")
        disks = VoterDisks(voting("n1", "n2", "n3"), met, NO_RECORD.__getitem__)
        assert not disks.is_known_or_new("n3", "second", is_founder=False)
        assert met.load() == {}, "nor is it noted as who it says it is"
        assert disks.is_known_or_new("n3", "first")
        assert not disks.is_known_or_new("n3", "first", is_founder=False)

    def test_a_learner_that_was_only_told_who_votes_notes_nobody_under_their_names(self, tmp_path: Path) -> None:
        """Whom it was told of may have joined as well; when the log says who founded it, they count no more."""
        met, learner = PeerDisks(tmp_path / "peers.json"), Voters("n5", "disk-n5")
        learner.begin(TRIO, is_founder=False)
        disks = VoterDisks(learner, met, NO_RECORD.__getitem__)
        assert disks.is_known_or_new("n3", "second", is_founder=False)
        assert met.load() == {}
        learner.apply(5, adding("n5", {**TRIO, "n5": "disk-n5"}))
        assert not disks.is_known_or_new("n3", "second", is_founder=False)

    def test_a_name_is_free_for_another_disk_when_its_voter_was_removed(self, tmp_path: Path) -> None:
        met = PeerDisks(tmp_path / "peers.json")
        assert met.is_known_or_new("n2", "first")
        met.dismiss("n2", "first")
        assert met.is_known_or_new("n2", "first"), "it is to hear that it was removed"
        assert met.is_known_or_new("n2", "second"), "it is not taken for the name's disk by that"
        assert not met.is_known_or_new("n2", "first"), "somebody else bears the name now"

    def test_a_removal_of_nobody_knows_which_disk_is_held_against_none(self, tmp_path: Path) -> None:
        """Found by the simulator: who joins applies a removal from before its time, and has met the successor already."""
        met = PeerDisks(tmp_path / "peers.json")
        met.is_known_or_new("n2", "second")
        met.dismiss("n2", "")
        assert not met.was_removed("n2", "second")

    def test_a_removal_that_is_applied_again_does_not_free_the_name_again(self, tmp_path: Path) -> None:
        met = PeerDisks(tmp_path / "peers.json")
        met.is_known_or_new("n2", "first")
        met.dismiss("n2", "first")
        met.is_known_or_new("n2", "second")
        again = PeerDisks(tmp_path / "peers.json")
        again.dismiss("n2", "first")
        assert again.was_removed("n2", "first")
        assert not again.is_known_or_new("n2", "third")
        assert again.is_known_or_new("n2", "second")


class TestADiskThatDoesNotCountYet:
    """It says that it votes by a change that is not applied here: it may be the leader, and so it is let in."""

    def test_i3_it_is_heard_as_a_leader_and_its_vote_is_not_counted(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.sessions._door._voters = node.voters
        node.disconnect("n2")
        node.connections["n2"] = link = node.accept()
        link.hear(replace(node.hello_from("n2"), disk_id="another", voting_since=9))
        assert "n2" not in node.sessions.connected
        node.stand_for_election()
        node.hear("n2", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.CANDIDATE
        assert node.refusals.counts["word of a disk that does not count yet"] == 1
        node.hear("n2", appending(node.consensus.term, 1, 0, [node.consensus.term]))
        assert node.consensus.leader == "n2"

    def test_the_same_word_of_the_disk_that_counts_elects(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.stand_for_election()
        node.hear("n2", wire.Vote(node.consensus.term))
        assert node.consensus.role is Role.LEADER
