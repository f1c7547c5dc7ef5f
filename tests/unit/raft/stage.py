"""A stage for pysyncobj without threads, sockets or real time: every message and every tick is a test's own doing.

`Guarded` nodes have the product's transport; `bare` ones take pysyncobj's messages as they come, so that a test can
show what a guard is for.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pysyncobj.syncobj
import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.journal import Journal
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.seams import Consensus, StockTransport
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.transport import GuardedTransport

SETTINGS = RaftSettings()


class VirtualTime:
    """The clock of all nodes on the stage; seconds for pysyncobj, nanoseconds for us."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def advance(self, milliseconds: float) -> None:
        self.now_ns += int(milliseconds * 1_000_000)


class FakeConnection:
    """A connection whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[wire.Message] = []
        self.waiting_bytes = 0
        self.is_open = True
        self.on_message: Callable[[wire.Message], None] = lambda _message: None
        self.on_connected: Callable[[], None] = lambda: None
        self.on_disconnected: Callable[[], None] = lambda: None

    def connect(self, host: str, port: int) -> bool:
        return bool(host and port)

    def send(self, message: wire.Message) -> None:
        self.sent.append(wire.decode(wire.encode(message)))

    def disconnect(self) -> None:
        if self.is_open:
            self.is_open = False
            self.on_disconnected()

    def fileno(self) -> int:
        return -1

    def getSendBufferSize(self) -> int:  # noqa: N802
        return self.waiting_bytes

    def setOnConnectedCallback(self, callback: Callable[[], None]) -> None:  # noqa: N802
        self.on_connected = callback

    def setOnMessageReceivedCallback(self, callback: Callable[[wire.Message], None]) -> None:  # noqa: N802
        self.on_message = callback

    def setOnDisconnectedCallback(self, callback: Callable[[], None]) -> None:  # noqa: N802
        self.on_disconnected = callback


class BareTransport(StockTransport):
    """No guard: pysyncobj's messages go out, and come in, as they are."""

    def __init__(self, consensus: Consensus) -> None:
        super().__init__(consensus)
        self.connections: dict[str, FakeConnection] = {}

    def connect(self, peer_id: str) -> FakeConnection:
        connection = FakeConnection()
        self.connections[peer_id] = connection
        connection.setOnMessageReceivedCallback(lambda message: self.deliver(peer_id, message))  # type: ignore[arg-type]
        connection.setOnDisconnectedCallback(lambda: self._forget(peer_id))
        self.announce(peer_id)
        return connection

    def _forget(self, peer_id: str) -> None:
        del self.connections[peer_id]
        self.withdraw(peer_id)

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:  # type: ignore[explicit-override]
        connection = self.connections.get(node_id)
        if connection is not None:
            connection.send(message)
        return connection is not None


class StageTransport(GuardedTransport):
    """The product's transport, over connections of the stage, and without a port."""

    def tryGetReady(self) -> None:  # type: ignore[explicit-override]  # noqa: N802
        self._ready = True

    def _connect_if_due(self, peer: Member, now_ns: int) -> None:  # type: ignore[explicit-override]
        """The test connects."""

    def connect(self, peer_id: str) -> FakeConnection:
        connection = FakeConnection()
        own = self._identity
        session = self._open(connection, peer_id)
        hello = wire.Hello(wire.PROTOCOL, own.cluster_id, peer_id, f"disk-{peer_id}", own.node_id)
        connection.on_message(hello)
        assert self._sessions[peer_id] is session
        self._announce_all()
        return connection


