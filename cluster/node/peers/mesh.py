"""The connections between the nodes' main loops: one to each peer, kept for as long as both live.

Duty: listen, call, let in and cut off, by the same rules as Raft's own connections (`cluster.raft.sessions`): mutual TLS
or loopback, a greeting that names cluster, incarnation, disk and format, bounds on everything that waits. Hand what
members say to the half that it is for.
Invariants: of two nodes the one with the greater id connects, and both ask and answer over that connection, so that a
follower never has to connect first when another node becomes the leader.
Must not know: what is asked, who leads.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import Random

from typing_extensions import override

from garbagetruck.cluster.api.ports import NodeStatus
from garbagetruck.cluster.machine.model import Member as MemberRecord
from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.node.peers.calls import PeerCalls
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    OutcomesResponse,
    PeerHandler,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotRequest,
    SnapshotResponse,
    SubmitRequest,
    TransferRequest,
    TransferResponse,
)
from garbagetruck.cluster.node.peers.service import PeerService
from garbagetruck.cluster.node.peers.wire import PEER, KnownPlace, StatusRequest, StatusResponse
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.handshake import Disks, Door
from garbagetruck.cluster.raft.network import Network
from garbagetruck.cluster.raft.peering import Peering
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.sessions import Session, SessionListener
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings

CHECK_MS = 200
"""How often silence is looked for. It is far below what a greeting or a silence may last."""
FAREWELL_S = 1.0
"""How long a stopping node waits for the answers it still owes."""


class MemberDisks(Disks):
    """The disks that the cluster's own record names: `members` is the machine's."""

    def __init__(self, members: Callable[[], Iterable[MemberRecord]]) -> None:
        self._members = members

    @override
    def is_known_or_new(self, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        known = next((each.disk_id for each in self._members() if each.id == node_id), "")
        return known in ("", disk_id)

    @override
    def has_another(self, node_id: str, disk_id: str) -> bool:
        return not self.is_known_or_new(node_id, disk_id)


class PeerMesh(SessionListener):
    """Runs on the node's main loop. `start`, then `stop`.

    `members` are all nodes, this one included, with the addresses of this kind of connection, until `set_members`. `settings` are Raft's:
    what is bounded there is bounded here. `network` is for tests; by default it is TCP. `on_fatal` ends the node.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        members: Sequence[Member],
        disks: Disks,
        settings: RaftSettings,
        outstanding_max: int,
        monotonic_ns: Callable[[], int],
        random: Random,
        on_fatal: Callable[[BaseException], None],
        network: Network | None = None,
    ) -> None:
        self._settings = settings
        self._outstanding_max = outstanding_max
        self._monotonic_ns = monotonic_ns
        self._on_fatal = on_fatal
        self._refusals = Refusals(identity.node_id, monotonic_ns, event="peer_refused")
        self._peering = Peering(
            identity=identity,
            members=members,
            door=lambda peer_ids: Door(
                identity, peer_ids, disks, entry_format=settings.entry_format, protocol=PEER.protocol
            ),
            settings=settings,
            refusals=self._refusals,
            monotonic_ns=monotonic_ns,
            random=Random(random.getrandbits(64)),
            listener=self,
            on_bug=on_fatal,
            language=PEER,
        )
        self._sessions = self._peering.sessions
        self.calls = PeerCalls(find=self._sessions.get, say=self._sessions.send)
        self._service: PeerService | None = None
        self._status: Callable[[], NodeStatus] | None = None
        self._places: Callable[[], tuple[KnownPlace, ...]] = tuple
        self._network = network
        self._is_started = False
        self._timer: asyncio.TimerHandle | None = None
        self._checked_ns = 0

    def serve(
        self,
        handler: PeerHandler,
        status: Callable[[], NodeStatus],
        places: Callable[[], tuple[KnownPlace, ...]] = tuple,
    ) -> None:
        """Say who answers the peers, and where the members are. Before `start`."""
        self._status, self._places = status, places
        self._service = PeerService(
            handler=handler,
            say=self._sessions.send,
            outstanding_max=self._outstanding_max,
            on_fatal=self._on_fatal,
        )

    @property
    def connected(self) -> frozenset[str]:
        """Peers that can be talked to."""
        return self._sessions.connected

    def set_members(self, members: Sequence[Member]) -> None:
        """Talk to these from now on, and to nobody else. This node's own address counts at the next start."""
        self._peering.set_members(members)

    async def start(self) -> None:
        """Listen, and connect to the peers whose ids are less. Raises OSError."""
        assert self._service is not None, "nobody answers the peers"
        await self._peering.start(self._network)
        self._is_started = True
        self._checked_ns = self._monotonic_ns()
        self._schedule_check()

    async def stop(self) -> None:
        """Answer what can be answered soon, and end all connections. Idempotent."""
        if not self._is_started or self._service is None:
            return
        self._is_started = False
        await self._peering.leave()
        await self._service.finish(FAREWELL_S)
        if self._timer is not None:
            self._timer.cancel()
        self._peering.close()

    def _schedule_check(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CHECK_MS / 1_000, self._check)

    def _check(self) -> None:
        now_ns = self._monotonic_ns()
        held_up_ms = (now_ns - self._checked_ns) // NS_PER_MS - CHECK_MS
        self._checked_ns = now_ns
        if held_up_ms > self._settings.keep_alive_ms:
            self._sessions.excuse_silence()  # this process stood still: what arrived meanwhile is read first
        else:
            self._sessions.check()
        self._schedule_check()

    # -- sessions ---------------------------------------------------------------------------------------------

    @override
    def on_session(self, session: Session) -> None:
        """Nothing is said before somebody asks."""

    @override
    def on_session_message(self, session: Session, message: Frame) -> None:
        assert self._service is not None
        match message:
            case SubmitRequest() | ReadIndexRequest() | TransferRequest() | SnapshotRequest():
                self._service.hear(session, message)
            case OutcomesResponse() | ReadIndexResponse() | TransferResponse() | SnapshotResponse() | FailureResponse():
                self.calls.hear(session, message)
            case StatusRequest():
                self._sessions.send(session, self._status_response(message))
            case StatusResponse():
                self.calls.hear_status(session, message)
            case _:
                raise AssertionError(f"sessions pass on {message!r}")

    @override
    def on_session_ended(self, session: Session) -> None:
        assert self._service is not None
        self.calls.ended(session)
        self._service.ended(session)

    def _status_response(self, request: StatusRequest) -> StatusResponse:
        assert self._status is not None
        own = self._status()
        return StatusResponse(
            id=request.id,
            role=own.role.value,
            term=own.term,
            applied_index=own.applied_index,
            commit_index=own.commit_index,
            version=own.version,
            digest=own.digest,
            clock_ms=own.clock_ms,
            storage_low=own.storage_low,
            membership_waits=own.membership_waits,
            cleanups_held=own.cleanups_held,
            leader_id=own.leader_id,
            voters_apart=own.voters_apart,
            places=self._places(),
            archive_waits=own.archive_waits,
            unknown_handlers=own.unknown_handlers,
        )
