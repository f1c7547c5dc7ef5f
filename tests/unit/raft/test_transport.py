"""Who is let in, when a connection counts, what it is worth, and what is answered to a probe."""

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.frames import FRAME_BYTES_MAX
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.refusals import PEERS_MAX, REPEAT_AFTER_S, Refusals
from garbagetruck.cluster.raft.settings import Identity
from garbagetruck.cluster.raft.tls import PeerNames
from tests.unit.raft.links import FakeLink, VirtualTime
from tests.unit.raft.stage import SETTINGS, Stage, StageNode, appending

HELLO = wire.Hello(wire.PROTOCOL, "c", 1, "n3", "disk-n3", "n2", wire.FORMAT)
NAMES = PeerNames(uris=frozenset({"spiffe://td/garbagetruck/c/n3"}), dns=frozenset())


class TestTheDoor:
    @pytest.fixture
    def door(self, tmp_path: Path) -> Door:
        return Door(Identity("c", "n2", "disk-n2"), frozenset({"n1", "n3"}), PeerDisks(tmp_path / "peers.json"))

    def test_a_greeting_announces_what_its_node_reads(self, tmp_path: Path) -> None:
        identity, disks = Identity("c", "n2", "disk-n2"), PeerDisks(tmp_path / "peers.json")
        assert Door(identity, frozenset(), disks, entry_format=2).hello(to="n1").format == 2

    def test_a_peer_is_let_in(self, door: Door) -> None:
        assert door.reason_to_refuse(HELLO, None, None) is None
        assert door.reason_to_refuse(replace(HELLO, node_id="n1", disk_id="disk-n1"), "n1", None) is None
        assert door.reason_to_refuse(HELLO, None, NAMES) is None

    @pytest.mark.parametrize(
        ("hello", "expected", "reason"),
        [
            (replace(HELLO, protocol=wire.PROTOCOL + 1), None, "another protocol"),
            (replace(HELLO, cluster_id="other"), None, "another cluster"),
            (replace(HELLO, incarnation=2), None, "another incarnation of the cluster"),
            (replace(HELLO, to="n1"), None, "meant for another node"),
            (replace(HELLO, node_id="n9"), None, "not a member"),
            (replace(HELLO, node_id="n2"), None, "not a member"),
            (replace(HELLO, node_id="n1"), None, "the node with the greater id connects"),
            (HELLO, "n1", "another node at this address"),
        ],
    )
    def test_whoever_does_not_belong_is_refused(
        self, door: Door, hello: wire.Hello, expected: str | None, reason: str
    ) -> None:
        assert door.reason_to_refuse(hello, expected, None) == reason

    @pytest.mark.parametrize(
        "names",
        [
            PeerNames(frozenset(), frozenset()),
            PeerNames(frozenset(), frozenset({"n1"})),
            PeerNames(frozenset({"spiffe://td/garbagetruck/c/n1"}), frozenset()),
            PeerNames(frozenset({"spiffe://td/garbagetruck/other/n3"}), frozenset()),
            PeerNames(frozenset({"https://td/garbagetruck/c/n3"}), frozenset()),
        ],
    )
    def test_a_certificate_of_another_does_not_open_the_door(self, door: Door, names: PeerNames) -> None:
        assert door.reason_to_refuse(HELLO, None, names) == "certificate of another node"

    def test_a_peer_with_another_disk_than_before_is_refused(self, tmp_path: Path) -> None:
        """A majority of wiped disks would otherwise elect itself and write a new history."""
        disks = PeerDisks(tmp_path / "peers.json")
        assert disks.is_known_or_new("n1", "first")
        assert disks.is_known_or_new("n1", "first")
        assert not disks.is_known_or_new("n1", "second")
        again = PeerDisks(tmp_path / "peers.json")
        assert not again.is_known_or_new("n1", "second")
        assert again.is_known_or_new("n1", "first")
        assert again.is_known_or_new("n3", "third")

    def test_a_damaged_list_of_disks_is_not_taken_for_an_empty_one(self, tmp_path: Path) -> None:
        (tmp_path / "peers.json").write_text("{")
        with pytest.raises(JournalDamaged, match=r"peers\.json"):
            PeerDisks(tmp_path / "peers.json").load()


