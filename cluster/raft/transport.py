"""Connections between Raft nodes, and what stands between them and pysyncobj.

Duty: keep one connection to each peer, over pysyncobj's own sockets; let nobody take part who does not belong; and
give pysyncobj only messages that it handles rightly:

- entries neither repeated by a leader nor cut from a follower (`guard`);
- acknowledgements of the present term only: pysyncobj's carry no term, and would count in a later one;
- no command forwarded after leadership was lost, nor taken from another node.

Invariants: the first frame of either side is a `Hello`, and no other is heard before it; of two nodes the one with the
greater id connects; a peer has at most one connection that is listened to. Loopback only: `Member` sees to it.

A node that was alone is not told at once that it is connected (pysyncobj stands for election as soon as it is, if it
has not heard a leader lately): first it listens for a leader, `rejoin_grace_ms` long. So a node that comes back from a
pause or a cut does not depose a healthy leader.

pysyncobj's connection closes itself when it is used after nothing was read from it for `connection_timeout_ms`; two
followers have nothing to say to each other until they need each other's votes. So each says `Alive` now and then.

Threads: the Raft thread only.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import structlog
from pysyncobj.tcp_connection import TcpConnection

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.guard import Carriage, Fitted, LogView, fit
from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.seams import Consensus, Listener, Poller, StockTransport
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings

STRANGERS_MAX = 16
"""Connections that have not said `Hello` yet. Past it the newest is closed."""

SOCKET_BUFFER_BYTES = 1024 * 1024
"""What is asked of the kernel for each direction, and how much is read at once."""

_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What is used of pysyncobj's TcpConnection."""

    def connect(self, host: str, port: int) -> bool: ...
    def send(self, message: wire.Message) -> None: ...
    def disconnect(self) -> None: ...
    def fileno(self) -> int: ...
    def getSendBufferSize(self) -> int: ...  # noqa: N802  # pysyncobj's name
    def setOnConnectedCallback(self, callback: Callable[[], None]) -> None: ...  # noqa: N802
    def setOnMessageReceivedCallback(self, callback: Callable[[wire.Message], None]) -> None: ...  # noqa: N802
    def setOnDisconnectedCallback(self, callback: Callable[[], None]) -> None: ...  # noqa: N802


class Session:
    """One connection, from its beginning to its end. `peer_id` is None until a stranger has introduced itself."""

    def __init__(self, connection: Connection, *, peer_id: str | None, greet_until_ns: int) -> None:
        self.connection = connection
        self.peer_id = peer_id
        self.greet_until_ns = greet_until_ns
        self.carriage = Carriage()
        self.sent_ns = 0


