"""Two logs that nodes of the same names founded are never taken for one, and a founder that lost its disk founds nothing again."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.disk import REAL_DISK
from garbagetruck.cluster.raft.errors import FoundedTwice
from garbagetruck.cluster.raft.handshake import FOUNDED_ANEW, FOUNDED_APART, JOINED_AS_ANOTHER, Door
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.membership import Membership
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.sessions import Sessions
from garbagetruck.cluster.raft.settings import Identity, Member
from garbagetruck.cluster.raft.storage import Storage
from garbagetruck.cluster.raft.tls import PeerNames
from tests.unit.raft.links import NOBODY, FakeLink, VirtualTime
from tests.unit.raft.stage import SETTINGS

TRIO = ("n1", "n2", "n3")
FIRST, OTHER_FIRST = Entry(3, b"by disk-n1"), Entry(3, b"by disk-n2-anew")


class Node:
    """What of a node knows who belongs to its log, in a folder that a later one may find again."""

    def __init__(self, folder: Path, node_id: str, disk: str = "", *, founders: Sequence[str] | None = TRIO) -> None:
        self.node_id = node_id
        self.disk_id = disk or f"disk-{node_id}"
        identity = Identity("c", node_id, self.disk_id)
        members = [Member(each, f"127.0.0.1:{7300 + int(each[1:])}") for each in (*TRIO, "n4")]
        self.membership = Membership(identity, members, founders, 3)
        self.membership.open(Storage(folder / self.disk_id, REAL_DISK))
        self.membership.origin.begin(at_first=True)
        self.door = self.membership.door(frozenset({*TRIO, "n4"}) - {node_id})

    def apply(self, *entries: Entry) -> "Node":
        self.membership.origin.on_applied(entries)
        return self

    @property
    def met(self) -> dict[str, str]:
        return self.membership.met.load()

    def refuses(self, other: "Node") -> str | None:
        """Why it refuses that node, which called it or was called."""
        expected = other.node_id if other.node_id < self.node_id else None
        return self.door.reason_to_refuse(other.door.hello(to=self.node_id), expected, None)


class TestWhichLog:
    def test_it_is_known_by_the_first_entry_and_told_in_greetings_ever_after(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "n1")
        assert node.door.hello(to="n2").origin == ""
        origin = node.apply().apply(FIRST, Entry(4, b"x")).membership.origin.name
        assert origin
        assert node.apply(Entry(5, b"y")).door.hello(to="n2").origin == origin
        assert Node(tmp_path, "n1").door.hello(to="n2").origin == origin, "it is on the disk"
        assert Node(tmp_path, "n3").apply(FIRST).membership.origin.name == origin
        assert Node(tmp_path, "n2").apply(OTHER_FIRST).membership.origin.name not in ("", origin)

    def test_who_begins_with_a_snapshot_takes_the_leaders_word_and_no_later_entry(self, tmp_path: Path) -> None:
        leader, joined = Node(tmp_path, "n1").apply(FIRST), Node(tmp_path, "n4", founders=None)
        joined.membership.leaders_origin = lambda: leader.membership.origin.name
        joined.membership.on_snapshot(50, None)
        joined.apply(Entry(51, b"x"))
        assert joined.door.hello(to="n1").origin == leader.membership.origin.name
        untold = Node(tmp_path, "n4", "of a version before", founders=None)
        untold.membership.on_snapshot(50, None)
        assert untold.apply(Entry(51, b"x")).door.hello(to="n1").origin == ""

    def test_i3_nodes_of_two_foundings_refuse_each_other_whoever_they_met(self, tmp_path: Path) -> None:
        first, second = Node(tmp_path, "n1").apply(FIRST), Node(tmp_path, "n3").apply(OTHER_FIRST)
        assert first.refuses(second) == FOUNDED_APART
        assert second.refuses(first) == FOUNDED_APART
        assert (first.met, second.met) == ({}, {}), "nor do they take each other for who they say they are"

    def test_i3_who_votes_by_a_later_entry_of_another_log_is_not_listened_to(self, tmp_path: Path) -> None:
        first, second = Node(tmp_path, "n1").apply(FIRST), Node(tmp_path, "n3").apply(OTHER_FIRST)
        hello = replace(second.door.hello(to="n1"), voting_since=9)
        assert first.door.reason_to_refuse(hello, None, None) == FOUNDED_APART

    def test_who_knows_no_origin_is_let_in_as_before(self, tmp_path: Path) -> None:
        """A founder that starts late, and a node whose log is older than origins."""
        first, late = Node(tmp_path, "n1").apply(FIRST), Node(tmp_path, "n3")
        assert first.refuses(late) is None
        assert late.refuses(first) is None
        assert late.met == {"n1": "disk-n1"}


class TestAFounderThatWasFoundedAgain:
    def lost(self, tmp_path: Path) -> tuple[Node, Node]:
        """n1, which has a log and met n2, and n2 in another folder."""
        first = Node(tmp_path, "n1")
        assert first.refuses(Node(tmp_path, "n2")) is None
        return first.apply(FIRST), Node(tmp_path, "n2", "disk-n2-anew")

    def test_i2_it_is_told_so_by_who_has_the_log_and_founds_nothing_from_there_ever_after(self, tmp_path: Path) -> None:
        first, again = self.lost(tmp_path)
        assert first.refuses(again) == FOUNDED_ANEW
        with pytest.raises(FoundedTwice, match=r"n1 knows node n2 of cluster c by another disk.*member remove n2"):
            again.door.hear_refusal(FOUNDED_ANEW, "n1", None)
        with pytest.raises(FoundedTwice, match="n1 knows node n2"):
            Node(tmp_path, "n2", "disk-n2-anew")

    def test_i2_one_that_has_begun_a_second_log_ends_and_what_it_holds_stays_readable(self, tmp_path: Path) -> None:
        """It may be the other founding that is to be given up: people say which."""
        first, again = self.lost(tmp_path)
        again.apply(OTHER_FIRST)
        assert first.refuses(again) == FOUNDED_ANEW
        with pytest.raises(FoundedTwice):
            again.door.hear_refusal(FOUNDED_ANEW, "n1", None)
        assert Node(tmp_path, "n2", "disk-n2-anew").membership.origin.name

    def test_nobody_is_refuted_by_who_has_nothing(self, tmp_path: Path) -> None:
        """Before anything was acknowledged a wiped founder is one that is refused, and no more."""
        first, again = Node(tmp_path, "n1"), Node(tmp_path, "n2", "disk-n2-anew")
        first.refuses(Node(tmp_path, "n2"))
        assert first.refuses(again) == "another disk than before"
        again.door.hear_refusal("another disk than before", "n1", None)

    def test_who_joined_is_refused_and_told_nothing_of_founding(self, tmp_path: Path) -> None:
        first, _ = self.lost(tmp_path)
        joined = Node(tmp_path, "n2", "disk-n2-joined", founders=None)
        assert first.refuses(joined) == JOINED_AS_ANOTHER
        joined.door.hear_refusal(FOUNDED_ANEW, "n1", None)

    def test_only_the_peers_own_certificate_is_believed(self, tmp_path: Path) -> None:
        _, again = self.lost(tmp_path)
        again.door.hear_refusal(FOUNDED_ANEW, "n1", PeerNames(frozenset(), frozenset()))
        with pytest.raises(FoundedTwice):
            again.door.hear_refusal(FOUNDED_ANEW, "n1", None)

    @pytest.mark.parametrize("established", [False, True], ids=["instead of a greeting", "behind the greeting"])
    def test_what_a_peer_says_when_it_refuses_reaches_the_door(self, tmp_path: Path, *, established: bool) -> None:
        clock, (first, again) = VirtualTime(), self.lost(tmp_path)
        sessions = sessions_of(again.door, clock)
        link = FakeLink(sessions, clock, expected="n1").open()
        if established:
            link.hear(first.door.hello(to="n2"))
        with pytest.raises(FoundedTwice):
            link.hear(wire.Refused(FOUNDED_ANEW))

    def test_a_stranger_that_refuses_is_nobody(self, tmp_path: Path) -> None:
        clock, (_, again) = VirtualTime(), self.lost(tmp_path)
        FakeLink(sessions_of(again.door, clock), clock).open().hear(wire.Refused(FOUNDED_ANEW))


def sessions_of(door: Door, clock: VirtualTime) -> Sessions:
    refusals = Refusals("n2", clock.monotonic_ns)
    return Sessions(door=door, settings=SETTINGS, refusals=refusals, monotonic_ns=clock.monotonic_ns, listener=NOBODY)
