"""Who is let in, when a connection counts, and what is answered to a probe."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pysyncobj.tcp_connection import CONNECTION_STATE, TcpConnection

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.seams import Poller
from garbagetruck.cluster.raft.settings import Identity
from tests.unit.raft.stage import SETTINGS, FakeConnection, Stage, StageNode, StageTransport, appending


def guarded(node: StageNode) -> StageTransport:
    assert isinstance(node.transport, StageTransport)
    return node.transport


def accept(node: StageNode) -> FakeConnection:
    """A connection that somebody opened to this node."""
    connection = FakeConnection()
    guarded(node)._on_accepted(connection)
    return connection


HELLO = wire.Hello(wire.PROTOCOL, "c", "n3", "disk-n3", "n2")


class TestTheDoor:
    @pytest.fixture
    def door(self, tmp_path: Path) -> Door:
        return Door(Identity("c", "n2", "disk-n2"), frozenset({"n1", "n3"}), PeerDisks(tmp_path / "peers.json"))

    def test_a_peer_is_let_in(self, door: Door) -> None:
        assert door.reason_to_refuse(HELLO, None) is None
        assert door.reason_to_refuse(wire.Hello(wire.PROTOCOL, "c", "n1", "disk-n1", "n2"), "n1") is None

    @pytest.mark.parametrize(
        ("hello", "expected", "reason"),
        [
            (wire.Hello(wire.PROTOCOL + 1, "c", "n3", "d", "n2"), None, "another protocol"),
            (wire.Hello(wire.PROTOCOL, "other", "n3", "d", "n2"), None, "another cluster"),
            (wire.Hello(wire.PROTOCOL, "c", "n3", "d", "n1"), None, "meant for another node"),
            (wire.Hello(wire.PROTOCOL, "c", "n9", "d", "n2"), None, "not a member"),
            (wire.Hello(wire.PROTOCOL, "c", "n2", "d", "n2"), None, "not a member"),
            (wire.Hello(wire.PROTOCOL, "c", "n1", "d", "n2"), None, "the node with the greater id connects"),
            (wire.Hello(wire.PROTOCOL, "c", "n3", "d", "n2"), "n1", "another node at this address"),
        ],
    )
    def test_whoever_does_not_belong_is_refused(
        self, door: Door, hello: wire.Hello, expected: str | None, reason: str
    ) -> None:
        assert door.reason_to_refuse(hello, expected) == reason

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
        connection = accept(node)
        connection.on_message(HELLO)
        assert connection.sent == [wire.Hello(wire.PROTOCOL, "c", "n2", "disk-n2", "n3")]
        connection.on_message(appending(1, 1, 0, [1]))
        assert node.consensus.leader == "n3"

    def test_a_stranger_is_told_why_and_cut_off(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connection = accept(node)
        connection.on_message(wire.Hello(wire.PROTOCOL, "other", "n3", "d", "n2"))
        assert connection.sent == [wire.Refused("another cluster")]
        assert not connection.is_open
        assert guarded(node).counts == {"another cluster": 1}

    def test_nobody_is_heard_before_greeting(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connection = accept(node)
        connection.on_message(appending(1, 1, 0, [1]))
        assert not connection.is_open
        assert node.log == [(1, 0)]

    def test_a_refusal_ends_the_connection(self, stage: Stage) -> None:
        node = stage.node("n3", connected=False)
        connection = FakeConnection()
        guarded(node)._open(connection, "n1")
        connection.on_message(wire.Refused("another disk than before"))
        assert not connection.is_open
        assert guarded(node).counts == {"refused by peer": 1}

    def test_who_does_not_greet_in_time_is_cut_off(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connection = accept(node)
        stage.clock.advance(SETTINGS.handshake_ms_max - 1)
        node.tick()
        assert connection.is_open
        stage.clock.advance(2)
        node.tick()
        assert not connection.is_open

    def test_strangers_are_bounded(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connections = [accept(node) for _ in range(20)]
        assert [connection.is_open for connection in connections] == [True] * 16 + [False] * 4

    def test_a_new_connection_of_a_peer_ends_the_former(self, stage: Stage) -> None:
        """Else what is still in the former could overtake what is sent on the new one."""
        node = stage.node("n2", connected=False)
        former, latter = accept(node), accept(node)
        former.on_message(HELLO)
        latter.on_message(HELLO)
        assert not former.is_open
        assert latter.is_open
        assert guarded(node)._sessions["n3"].connection is latter

    def test_a_second_greeting_ends_the_connection(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connection = accept(node)
        connection.on_message(HELLO)
        connection.on_message(HELLO)
        assert not connection.is_open

    def test_a_connection_that_breaks_while_it_is_greeted_is_not_kept(self, stage: Stage) -> None:
        node = stage.node("n2", connected=False)
        connection = accept(node)
        connection.waiting_bytes = SETTINGS.outgoing_bytes_max + 1  # makes the transport give up on it
        connection.on_message(HELLO)
        assert not connection.is_open
        assert guarded(node)._sessions == {}

    def test_a_peer_that_does_not_read_is_cut_off(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        node.connections["n3"].waiting_bytes = SETTINGS.outgoing_bytes_max + 1
        node.propose(b"a")
        assert not node.connections["n3"].is_open
        assert guarded(node).connected == {"n2"}

    def test_what_could_not_be_sent_is_sent_as_soon_as_there_is_room(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = stage.node("n1")
        awaited: list[int] = []
        monkeypatch.setattr(guarded(node)._poller, "await_writable", awaited.append)
        node.elect("n2")
        assert awaited == []
        node.connections["n3"].waiting_bytes = 1
        node.propose(b"a")
        assert awaited == [node.connections["n3"].fileno()]


class TestRejoining:
    """Hazard 13, in part: a node that was alone does not depose a healthy leader."""

    @staticmethod
    def alone_past_its_election_timeout(stage: Stage) -> tuple[StageNode, FakeConnection]:
        node = stage.node("n2", connected=False)
        stage.clock.advance(SETTINGS.election_timeout_ms_max + 1)
        node.tick()
        connection = accept(node)
        connection.on_message(HELLO)
        connection.sent.clear()
        return node, connection

    def test_a_node_that_was_alone_listens_before_it_stands_for_election(self, stage: Stage) -> None:
        node, connection = self.alone_past_its_election_timeout(stage)
        node.tick()
        assert node.consensus.term == 0
        connection.on_message(appending(4, 1, 0))
        node.tick()
        assert (node.consensus.role, node.consensus.term, node.consensus.leader) == (Role.FOLLOWER, 4, "n3")
        assert guarded(node).connected == {"n3"}

    def test_without_a_leader_it_stands_after_a_while(self, stage: Stage) -> None:
        node, connection = self.alone_past_its_election_timeout(stage)
        stage.clock.advance(SETTINGS.rejoin_grace_ms)
        node.tick()
        node.tick()
        assert node.consensus.role is Role.CANDIDATE
        assert connection.sent == [wire.RequestVote(1, 1, 0)]

    def test_each_time_it_is_alone_it_listens_anew(self, stage: Stage) -> None:
        node, connection = self.alone_past_its_election_timeout(stage)
        stage.clock.advance(SETTINGS.rejoin_grace_ms - 1)
        connection.disconnect()
        accept(node).on_message(HELLO)
        stage.clock.advance(1)
        node.tick()
        assert guarded(node).connected == frozenset()

    def test_pysyncobj_alone_stands_as_soon_as_it_is_connected(self, stage: Stage) -> None:
        node = stage.node("n2", guarded=False, connected=False)
        stage.clock.advance(SETTINGS.election_timeout_ms_max + 1)
        node.connect("n3")
        node.tick()
        assert node.sent("n3") == [wire.RequestVote(1, 1, 0)]

    def test_a_leader_sends_to_whom_it_meets_at_once(self, stage: Stage) -> None:
        node = stage.node("n1")
        node.elect("n2")
        for peer_id in ("n2", "n3"):
            node.disconnect(peer_id)
        assert guarded(node).connected == frozenset()
        connection = accept(node)
        connection.on_message(wire.Hello(wire.PROTOCOL, "c", "n2", "disk-n2", "n1"))
        assert guarded(node).connected == {"n2"}


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
            pytest.param(lambda node: node.hear("n3", wire.RequestVote(4, 9, 4)), id="a higher term was seen"),
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

    def test_pysyncobj_alone_closes_a_connection_that_was_idle_when_it_is_needed(self) -> None:
        """Two followers say nothing to each other, until one asks for the other's vote."""
        near, far = socket.socketpair()
        with near, far:
            connection = TcpConnection(Poller(), socket=near, timeout=0.0)
            connection.send(wire.RequestVote(2, 1, 1))
            assert connection.state == CONNECTION_STATE.DISCONNECTED
            far.setblocking(False)
            assert far.recv(100) == b""


def test_the_rest_of_a_large_message_is_sent_as_soon_as_there_is_room() -> None:
    """pysyncobj alone waits for the next message; heartbeats are 100 ms apart."""
    near, far = socket.socketpair()
    poller = Poller()
    with near, far:
        near.setblocking(False)
        connection = TcpConnection(poller, socket=near, timeout=60.0)
        poller.poll(0)
        connection.send(appending(1, 1, 0, [1] * 100_000))
        left_bytes = connection.getSendBufferSize()
        assert left_bytes > 0
        far.recv(2**20)
        poller.poll(0)
        assert connection.getSendBufferSize() == left_bytes
        poller.await_writable(connection.fileno())
        poller.poll(0)
        assert connection.getSendBufferSize() < left_bytes
        connection.disconnect()