class GuardedTransport(StockTransport):
    """The transport of one node. Listens from `tryGetReady` to `destroy`.

    `on_echo` is called with (peer id, echo) for every echo to a probe.
    """

    def __init__(
        self,
        consensus: Consensus,
        *,
        identity: Identity,
        members: Mapping[str, Member],
        settings: RaftSettings,
        disks: PeerDisks,
        monotonic_ns: Callable[[], int],
        on_echo: Callable[[str, wire.Echo], None],
    ) -> None:
        super().__init__(consensus)
        self._identity = identity
        self._peers = {each: member for each, member in members.items() if each != identity.node_id}
        self._settings = settings
        self._door = Door(identity, frozenset(self._peers), disks)
        self._monotonic_ns = monotonic_ns
        self._on_echo = on_echo
        self._log_view: LogView = consensus.journal
        self._poller: Poller = consensus.poller
        self._listener = self._make_listener(members[identity.node_id])
        self._ready = False
        self._greeting: set[Session] = set()
        self._sessions: dict[str, Session] = {}
        self._attempted_ns: dict[str, int] = {}
        self._announce_at_ns: int | None = None
        self._fitted: Fitted | None = None
        self.connected: frozenset[str] = frozenset()
        """Peers that pysyncobj was told it can send to."""
        self.counts: Counter[str] = Counter()
        """What was refused, by reason."""
        consensus.addOnTickCallback(self._on_tick)

    # --- what pysyncobj asks for ------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return self._ready

    def tryGetReady(self) -> None:  # noqa: N802  # pysyncobj's name
        """Bind and listen. Raises OSError."""
        self._listener.bind()
        self._ready = True

    def destroy(self) -> None:
        self._peers = {}  # nobody is connected to again
        for session in [*self._greeting, *self._sessions.values()]:
            session.connection.disconnect()
        self._listener.close()

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:  # type: ignore[explicit-override]  # 3.12 has it
        session = self._sessions.get(node_id)
        if session is None:
            return False
        match message:
            case wire.AppendEntries():
                message = session.carriage.strip(message)
            case wire.NextIndex() if self._fitted is not None:
                message = self._fitted.bound(message)
            case _:
                pass
        self._transmit(session, message)
        return self._sessions.get(node_id) is session

    # --- what the engine asks for -----------------------------------------------------------------------------------

    def probe(self, node_id: str, probe: wire.Probe) -> None:
        """Ask a peer whether it still follows; it is not sent when there is no connection."""
        session = self._sessions.get(node_id)
        if session is not None:
            self._transmit(session, probe)

    # --- connections ------------------------------------------------------------------------------------------------

    def _make_listener(self, own: Member) -> Listener:
        return Listener(
            self._poller,
            own.host,
            own.port,
            self._on_accepted,
            on_accept_failed=partial(self._refuse, "accept failed"),
            sendBufferSize=SOCKET_BUFFER_BYTES,
            recvBufferSize=SOCKET_BUFFER_BYTES,
            connectionTimeout=self._settings.connection_timeout_ms / 1_000,
        )

    def _on_tick(self) -> None:
        now_ns = self._monotonic_ns()
        for session in [each for each in self._greeting if each.greet_until_ns <= now_ns]:
            session.connection.disconnect()
        for node_id, peer in self._peers.items():
            if self._identity.node_id > node_id:
                self._connect_if_due(peer, now_ns)
        for session in list(self._sessions.values()):
            if now_ns - session.sent_ns >= self._settings.keep_alive_ms * 1_000_000:
                self._transmit(session, wire.Alive())
        if self._announce_at_ns is not None and self._announce_at_ns <= now_ns:
            self._announce_all()

    def _connect_if_due(self, peer: Member, now_ns: int) -> None:
        if peer.node_id in self._sessions or any(each.peer_id == peer.node_id for each in self._greeting):
            return
        attempted_ns = self._attempted_ns.get(peer.node_id)
        if attempted_ns is not None and now_ns - attempted_ns < self._settings.connection_retry_ms * 1_000_000:
            return
        self._attempted_ns[peer.node_id] = now_ns
        connection: Connection = TcpConnection(
            poller=self._poller,
            timeout=self._settings.connection_timeout_ms / 1_000,
            sendBufferSize=SOCKET_BUFFER_BYTES,
            recvBufferSize=SOCKET_BUFFER_BYTES,
        )
        session = self._open(connection, peer.node_id)
        connection.setOnConnectedCallback(partial(self._greet, session))
        if not connection.connect(peer.host, peer.port):
            self._greeting.discard(session)

    def _on_accepted(self, connection: Connection) -> None:
        session = self._open(connection, None)
        if len(self._greeting) > STRANGERS_MAX:
            self._refuse("too many strangers")
            connection.disconnect()
            self._greeting.discard(session)

    def _open(self, connection: Connection, peer_id: str | None) -> Session:
        greet_until_ns = self._monotonic_ns() + self._settings.handshake_ms_max * 1_000_000
        session = Session(connection, peer_id=peer_id, greet_until_ns=greet_until_ns)
        connection.setOnMessageReceivedCallback(partial(self._on_greeting, session))
        connection.setOnDisconnectedCallback(partial(self._on_disconnected, session))
        self._greeting.add(session)
        return session

    def _on_disconnected(self, session: Session) -> None:
        self._greeting.discard(session)
        if session.peer_id is not None and self._sessions.get(session.peer_id) is session:
            del self._sessions[session.peer_id]
            if not self._sessions:
                self._announce_at_ns = None
            if session.peer_id in self.connected:
                self.connected -= {session.peer_id}
                self.withdraw(session.peer_id)

    def _transmit(self, session: Session, message: wire.Message) -> None:
        connection = session.connection
        session.sent_ns = self._monotonic_ns()
        connection.send(message)
        waiting_bytes = connection.getSendBufferSize()
        if waiting_bytes > self._settings.outgoing_bytes_max:
            self._refuse("peer does not read", peer=session.peer_id)
            connection.disconnect()
        elif waiting_bytes:
            self._poller.await_writable(connection.fileno())

    # --- the handshake ----------------------------------------------------------------------------------------------

    def _greet(self, session: Session) -> None:
        assert session.peer_id is not None
        self._transmit(session, self._door.hello(to=session.peer_id))

    def _on_greeting(self, session: Session, message: wire.Message) -> None:
        match message:
            case wire.Hello():
                reason = self._door.reason_to_refuse(message, session.peer_id)
            case wire.Refused(reason):
                self._refuse("refused by peer", peer=session.peer_id, why=reason)
                session.connection.disconnect()
                return
            case _:
                reason = "no greeting"
        if reason is not None:
            self._refuse(reason, greeting=message)
            self._transmit(session, wire.Refused(reason))
            session.connection.disconnect()
            return
        assert isinstance(message, wire.Hello)
        self._establish(session, message.node_id)

    def _refuse(self, reason: str, **details: Any) -> None:
        """Count, and log the first of its kind."""
        self.counts[reason] += 1
        if self.counts[reason] == 1:
            _log.warning("raft_refused", reason=reason, node=self._identity.node_id, **details)

    def _establish(self, session: Session, peer_id: str) -> None:
        self._greeting.discard(session)
        former = self._sessions.get(peer_id)
        if former is not None:
            former.connection.disconnect()  # what is still in it must not overtake, or be overtaken
        session.connection.setOnMessageReceivedCallback(partial(self._on_message, peer_id, session))
        self._sessions[peer_id] = session
        if session.peer_id is None:
            session.peer_id = peer_id
            self._greet(session)
            if self._sessions.get(peer_id) is not session:
                return  # it broke already
        if self.connected or self._consensus.role is Role.LEADER:
            self._announce_all()
        elif self._announce_at_ns is None:
            self._announce_at_ns = self._monotonic_ns() + self._settings.rejoin_grace_ms * 1_000_000

    def _announce_all(self) -> None:
        self._announce_at_ns = None
        for node_id in sorted(self._sessions.keys() - self.connected):
            self.connected |= {node_id}
            self.announce(node_id)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_message(self, peer_id: str, session: Session, message: wire.Message) -> None:
        term = self._consensus.term
        match message:
            case wire.AppendEntries():
                self._on_append_entries(peer_id, message, term)
            case wire.NextIndex():
                if message.term != term:
                    self.counts["acknowledgement of another term"] += 1  # no news after an election
                    return
                if message.reset:
                    session.carriage.forget()
                self.deliver(peer_id, message)
            case wire.RequestVote() | wire.Vote() | wire.TimeoutNow():
                self.deliver(peer_id, message)
            case wire.Probe():
                if message.term == term and self._consensus.leader == peer_id:
                    self._transmit(session, wire.Echo(term, message.sequence))
            case wire.Echo():
                self._on_echo(peer_id, message)
            case wire.Alive():
                pass
            case wire.Hello() | wire.Refused():
                self._refuse("greeting out of place", peer=peer_id)
                session.connection.disconnect()

    def _on_append_entries(self, peer_id: str, message: wire.AppendEntries, term: int) -> None:
        self._fitted = fit(message, self._log_view) if message.term >= term else None
        try:
            self.deliver(peer_id, message if self._fitted is None else self._fitted.message)
        finally:
            self._fitted = None
        if self._announce_at_ns is not None and self._consensus.leader == peer_id:
            self._announce_all()
