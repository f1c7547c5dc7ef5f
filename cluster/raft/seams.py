"""The seams with pysyncobj 0.3.17: the one file that touches what pysyncobj does not publish.

pysyncobj is used as it is published; nothing of it is copied, and no name-mangled attribute is read or written.

| touched | why |
|---|---|
| `SyncObj._checkCommandsToApply`, overridden | the one place in a tick between applying and sleeping: hand over, propose |
| `SyncObj._applyCommand` | appends a command without building a pickle of it |
| `SyncObj._idToMethod` | proves that there is exactly one replicated method |
| `SyncObj._isLeader`, `_getLeader` | who leads |
| `SyncObj._poller` | the transport's sockets and the wake-up pipe wait where pysyncobj waits |
| `Transport._onMessageReceived`, `_onNodeConnected`, `_onNodeDisconnected` | its protected interface for transports |
| `PollPoller.subscribe`, `unsubscribe` | see `Poller` |
| `TcpServer.unbind`, overridden | it is called after a failed accept, and ends listening for good |
| global `syncobj.pickle` | a command is its payload; nothing in the log is ever unpickled |
| globals `tcp_connection.pickle`, `tcp_connection.zlib` | frames are `wire` messages, uncompressed |
| globals `syncobj.createJournal`, `syncobj.createPoller` | take objects of ours where names were expected |
| global `journal.MetaStorer` (in our `journal`) | a damaged vote is refused, not taken for none |

The globals are set when this module is imported, for the whole process: nothing else in it may use pysyncobj.

Threads: everything here belongs to the Raft thread, but for `WakeUp`.
"""

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pysyncobj.syncobj
import pysyncobj.tcp_connection
import structlog
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node
from pysyncobj.poller import POLL_EVENT_TYPE, PollPoller
from pysyncobj.tcp_server import TcpServer
from pysyncobj.transport import Transport

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.journal import Journal
from garbagetruck.cluster.raft.log import Entry, Role
from garbagetruck.cluster.raft.settings import APPEND_BATCH_BYTES, RaftSettings

_log = structlog.get_logger(__name__)

_REGULAR = bytes([wire.REGULAR])
_APPEND_METHOD = 0
_ROLES = (Role.FOLLOWER, Role.CANDIDATE, Role.LEADER)
"""By pysyncobj's own numbers."""


class _Commands:
    """Stands for `pickle` in pysyncobj.syncobj: the command is the payload of the one method there is."""

    @staticmethod
    def loads(data: bytes) -> tuple[int, tuple[bytes]]:
        return _APPEND_METHOD, (data,)


class _Frames:
    """Stands for `pickle` in pysyncobj.tcp_connection. A frame that does not decode ends its connection."""

    dumps = staticmethod(wire.encode)

    @staticmethod
    def loads(data: bytes) -> wire.Message:
        try:
            return wire.decode(data)
        except msgspec.MsgspecError as error:
            _log.warning("raft_frame_malformed", error=str(error), size_bytes=len(data))
            raise


class _Uncompressed:
    """Stands for `zlib` in pysyncobj.tcp_connection: compressing costs more than the loopback interface does."""

    @staticmethod
    def compress(data: bytes, _level: int) -> bytes:
        return data

    @staticmethod
    def decompress(data: bytes) -> bytes:
        return data


_stock_create_journal = pysyncobj.syncobj.createJournal
_stock_create_poller = pysyncobj.syncobj.createPoller


def _create_journal(journal: Any) -> Any:
    return journal if isinstance(journal, Journal) else _stock_create_journal(journal)


def _create_poller(poller: Any) -> Any:
    return poller if isinstance(poller, Poller) else _stock_create_poller(poller)


pysyncobj.syncobj.pickle = _Commands
pysyncobj.syncobj.createJournal = _create_journal
pysyncobj.syncobj.createPoller = _create_poller
pysyncobj.tcp_connection.pickle = _Frames
pysyncobj.tcp_connection.zlib = _Uncompressed


class Poller(PollPoller):  # type: ignore[misc]  # pysyncobj is published without annotations
    """pysyncobj's poller, which can also be told that a connection still has something to write.

    pysyncobj's connection asks to be told of writability only while it handles it; the rest of a message larger than
    the socket's buffer would wait for the next heartbeat.
    """

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: dict[int, Callable[[int, int], None]] = {}

    def subscribe(self, descr: int, callback: Callable[[int, int], None], eventMask: int) -> None:  # noqa: N803
        self._callbacks[descr] = callback
        super().subscribe(descr, callback, eventMask)

    def unsubscribe(self, descr: int) -> None:
        self._callbacks.pop(descr, None)
        super().unsubscribe(descr)

    def await_writable(self, descr: int) -> None:
        """Call back the subscriber of `descr` as soon as it can be written to."""
        mask = POLL_EVENT_TYPE.READ | POLL_EVENT_TYPE.WRITE | POLL_EVENT_TYPE.ERROR
        super().subscribe(descr, self._callbacks[descr], mask)


class WakeUp:
    """Ends the Raft thread's sleep. Made on the Raft thread; set, and at last closed, on one other."""

    def __init__(self, poller: Poller) -> None:
        self._is_set = False
        self._read_descr, self._write_descr = os.pipe()
        os.set_blocking(self._read_descr, False)
        os.set_blocking(self._write_descr, False)
        poller.subscribe(self._read_descr, self._clear, POLL_EVENT_TYPE.READ)

    def set(self) -> None:
        """Wake the Raft thread. What was enqueued before this call is seen by it."""
        if not self._is_set:
            self._is_set = True
            os.write(self._write_descr, b"\0")

    def _clear(self, _descr: int, _event: int) -> None:
        os.read(self._read_descr, 64)
        self._is_set = False  # before the queues are looked at, so that a later `set` writes again

    def close(self) -> None:
        """To be called when the Raft thread has ended. `set` does nothing from then on."""
        self._is_set = True
        os.close(self._read_descr)
        os.close(self._write_descr)


