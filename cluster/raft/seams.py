"""The seams with pysyncobj 0.3.17: the one file that touches what pysyncobj does not publish.

pysyncobj is used as it is published; nothing of it is copied, and no name-mangled attribute is read or written.

| touched | why |
|---|---|
| `SyncObj._checkCommandsToApply`, overridden | the one place in a tick between applying and sending: hand over, propose |
| `SyncObj._applyCommand` | appends a command without building a pickle of it |
| `SyncObj._idToMethod` | proves that there is exactly one replicated method |
| `SyncObj._isLeader`, `_getLeader` | who leads |
| `Transport._onMessageReceived`, `_onNodeConnected`, `_onReadonlyNodeConnected`, `…Disconnected` | its protected interface for transports |
| its commands of type `MEMBERSHIP` | have pysyncobj change its voters when such an entry is applied |
| `conf.dynamicMembershipChange`, for one message at a time | has pysyncobj take a snapshot's voters |
| message `timeout_now` from `_getLeader()` | has pysyncobj stand for election when `election` says so, and at no other time |
| message `request_vote` with `last_log_term` -1 | has pysyncobj take a later term, and step down, without a vote |
| global `syncobj.pickle` | a command is its payload, or a change of the voters; nothing in the log is ever unpickled |
| globals `syncobj.createJournal`, `createPoller`, `Serializer` | take objects of ours where names were expected |
| message `append_entries` with `serialized` | has pysyncobj go on from a snapshot that is durable and aligned to |
| globals `socket.inet_pton`, `inet_ntop` | put back: pysyncobj's import replaces them with Windows' |
| global `syncobj.PIPE_NOTIFIER_ENABLED` | no pipe that nobody reads, and that is full after 65,536 commands |
| globals `syncobj.monotonicTime`, `random`; `Node.__hash__` | virtual time, and one order of sets, for simulators alone (`virtual_time`) |

The globals are set when this module is imported, for the whole process: nothing else in it may use pysyncobj.

Threads: everything here belongs to the Raft thread.
"""

import _socket
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from garbagetruck.cluster.raft import voter_change, wire
from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.election import Standing
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.replay import LogTuple
from garbagetruck.cluster.raft.log import Entry, Role
from garbagetruck.cluster.raft.poller import NoPoller
from garbagetruck.cluster.raft.settings import APPEND_BATCH_BYTES, RaftSettings
from garbagetruck.cluster.raft.voters import Voters

NEVER_S = 10.0**9  # for pysyncobj's own election timer: `election` decides

_REGULAR, _MEMBERSHIP = bytes([wire.REGULAR]), bytes([wire.MEMBERSHIP])
_APPEND_METHOD = 0
_ROLES = (Role.FOLLOWER, Role.CANDIDATE, Role.LEADER)  # by pysyncobj's own numbers


class _Commands:
    """Stands for `pickle` in pysyncobj.syncobj: the command is the payload of the one method there is, or a change of the
    voters, as pysyncobj has it do (1361).
    """

    @staticmethod
    def loads(data: bytes) -> tuple[int, tuple[bytes]] | list[Any]:
        if data[:1] != voter_change.MARK:
            return _APPEND_METHOD, (data,)
        change = voter_change.decode(data)
        return ["add" if change.kind == "add" else "rem", change.node_id, Node(change.node_id)]


_stock_create_journal = pysyncobj.syncobj.createJournal
_stock_create_poller = pysyncobj.syncobj.createPoller
_stock_serializer = pysyncobj.syncobj.Serializer


def _create_journal(journal: Any) -> Any:
    return journal if isinstance(journal, Journal) else _stock_create_journal(journal)


def _create_poller(poller: Any) -> Any:
    return poller if isinstance(poller, NoPoller) else _stock_create_poller(poller)


def _create_serializer(dump_file: Any, *conf: Any) -> Any:
    return dump_file if isinstance(dump_file, Compaction) else _stock_serializer(dump_file, *conf)


pysyncobj.syncobj.pickle = _Commands
pysyncobj.syncobj.createJournal = _create_journal
pysyncobj.syncobj.createPoller = _create_poller
pysyncobj.syncobj.Serializer = _create_serializer
pysyncobj.syncobj.PIPE_NOTIFIER_ENABLED = False
socket.inet_pton, socket.inet_ntop = _socket.inet_pton, _socket.inet_ntop


@contextmanager
def virtual_time(monotonic_s: Callable[[], float], chance: random.Random) -> Iterator[None]:
    """For simulators: have every pysyncobj of this process ask these for time and chance, and put that back afterwards.
    It walks sets of nodes to say something to everybody: these have hashes meanwhile that are the same in every process.
    """
    stock = pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random, Node.__hash__
    pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random = monotonic_s, chance
    Node.__hash__ = lambda node: crc32(node.id.encode())
    try:
        yield
    finally:
        pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random, Node.__hash__ = stock


