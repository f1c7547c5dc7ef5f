"""A stage for pysyncobj without threads, sockets or real time: every message and every tick is a test's own doing.

`Guarded` nodes have the product's transport; `bare` ones take pysyncobj's messages as they come, so that a test can
show what a guard is for.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.disk import RealDisk
from garbagetruck.cluster.raft.durability import Durability
from garbagetruck.cluster.raft.election import Election
from garbagetruck.cluster.raft.engine import turn_over
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import Owner, Site
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus, StockTransport
from garbagetruck.cluster.raft.sessions import Sessions
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.tls import PeerNames
from garbagetruck.cluster.raft.transport import GuardedTransport, Surroundings
from tests.unit.raft.links import NOBODY, BareTransport, FakeLink, Plug, VirtualTime, voting

SETTINGS = RaftSettings()


class AlreadyDurable:
    """The `Durability` of a disk that takes no time: everything counts as durable once it is put."""

    vows_durable = True
    metadata_durable = True

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def durable_index(self) -> int:
        return self._journal.last_index

    def when_durable(self, callback: Callable[[], None]) -> None:
        callback()


def opened(folder: Path, node_id: str) -> Journal:
    """The journal of a node on the stage."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(node_id)
    owner = Owner("c", f"disk-{node_id}")
    journal = Journal(Site(RealDisk(), folder / "journal", owner, 1 << 20, lambda: chance.randbytes(16)))
    journal.open()
    return journal


class BareConsensus(Consensus):
    """With pysyncobj's own election timer."""

    def _configure(self, settings: RaftSettings) -> Any:  # type: ignore[explicit-override]
        conf = super()._configure(settings)
        conf.raftMinTimeout = settings.election_timeout_ms_min / 1_000
        conf.raftMaxTimeout = settings.election_timeout_ms_max / 1_000
        return conf


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
        durability: Callable[[Journal], Durability] = AlreadyDurable,
    ) -> None:
        self.node_id = node_id
        self._peer_ids = frozenset(peer_ids)
        self.voters = voting(node_id, *self._peer_ids)
        self._clock = clock
        self._guarded = guarded
        self.echoes: list[tuple[str, wire.Echo]] = []
        self.between: Callable[[], None] = lambda: None
        self.journal = opened(folder, node_id)
        self.durability = durability(self.journal)
        self.refusals = Refusals(node_id, clock.monotonic_ns)
        self.election = Election(
            node_id=node_id,
            voters=self.voters,
            settings=SETTINGS,
            random=random.Random(f"{node_id}{clock.now_ns}"),
            monotonic_ns=clock.monotonic_ns,
        )
        self.consensus = (Consensus if guarded else BareConsensus)(
            node_id=node_id,
            voters=self.voters,
            settings=SETTINGS,
            journal=self.journal,
            make_transport=self._make_transport,
            between=self._act,
        )
        self.sessions = Sessions(
            door=Door(
                Identity("c", node_id, f"disk-{node_id}"),
                self._peer_ids,
                PeerDisks(folder / "peers.json"),
                voters=self.voters,
            ),
            settings=SETTINGS,
            refusals=self.refusals,
            monotonic_ns=clock.monotonic_ns,
            listener=self.guard if guarded else NOBODY,
        )
        if guarded:
            self.guard.attach(self.sessions)
        self.connections: dict[str, FakeLink | Plug] = {}
        self._closed = False

    def _make_transport(self, consensus: Consensus) -> StockTransport:
        around = Surroundings(
            settings=SETTINGS,
            election=self.election,
            durability=self.durability,
            log_view=self.journal,
            refusals=self.refusals,
            on_echo=lambda peer_id, echo: self.echoes.append((peer_id, echo)),
            on_news=lambda: None,
        )
        self.transport = GuardedTransport(consensus, around) if self._guarded else BareTransport(consensus)
        return self.transport

    @property
    def guard(self) -> GuardedTransport:
        """The product's transport."""
        assert isinstance(self.transport, GuardedTransport)
        return self.transport

    def _act(self) -> None:
        self.between()

    def accept(self, *, names: PeerNames | None = None) -> FakeLink:
        """Somebody opens a connection to this node."""
        return FakeLink(self.sessions, self._clock, names=names).open()

    def dial(self, peer_id: str, *, names: PeerNames | None = None) -> FakeLink:
        """This node opens a connection."""
        return FakeLink(self.sessions, self._clock, expected=peer_id, names=names).open()

    def hello_from(self, peer_id: str) -> wire.Hello:
        return wire.Hello(wire.PROTOCOL, "c", 1, peer_id, f"disk-{peer_id}", self.node_id, wire.MEMBERSHIP_FORMAT)

    def connect(self, peer_id: str) -> None:
        if isinstance(self.transport, BareTransport):
            self.connections[peer_id] = self.transport.connect(peer_id)
            return
        link = self.accept() if peer_id > self.node_id else self.dial(peer_id)
        link.hear(self.hello_from(peer_id))
        assert peer_id in self.sessions.connected
        link.sent.clear()
        self.connections[peer_id] = link

    def disconnect(self, peer_id: str) -> None:
        self.connections.pop(peer_id).abort()

    def hear(self, peer_id: str, *messages: wire.Message) -> None:
        for message in messages:
            self.connections[peer_id].hear(wire.decode(wire.encode(message)))

    def sent(self, peer_id: str) -> list[wire.Message]:
        """What was sent to a peer since the last call."""
        connection = self.connections[peer_id]
        sent, connection.sent = connection.sent, []
        return sent

    def tick(self) -> None:
        """A turn of the engine."""
        if self._guarded:
            turn_over(self.consensus, self.guard, self.sessions, self.election)
        else:
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
        self.consensus.stand()

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
        self.journal.writer.stop()
        self._closed = True

    def close(self) -> None:
        if not self._closed:
            self.journal.close()
            self._closed = True


class Stage:
    """Makes nodes that share a clock, and closes them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = VirtualTime()
        self._folder = folder
        self._nodes: list[StageNode] = []
        monkeypatch.setattr(pysyncobj.syncobj, "monotonicTime", self.clock.monotonic)

    def node(
        self,
        node_id: str = "n1",
        *,
        guarded: bool = True,
        connected: bool = True,
        folder: str | None = None,
        durability: Callable[[Journal], Durability] = AlreadyDurable,
    ) -> StageNode:
        """A node of a cluster of three. With `folder` it finds there what it left."""
        peer_ids = [each for each in ("n1", "n2", "n3") if each != node_id]
        path = self._folder / (folder or f"{node_id}-{len(self._nodes)}")
        node = StageNode(node_id, peer_ids, path, self.clock, guarded=guarded, durability=durability)
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