class Listener(TcpServer):  # type: ignore[misc]  # pysyncobj is published without annotations
    """pysyncobj's listening socket, which goes on listening after an accept failed."""

    def __init__(self, *args: Any, on_accept_failed: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_accept_failed = on_accept_failed
        self._closing = False

    def unbind(self) -> None:
        if self._closing:
            super().unbind()
        else:
            self._on_accept_failed()

    def close(self) -> None:
        self._closing = True
        self.unbind()


class StockTransport(Transport):  # type: ignore[misc]  # pysyncobj is published without annotations
    """What pysyncobj asks of a transport, in terms of node ids and `wire` messages."""

    def __init__(self, consensus: "Consensus") -> None:
        super().__init__(consensus, None, ())
        self._consensus = consensus

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        translated = wire.from_stock(message, self._consensus.term)
        return translated is not None and self.send_to(node.id, translated)

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:
        """Send what pysyncobj has to say. False when there is no connection."""
        raise NotImplementedError

    def deliver(self, node_id: str, message: wire.RaftMessage) -> None:
        """Give pysyncobj a message of a peer."""
        self._onMessageReceived(self._consensus.nodes[node_id], wire.to_stock(message))

    def announce(self, node_id: str) -> None:
        """Tell pysyncobj that a peer can be sent to. A node that can send to nobody never stands for election."""
        self._onNodeConnected(self._consensus.nodes[node_id])

    def withdraw(self, node_id: str) -> None:
        """Tell pysyncobj that a peer cannot be sent to any more."""
        self._onNodeDisconnected(self._consensus.nodes[node_id])


class Consensus(SyncObj):  # type: ignore[misc]  # pysyncobj is published without annotations
    """pysyncobj's Raft, with one replicated method. Opens its transport; raises what that raises.

    `between` is called once in every tick, after applying and before sleeping.
    """

    def __init__(
        self,
        *,
        node_id: str,
        peer_ids: frozenset[str],
        settings: RaftSettings,
        journal: Journal,
        make_transport: Callable[["Consensus"], StockTransport],
        between: Callable[[], None],
    ) -> None:
        self.nodes = {each: Node(each) for each in (node_id, *sorted(peer_ids))}
        self.journal = journal
        self.poller = Poller()
        self.role = Role.FOLLOWER
        self.applied: list[Entry] = []
        self._between = between
        super().__init__(
            self.nodes[node_id],
            [self.nodes[each] for each in sorted(peer_ids)],
            conf=self._configure(settings),
            transportClass=lambda *_: make_transport(self),
        )
        assert len(self._idToMethod) == 1, "a second replicated method would renumber those in every journal"

    def _configure(self, settings: RaftSettings) -> SyncObjConf:
        return SyncObjConf(
            autoTick=False,
            appendEntriesPeriod=settings.heartbeat_ms / 1_000,
            raftMinTimeout=settings.election_timeout_ms_min / 1_000,
            raftMaxTimeout=settings.election_timeout_ms_max / 1_000,
            leaderFallbackTimeout=settings.leader_fallback_ms / 1_000,
            connectionTimeout=settings.connection_timeout_ms / 1_000,
            appendEntriesUseBatch=False,  # True sends entries with the heartbeats only
            appendEntriesBatchSizeBytes=APPEND_BATCH_BYTES,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            # No compaction: its dump and its journal do not survive a crash together.
            fullDumpFile=None,
            logCompactionMinEntries=2**62,
            logCompactionMinTime=2**62,
            journalFile=self.journal,
            pollerType=self.poller,
            onStateChanged=self._on_state_changed,
        )

    def _on_state_changed(self, _old: int, new: int) -> None:
        self.role = _ROLES[new]

    @replicated  # type: ignore[untyped-decorator]  # pysyncobj is published without annotations
    def append(self, payload: bytes) -> None:
        """The one replicated method. It must not fail: pysyncobj would apply the entry again, for ever."""
        self.applied.append(Entry(self.raftLastApplied + 1, payload))

    def _checkCommandsToApply(self) -> None:  # noqa: N802  # pysyncobj's name
        self._between()

    def propose(self, payload: bytes) -> None:
        """As leader, append `payload` to the log now, and send it. To be called within `between` only."""
        assert self._isLeader()
        end_index = self.journal.last_index + 1
        self._applyCommand(_REGULAR + payload, None)
        # pysyncobj leaves a command in its queue when it believes that it has spent too long on the queue; later, under
        # another leader, it would forward it.
        while self.journal.last_index < end_index:
            super()._checkCommandsToApply()

    def hear(self) -> None:
        """Handle what has arrived, and nothing else."""
        self._poller.poll(0)

    def send_timeout_now(self, node_id: str | None) -> bool:
        """As leader, have a peer that has the whole log stand for election. False when that is not possible now."""
        outcomes: list[int] = []
        node = None if node_id is None else self.nodes[node_id]
        self.transferLeadership(node, lambda _result, reason: outcomes.append(reason))
        return outcomes == [FAIL_REASON.SUCCESS]

    @property
    def term(self) -> int:
        return int(self.raftCurrentTerm)

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