class StockTransport(Transport):  # type: ignore[misc]  # pysyncobj is published without annotations
    """What pysyncobj asks of a transport, in terms of node ids and `wire` messages."""

    def __init__(self, consensus: "Consensus") -> None:
        super().__init__(consensus, None, ())
        self._consensus = consensus

    @property
    def ready(self) -> bool:
        """Always: who listens, and since when, is not pysyncobj's concern."""
        return True

    def destroy(self) -> None:
        """Nothing: connections are ended by who opened them."""

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        if "serialized" in message:
            self.snapshot_due(node.id)
            return False
        translated = wire.from_stock(message, self._consensus.term)
        return translated is not None and self.send_to(node.id, translated)

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:
        """Send what pysyncobj has to say. False when there is no connection."""
        raise NotImplementedError

    def snapshot_due(self, node_id: str) -> None:
        """A peer needs what the log has no more. It must be withdrawn before this returns, or pysyncobj goes on asking."""
        raise NotImplementedError

    def addNode(self, node: Node) -> None:  # noqa: N802  # pysyncobj's name
        """It votes from now on."""
        if node.id in self._consensus.sendable:
            self._onNodeConnected(node)

    def dropNode(self, node: Node) -> None:  # noqa: N802  # pysyncobj's name
        """It votes no more, and still hears what is committed, as long as it is connected: that it was removed."""
        is_connected = node.id in self._consensus.sendable
        (self._onReadonlyNodeConnected if is_connected else self._onReadonlyNodeDisconnected)(node)

    def follow(self, node_id: str, term: int) -> None:
        """Have pysyncobj take `node_id` for the leader of `term`, which is not over."""
        message = {"type": "append_entries", "term": term, "commit_index": 0, "serialized": False}
        self._onMessageReceived(Node(node_id), message)

    def install(self, leader_id: str, previous: LogTuple, last: LogTuple) -> None:
        """Have pysyncobj go on from a snapshot that is durable, and that the journal was aligned to; and say so.

        Its voters are those that `Consensus.voters` has by now.
        """
        consensus = self._consensus
        consensus.compaction.go_on_from(previous, last, [Node(each) for each in sorted(consensus.voters.others)])
        message = {"type": "append_entries", "term": consensus.term, "commit_index": last[1], "serialized": True}
        consensus.conf.dynamicMembershipChange = True
        try:
            self._onMessageReceived(Node(leader_id), message)
        finally:
            consensus.conf.dynamicMembershipChange = False
        assert consensus.applied_index == last[1], "pysyncobj did not load the snapshot"
        consensus.unsettled = False
        assert consensus.is_settled, "pysyncobj did not take the voters"

    def deliver(self, node_id: str, message: wire.RaftMessage) -> None:
        """Give pysyncobj a message of a peer, unless it is an answer of one that it keeps no account of."""
        consensus = self._consensus
        is_answer = isinstance(message, wire.NextIndex)
        if not is_answer or node_id in consensus.sendable or consensus.is_other_voter(node_id):
            self._onMessageReceived(Node(node_id), wire.to_stock(message))

    def stand(self) -> None:
        """Have pysyncobj stand for election in the next tick."""
        leader = self._consensus._getLeader()  # noqa: SLF001  # pysyncobj's name; it obeys nobody else, or nobody at all
        self._onMessageReceived(leader, {"type": "timeout_now", "term": self._consensus.term})

    def learn_term(self, term: int) -> None:
        """Have pysyncobj take a later term as a follower, without a vote and without a leader."""
        request = {"type": "request_vote", "term": term, "last_log_index": 0, "last_log_term": -1}
        self._onMessageReceived(self._consensus.selfNode, request)

    def announce(self, node_id: str) -> None:
        """Tell pysyncobj that a peer can be sent to. A node that can send to nobody never stands for election."""
        self._consensus.sendable.add(node_id)
        votes = self._consensus.is_other_voter(node_id)
        (self._onNodeConnected if votes else self._onReadonlyNodeConnected)(Node(node_id))

    def withdraw(self, node_id: str) -> None:
        """Tell pysyncobj that a peer cannot be sent to any more."""
        self._consensus.sendable.discard(node_id)
        votes = self._consensus.is_other_voter(node_id)
        (self._onNodeDisconnected if votes else self._onReadonlyNodeDisconnected)(Node(node_id))


