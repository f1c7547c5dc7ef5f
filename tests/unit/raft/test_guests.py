"""Nodes that nobody told of, and that may have to be heard all the same: they vote by an entry that is not applied here yet."""

from pathlib import Path

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.peers import PeerDisks, VoterDisks
from garbagetruck.cluster.raft.sessions import GUESTS_MAX
from garbagetruck.cluster.raft.settings import Identity
from garbagetruck.cluster.raft.tls import PeerNames
from garbagetruck.cluster.raft.voters import Voters
from tests.unit.raft.links import voting
from tests.unit.raft.stage import Stage, appending
from tests.unit.raft.test_voters import FOUR, adding, removing


class TestTheDoor:
    """n2 has applied the founding only."""

    def door(self, tmp_path: Path, voters: Voters) -> Door:
        disks = VoterDisks(voters, PeerDisks(tmp_path / "peers.json"), lambda _node_id: "")
        return Door(Identity("c", "n2", "disk-n2"), frozenset({"n1", "n3"}), disks, voters=voters)

    def hello(self, node_id: str, voting_since: int) -> wire.Hello:
        return wire.Hello(wire.PROTOCOL, "c", 1, node_id, f"disk-{node_id}", "n2", 2, voting_since, "")

    def test_who_votes_by_a_later_entry_is_listened_to_and_not_counted(self, tmp_path: Path) -> None:
        voters = voting("n2", "n1", "n3")
        door, hello = self.door(tmp_path, voters), self.hello("n4", 5)
        assert door.reason_to_refuse(hello, None, None) is None
        assert not door.counts(hello)
        assert door.reason_to_refuse(self.hello("n4", 0), None, None) == "not a member"
        assert door.reason_to_refuse(self.hello("n2", 5), None, None) == "not a member", "it bears this node's own name"
        nobody = PeerNames(frozenset(), frozenset())
        assert door.reason_to_refuse(hello, None, nobody) == "certificate of another node"

    def test_a_guest_counts_when_its_entry_is_applied_and_goes_when_its_removal_is(self, tmp_path: Path) -> None:
        voters = voting("n2", "n1", "n3")
        door, hello = self.door(tmp_path, voters), self.hello("n4", 5)
        voters.apply(5, adding("n4", FOUR))
        assert door.counts(hello)
        assert door.reason_to_refuse(hello, None, None) is None
        voters.apply(7, removing("n4", FOUR))
        assert not door.listens_to(hello)
        assert door.reason_to_refuse(hello, None, None) == "not a member"


class TestSessions:
    def test_a_guest_leads_and_gets_votes_and_its_own_word_counts_for_nothing(self, stage: Stage) -> None:
        node = stage.node("n1")
        link = node.accept()
        link.hear(wire.Hello(wire.PROTOCOL, "c", 1, "n4", "disk-n4", "n1", 2, 5))
        stage.clock.advance(10_000)
        link.hear(wire.RequestVote(7, 1, 0))
        assert wire.Vote(7) in link.sent
        link.hear(wire.Vote(7))
        assert node.refusals.counts == {"word of a disk that does not count yet": 1}
        link.hear(appending(7, 1, 0, [7]))
        assert node.consensus.leader == "n4"
        assert [each.next_index for each in link.sent if isinstance(each, wire.NextIndex)] == [3]
        assert "n4" not in node.sessions.connected

    def test_a_guest_that_becomes_a_member_is_not_called_while_it_is_connected(self, stage: Stage) -> None:
        node = stage.node("n1")
        link = node.accept()
        link.hear(wire.Hello(wire.PROTOCOL, "c", 1, "n4", "disk-n4", "n1", 2, 5))
        node.sessions.set_peers(frozenset({"n2", "n3"}))
        assert link.is_open, "it may bring the change by which it votes"
        node.sessions.set_peers(frozenset({"n2", "n3", "n4"}))
        assert not node.sessions.vacant["n4"].is_set()
        link.abort()
        assert node.sessions.vacant["n4"].is_set()

    def test_a_guest_is_cut_off_when_it_turns_out_to_have_no_vote(self, stage: Stage) -> None:
        node = stage.node("n1")
        link = node.accept()
        link.hear(wire.Hello(wire.PROTOCOL, "c", 1, "n4", "disk-n4", "n1", 2, 5))
        node.voters.apply(7, removing("n3", dict.fromkeys(("n1", "n2", "n3"), "")))
        node.sessions.look_again()
        assert not link.is_open

    def test_guests_are_bounded(self, stage: Stage) -> None:
        node = stage.node("n1")
        for number in range(GUESTS_MAX + 1):
            node.accept().hear(wire.Hello(wire.PROTOCOL, "c", 1, f"x{number}", "d", "n1", 2, 9))
        assert node.refusals.counts == {"too many guests": 1}
        assert node.sessions.connected == {"n2", "n3"}
