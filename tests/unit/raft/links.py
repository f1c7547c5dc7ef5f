"""Time and connections of the stage: all that happens on them is a test's own doing."""

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.link import Channel, LinkOwner
from garbagetruck.cluster.raft.seams import Consensus, StockTransport
from garbagetruck.cluster.raft.sessions import Session
from garbagetruck.cluster.raft.tls import PeerNames
from garbagetruck.cluster.raft.voters import Voters, founders_of


def voting(node_id: str, *others: str) -> Voters:
    """The voters as a founder of that name has them before the first entry."""
    voters = Voters(node_id, f"disk-{node_id}")
    voters.begin(founders_of((node_id, *others)), is_founder=True)
    return voters


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


class FakeLink(Channel):
    """A link whose other end is the test. Ends at once, and says so, like no real one."""

    def __init__(
        self,
        owner: LinkOwner,
        clock: VirtualTime,
        *,
        expected: str | None = None,
        names: PeerNames | None = None,
        address: str = "192.0.2.1",
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._expected = expected
        self._names = names
        self._address = address
        self._read_ns = clock.now_ns
        self.sent: list[wire.Message] = []
        self.unread_bytes = 0
        self.is_open = True
        self.frame_bytes_max = 0

    def open(self) -> "FakeLink":
        self._owner.on_open(self)
        return self

    def hear(self, message: wire.Message) -> None:
        self._read_ns = self._clock.now_ns
        self._owner.on_message(self, wire.decode(wire.encode(message)))

    @property
    def expected(self) -> str | None:  # type: ignore[explicit-override]  # 3.12 has it
        return self._expected

    @property
    def address(self) -> str:  # type: ignore[explicit-override]
        return self._address

    @property
    def names(self) -> PeerNames | None:  # type: ignore[explicit-override]
        return self._names

    @property
    def read_ns(self) -> int:  # type: ignore[explicit-override]
        return self._read_ns

    @property
    def waiting_bytes(self) -> int:  # type: ignore[explicit-override]
        return self.unread_bytes

    def allow(self, frame_bytes_max: int) -> None:  # type: ignore[explicit-override]
        self.frame_bytes_max = frame_bytes_max

    def forgive(self, since_ns: int) -> None:  # type: ignore[explicit-override]
        self._read_ns = max(self._read_ns, since_ns)

    def send(self, message: Frame) -> None:  # type: ignore[explicit-override]
        if self.is_open:
            self.sent.append(wire.decode(wire.encode(message)))

    async def drain(self) -> None:  # type: ignore[explicit-override]
        """Nothing waits for the test."""

    def abort(self) -> None:  # type: ignore[explicit-override]
        if self.is_open:
            self.is_open = False
            self._owner.on_lost(self)

    def close(self) -> None:  # type: ignore[explicit-override]
        self.abort()


class Plug:
    """A connection of a bare node."""

    def __init__(self, transport: "BareTransport", peer_id: str) -> None:
        self.sent: list[wire.Message] = []
        self._transport = transport
        self._peer_id = peer_id

    def hear(self, message: wire.Message) -> None:
        if isinstance(message, wire.RaftMessage):
            self._transport.deliver(self._peer_id, message)

    def abort(self) -> None:
        del self._transport.plugs[self._peer_id]
        self._transport.withdraw(self._peer_id)


class BareTransport(StockTransport):
    """No guard: pysyncobj's messages go out, and come in, as they are."""

    def __init__(self, consensus: Consensus) -> None:
        super().__init__(consensus)
        self.plugs: dict[str, Plug] = {}

    def connect(self, peer_id: str) -> Plug:
        plug = self.plugs[peer_id] = Plug(self, peer_id)
        self.announce(peer_id)
        return plug

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:  # type: ignore[explicit-override]
        plug = self.plugs.get(node_id)
        if plug is not None:
            plug.sent.append(wire.decode(wire.encode(message)))
        return plug is not None


class _Nobody:
    """Hears nothing."""

    def on_session(self, session: Session) -> None: ...
    def on_session_message(self, session: Session, message: Frame) -> None: ...
    def on_session_ended(self, session: Session) -> None: ...


NOBODY = _Nobody()