class Consensus(SyncObj):  # type: ignore[misc]  # pysyncobj is published without annotations
    """pysyncobj's Raft, with one replicated method. Opens its transport; raises what that raises.

    `between` is called once in every tick, after applying and before sleeping. `voters` are those as of the snapshot that
    the log begins with, or as of its founding; what changes them later is applied here.
    """

    def __init__(
        self,
        *,
        node_id: str,
        voters: Voters,
        settings: RaftSettings,
        journal: Journal,
        make_transport: Callable[["Consensus"], StockTransport],
        between: Callable[[], None],
    ) -> None:
        self.voters = voters
        self.journal = journal
        self.role = Role.FOLLOWER
        self.applied: list[Entry] = []
        self.sendable: set[str] = set()
        """Peers that pysyncobj believes to be connected."""
        self.compaction = Compaction(journal)
        self.on_change: Callable[[int, voter_change.VoterChange], None] = voters.apply
        """Called when a change of the voters was applied; and with those of a snapshot that the log goes on from."""
        self.on_snapshot: Callable[[int, Mapping[str, str] | None], None] = voters.go_on
        self.unsettled = False
        """Not `is_settled`: `install` is due, of what is applied."""
        self._between = between
        self._stock = make_transport(self)
        super().__init__(
            Node(node_id),
            [Node(each) for each in sorted(voters.others)],
            conf=self._configure(settings),
            transport=self._stock,
        )
        assert len(self._idToMethod) == 1, "a second replicated method would renumber those in every journal"

    def _configure(self, settings: RaftSettings) -> SyncObjConf:
        return SyncObjConf(
            autoTick=False,
            appendEntriesPeriod=settings.heartbeat_ms / 1_000,
            raftMinTimeout=NEVER_S,
            raftMaxTimeout=2 * NEVER_S,
            connectionTimeout=2 * NEVER_S,  # tied to the above by pysyncobj; no transport of ours reads it
            leaderFallbackTimeout=settings.leader_fallback_ms / 1_000,
            appendEntriesUseBatch=False,  # True sends entries with the heartbeats only
            appendEntriesBatchSizeBytes=APPEND_BATCH_BYTES,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            fullDumpFile=self.compaction,
            journalFile=self.journal,
            pollerType=NoPoller(),
            onStateChanged=self._on_state_changed,
        )

    def _on_state_changed(self, _old: int, new: int) -> None:
        self.role = _ROLES[new]

    @replicated  # type: ignore[untyped-decorator]  # pysyncobj is published without annotations
    def append(self, payload: bytes) -> None:
        """The one replicated method. It must not fail: pysyncobj would apply the entry again, for ever."""
        self.applied.append(Entry(self.raftLastApplied + 1, payload))

    def _checkCommandsToApply(self) -> None:  # noqa: N802  # pysyncobj's name
        for index, command in self.journal.changes_after(self.voters.index):
            if index <= self.applied_index:
                self.on_change(index, voter_change.decode(command[1:]))
                self.journal.store_commit_index()
                self.unsettled = not self.is_settled
        if self.role is not Role.FOLLOWER and not self.voters.votes:
            self.learn_term(self.term + 1)  # who was removed leads no longer, and is no candidate
        self._between()

    def propose(self, payload: bytes) -> None:
        """As leader, append `payload` to the log now, and send it. To be called within `between` only."""
        self._append(_REGULAR + payload)

    def propose_change(self, change: voter_change.VoterChange) -> None:
        """As `propose`. pysyncobj does not look whether another change is under way (hazard 17): see `changing`."""
        self._append(_MEMBERSHIP + voter_change.encode(change))

    def _append(self, command: bytes) -> None:
        assert self._isLeader()
        end_index = self.journal.last_index + 1
        self._applyCommand(command, None)
        # When it has spent too long on its queue, pysyncobj leaves a command there; later it would forward it to another.
        while self.journal.last_index < end_index:
            super()._checkCommandsToApply()

    def stand(self) -> None:
        """Stand for election now: raise the term, and ask everybody for a vote.

        Nothing happens in a cluster of several while nobody can be sent to: pysyncobj would remember it, and stand at
        some later time, without asking whether that is still right. Nor does it while this node does not vote, by what
        is committed: a change of the voters that is known to be is applied before anybody's vote is asked for.
        """
        if self.commit_index > self.applied_index:
            self.doTick(0.0)
        if self.voters.votes and not self.unsettled and (self.sendable or self.voters.is_alone):
            self._stock.stand()
            self.doTick(0.0)

    def learn_term(self, term: int) -> None:
        """Take a later term than the present one: a leader steps down, a candidate gives up. No vote is given."""
        assert term > self.term
        self._stock.learn_term(term)

    def send_timeout_now(self, node_id: str | None) -> bool:
        """As leader, have a peer that has the whole log stand for election. False when that is not possible now."""
        outcomes: list[int] = []
        node = None if node_id is None else Node(node_id)
        self.transferLeadership(node, lambda _result, reason: outcomes.append(reason))
        return outcomes == [FAIL_REASON.SUCCESS]

    def is_other_voter(self, node_id: str) -> bool:
        """Whether pysyncobj counts that node's votes and acknowledgements."""
        return Node(node_id) in self.otherNodes

    @property
    def is_settled(self) -> bool:
        """Whether pysyncobj counts those who vote. Not always in a node that joins: it began with what it was told, to which
        pysyncobj applies the changes, where each entry says what there is behind it.
        """
        return {node.id for node in self.otherNodes} == self.voters.others

    @property
    def term(self) -> int:
        return int(self.raftCurrentTerm)

    @property
    def standing(self) -> Standing:
        last_index = self.journal.last_index
        return Standing(self.role, self.term, last_index, self.journal.term_at(last_index) or 0)

    @property
    def leader(self) -> str | None:
        node = self._getLeader()
        return None if node is None else str(node.id)

    @property
    def commit_index(self) -> int:
        return int(self.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self.raftLastApplied)