class StageNode:
    """One node: `tick` it, let it `hear` messages, look at what it `sent`."""

    def __init__(
        self,
        node_id: str,
        peer_ids: Iterable[str],
        folder: Path,
        clock: VirtualTime,
        *,
        guarded: bool,
    ) -> None:
        self.node_id = node_id
        self._peer_ids = frozenset(peer_ids)
        self._clock = clock
        self._folder = folder
        self.echoes: list[tuple[str, wire.Echo]] = []
        self.between: Callable[[], None] = lambda: None
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(folder / "journal")
        self.consensus = Consensus(
            node_id=node_id,
            peer_ids=self._peer_ids,
            settings=SETTINGS,
            journal=self.journal,
            make_transport=self._make_guarded if guarded else BareTransport,
            between=self._act,
        )
        transport = self.consensus._SyncObj__transport
        assert isinstance(transport, BareTransport | StageTransport)
        self.transport: BareTransport | StageTransport = transport
        self.connections: dict[str, FakeConnection] = {}
        self._closed = False

    def _make_guarded(self, consensus: Consensus) -> StageTransport:
        members = {
            each: Member(each, f"127.0.0.1:{7300 + i}") for i, each in enumerate((self.node_id, *self._peer_ids))
        }
        return StageTransport(
            consensus,
            identity=Identity("c", self.node_id, f"disk-{self.node_id}"),
            members=members,
            settings=SETTINGS,
            disks=PeerDisks(self._folder / "peers.json"),
            monotonic_ns=self._clock.monotonic_ns,
            on_echo=lambda peer_id, echo: self.echoes.append((peer_id, echo)),
        )

    def _act(self) -> None:
        self.between()

    def connect(self, peer_id: str) -> None:
        self.connections[peer_id] = self.transport.connect(peer_id)

    def disconnect(self, peer_id: str) -> None:
        self.connections.pop(peer_id).disconnect()

    def hear(self, peer_id: str, *messages: wire.Message) -> None:
        for message in messages:
            self.connections[peer_id].on_message(wire.decode(wire.encode(message)))

    def sent(self, peer_id: str) -> list[wire.Message]:
        """What was sent to a peer since the last call."""
        connection = self.connections[peer_id]
        sent, connection.sent = connection.sent, []
        return sent

    def tick(self) -> None:
        self.consensus.doTick(0.0)

    def propose(self, *payloads: bytes) -> None:
        """As the engine does it: in the middle of a tick."""

        def between() -> None:
            for payload in payloads if self.consensus.role is Role.LEADER else ():
                self.consensus.propose(payload)

        self.between = between
        self.tick()
        self.between = lambda: None

    def stand_for_election(self) -> None:
        leader = self.consensus._getLeader()
        self.transport._onMessageReceived(leader, {"type": "timeout_now", "term": self.consensus.term})
        self.tick()

    def elect(self, *voters: str) -> None:
        """Become leader with the votes of `voters`."""
        self.stand_for_election()
        for voter in voters:
            self.hear(voter, wire.Vote(self.consensus.term))
        assert self.consensus.role is Role.LEADER
        self.tick()

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of every entry."""
        return [(index, term) for _, index, term in self.journal[:]]

    @property
    def payloads(self) -> list[bytes]:
        return [entry.payload for entry in self.consensus.applied]

    def crash(self) -> None:
        """End as a killed process does: the files stay as they are."""
        self.consensus._SyncObj__transport.destroy()
        super(Journal, self.journal)._destroy()
        notifier = self.consensus._SyncObj__pipeNotifier
        os.close(notifier._PipeNotifier__pipeR)  # pysyncobj never does
        os.close(notifier._PipeNotifier__pipeW)
        self._closed = True

    def close(self) -> None:
        if not self._closed:
            self.journal.onOneSecondTimer()
            self.crash()


class Stage:
    """Makes nodes that share a clock, and closes them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = VirtualTime()
        self._folder = folder
        self._nodes: list[StageNode] = []
        monkeypatch.setattr(pysyncobj.syncobj, "monotonicTime", self.clock.monotonic)

    def node(
        self, node_id: str = "n1", *, guarded: bool = True, connected: bool = True, folder: str | None = None
    ) -> StageNode:
        """A node of a cluster of three. With `folder` it finds there what it left."""
        peer_ids = [each for each in ("n1", "n2", "n3") if each != node_id]
        path = self._folder / (folder or f"{node_id}-{len(self._nodes)}")
        node = StageNode(node_id, peer_ids, path, self.clock, guarded=guarded)
        self._nodes.append(node)
        for peer_id in peer_ids if connected else ():
            node.connect(peer_id)
        return node

    def close(self) -> None:
        for node in self._nodes:
            node.close()


def entries(first_index: int, terms: Iterable[int]) -> list[wire.LogEntry]:
    """Entries of the given terms, from `first_index` on."""
    return [(b"\0%d.%d" % (index, term), index, term) for index, term in enumerate(terms, first_index)]


def appending(
    term: int, prev_index: int, prev_term: int, terms: Iterable[int] = (), commit_index: int = 1
) -> wire.AppendEntries:
    return wire.AppendEntries(term, commit_index, prev_index, prev_term, entries(prev_index + 1, terms))