class TestHandshake:
    def test_a_peer_that_greets_is_greeted_and_heard(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        link.hear(HELLO)
        assert link.sent == [replace(HELLO, node_id="n2", disk_id="disk-n2", to="n3")]
        assert link.frame_bytes_max == FRAME_BYTES_MAX
        link.hear(appending(1, 1, 0, [1]))
        assert node.consensus.leader == "n3"

    def test_a_stranger_is_told_why_and_cut_off(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        link.hear(replace(HELLO, cluster_id="other"))
        assert link.sent == [wire.Refused("another cluster")]
        assert not link.is_open
        assert node.refusals.counts == {"another cluster": 1}

    def test_nobody_is_heard_before_greeting(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        link.hear(appending(1, 1, 0, [1]))
        assert not link.is_open
        assert node.log == [(1, 0)]

    def test_a_certificate_of_another_node_is_refused(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept(names=PeerNames(frozenset(), frozenset({"n1"})))
        link.hear(HELLO)
        assert link.sent == [wire.Refused("certificate of another node")]
        assert node.sessions.connected == frozenset()

    def test_a_refusal_ends_the_connection(self, stage: Stage) -> None:
        node = stage.node("n3", connected=False)
        link = node.dial("n1")
        assert link.sent == [wire.Hello(wire.PROTOCOL, "c", 1, "n3", "disk-n3", "n1", wire.FORMAT)]
        link.hear(wire.Refused("another disk than before"))
        assert not link.is_open
        assert node.refusals.counts == {"refused by peer": 1}

    def test_who_does_not_greet_in_time_is_cut_off(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        stage.clock.advance(SETTINGS.handshake_ms_max - 1)
        node.tick()
        assert link.is_open
        stage.clock.advance(2)
        node.tick()
        assert node.refusals.counts == {"greeting too slow": 1}
        assert not link.is_open

    def test_strangers_are_bounded(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        links = [node.accept() for _ in range(20)]
        assert [link.is_open for link in links] == [True] * 16 + [False] * 4
        assert node.refusals.counts == {"too many strangers": 4}

    def test_a_new_connection_of_a_peer_ends_the_former(self, stage: Stage) -> None:
        """Else what is still in the former could overtake what is sent on the new one."""
        node = stage.node("n2", connected=False)
        former, latter = node.accept(), node.accept()
        former.hear(HELLO)
        latter.hear(HELLO)
        assert not former.is_open
        assert latter.is_open
        former.hear(appending(1, 1, 0, [1]))
        assert node.log == [(1, 0)]

    def test_a_second_greeting_ends_the_connection(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        link.hear(HELLO)
        link.hear(HELLO)
        assert not link.is_open

    def test_a_connection_that_breaks_while_it_is_greeted_is_not_kept(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        link = node.accept()
        link.unread_bytes = SETTINGS.outgoing_bytes_max + 1  # makes the node give up on it
        link.hear(HELLO)
        assert not link.is_open
        assert node.sessions.connected == frozenset()

    def test_a_peer_that_does_not_read_is_cut_off(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        link = node.connections["n3"]
        assert isinstance(link, FakeLink)
        link.unread_bytes = SETTINGS.outgoing_bytes_max + 1
        node.propose(b"a")
        assert not link.is_open
        assert node.sessions.connected == {"n2"}
        assert node.refusals.counts == {"peer does not read": 1}

    def test_a_peer_that_reads_slowly_is_sent_no_more_until_it_has(self, stage: Stage) -> None:
        """pysyncobj alone would queue its whole log for it."""
        node = stage.node("n1")
        node.elect("n2")
        link = node.connections["n3"]
        assert isinstance(link, FakeLink)
        link.unread_bytes = SETTINGS.outgoing_bytes_max // 2 + 1
        node.propose(b"a")
        link.sent.clear()
        node.propose(b"b")
        stage.clock.advance(SETTINGS.heartbeat_ms)
        node.tick()
        assert link.sent == []
        assert link.is_open
        link.unread_bytes = 0
        stage.clock.advance(SETTINGS.heartbeat_ms + 1)
        node.tick()
        (message,) = node.sent("n3")
        assert isinstance(message, wire.AppendEntries)
        assert [command for command, _, _ in message.entries] == [b"\0b"]

    def test_many_entries_leave_in_messages_that_fit_a_frame(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("garbagetruck.cluster.raft.transport.ENTRIES_MAX", 3)
        node = stage.node("n1")
        node.elect("n2")
        node.sent("n2")
        message = appending(1, 2, 1, [1] * 7)
        node.guard.send_to("n2", message)
        parts = node.sent("n2")
        assert [part.end_index - part.prev_index for part in parts if isinstance(part, wire.AppendEntries)] == [3, 3, 1]
        assert [
            entry for part in parts if isinstance(part, wire.AppendEntries) for entry in part.entries
        ] == message.entries


class TestSilence:
    def test_an_idle_connection_is_kept_alive(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.tick()
        node.sent("n2")
        for passed_ms, said in ((SETTINGS.keep_alive_ms - 1, []), (1, [wire.Alive()])):
            stage.clock.advance(passed_ms)
            node.hear("n3", appending(1, 1, 0))  # so that it does not stand for election
            node.tick()
            assert node.sent("n2") == said

    def test_a_peer_that_went_silent_is_cut_off(self, stage: Stage) -> None:
        """Half-open: the other side is gone, and no packet ever said so."""
        node = stage.node("n1")
        stage.clock.advance(SETTINGS.connection_timeout_ms - 1)
        node.hear("n2", wire.Alive())
        stage.clock.advance(1)
        node.tick()
        assert node.sessions.connected == {"n2"}
        assert node.refusals.counts["peer went silent"] == 1

    def test_a_node_that_slept_does_not_blame_its_peers(self, stage: Stage) -> None:
        node = stage.node("n1")
        stage.clock.advance(10 * SETTINGS.connection_timeout_ms)
        node.sessions.excuse_silence()
        node.tick()
        assert node.sessions.connected == {"n2", "n3"}


class TestRefusals:
    def test_one_line_for_each_cause_and_peer_in_a_while(self) -> None:
        clock = VirtualTime()
        refusals = Refusals("n1", clock.monotonic_ns)
        with structlog.testing.capture_logs() as logs:
            for _ in range(100):
                refusals.refuse("no greeting", "192.0.2.1")
                refusals.refuse("no greeting", "192.0.2.2")
            assert [(line["peer"], line["suppressed"]) for line in logs] == [("192.0.2.1", 0), ("192.0.2.2", 0)]
            clock.advance(REPEAT_AFTER_S * 1_000)
            refusals.refuse("no greeting", "192.0.2.1")
        assert (logs[-1]["peer"], logs[-1]["suppressed"]) == ("192.0.2.1", 99)
        assert refusals.counts == {"no greeting": 201}

    def test_peers_without_number_fill_neither_memory_nor_the_log(self) -> None:
        refusals = Refusals("n1", VirtualTime().monotonic_ns)
        with structlog.testing.capture_logs() as logs:
            for number in range(5_000):
                refusals.refuse("no greeting", f"2001:db8::{number:x}")
        assert len(logs) == len(refusals._logged) == PEERS_MAX + 1
        assert refusals.counts == {"no greeting": 5_000}


class TestProbes:
    @pytest.fixture
    def follower(self, stage: Stage) -> StageNode:
        node = stage.node("n1")
        node.hear("n2", appending(3, 1, 0))
        node.sent("n2")
        return node

    def test_a_follower_echoes_its_leader(self, follower: StageNode) -> None:
        follower.hear("n2", wire.Probe(3, 8))
        assert follower.sent("n2") == [wire.Echo(3, 8)]

    @pytest.mark.parametrize(
        "estrange",
        [
            pytest.param(
                lambda node: node.hear("n3", wire.RequestVote(4, 9, 4, transfer=True)), id="a higher term was seen"
            ),
            pytest.param(lambda node: node.hear("n3", appending(4, 1, 0)), id="another leads"),
            pytest.param(lambda node: node.stand_for_election(), id="it stands for election itself"),
        ],
    )
    def test_i8_a_follower_that_has_moved_on_does_not_echo(
        self, follower: StageNode, estrange: Callable[[StageNode], None]
    ) -> None:
        estrange(follower)
        follower.sent("n2")
        follower.hear("n2", wire.Probe(3, 8), wire.Probe(4, 8))
        assert follower.sent("n2") == []

    def test_a_follower_does_not_echo_another_than_its_leader(self, follower: StageNode) -> None:
        follower.hear("n3", wire.Probe(3, 8))
        assert follower.sent("n3") == []

    def test_an_echo_is_passed_on(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        node.hear("n3", wire.Echo(1, 5))
        assert node.echoes == [("n3", wire.Echo(1, 5))]
