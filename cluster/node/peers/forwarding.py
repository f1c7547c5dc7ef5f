"""Forwarding: a follower's way to the leader, and the leader's answer.

Duty: keep one connection to the node that leads (`Forwarder`); serve what arrives over such connections
(`ForwardHandler`).
Invariants: the leader checks every forwarded operation again, for a door may be older, or wrong; what it refuses has no
part in the batch. An error tells exactly what is known (`api.gateway`).
Must not know: what carries the messages; how operations are applied.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping

from typing_extensions import override

from garbagetruck.cluster.api.gateway import (
    Draining,
    MemberUnreachable,
    NoLeader,
    NoQuorum,
    OperatingError,
    OutcomeUnknown,
    StorageAbsent,
)
from garbagetruck.cluster.api.snapshots import SnapshotRecord
from garbagetruck.cluster.machine.codec import Unreadable, decode_operations, encode_operations, encode_outcomes
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import ForwardedOperation, RegisterMember, ReportDigest
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.machine.validation import check_operation
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.peers.connection import MessageBounds, PeerConnection
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    LinkBrokenError,
    OutcomesResponse,
    PeerHandler,
    PeerLink,
    PeerRequest,
    PeerResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotRequest,
    SnapshotResponse,
    SubmitRequest,
    TransferRequest,
    TransferResponse,
    failure,
    stray,
    told,
)
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.node.waiting_room import cut

RETIREMENT_S = 30.0
"""How long the connection to a former leader is kept for answers to what it was asked."""

TIMEOUT_MS_MAX = 300_000
"""The longest that a forwarded operation may wait at the leader, whatever the follower asks."""


ASKED_SHARE = 0.9
"""What a peer that is asked for a snapshot gets of the caller's time, so that its answer comes in time."""


def _unheard(report: ReportDigest) -> None:
    """Tell nobody."""


async def _no_snapshot(_request_id: str, _timeout_s: float) -> SnapshotRecord:
    raise StorageAbsent("this node keeps no copies outside the nodes")


class Forwarder:
    """The follower's side. Runs on the node's main loop."""

    def __init__(self, *, link: PeerLink, bounds: MessageBounds, on_fatal: Callable[[BaseException], None]) -> None:
        self._link = link
        self._bounds = bounds
        self._on_fatal = on_fatal
        self._connections: dict[str, PeerConnection] = {}
        """To the node that leads; by its id."""
        self._retired: list[PeerConnection] = []
        self._serials = itertools.count(1)

    async def submit(
        self, leader_id: str, operations: tuple[ForwardedOperation, ...], *, timeout_s: float
    ) -> tuple[Outcome, ...]:
        """Have the leader commit the operations. Raises `OperatingError`s as their names say."""
        encoded = encode_operations(operations)
        if len(operations) <= self._bounds.operations_max and len(encoded) <= self._bounds.bytes_max:
            return await self._connection(leader_id).submit(operations, encoded, timeout_s=timeout_s)
        return await self._submit_pieces(leader_id, operations, timeout_s)

    async def _submit_pieces(
        self, leader_id: str, operations: tuple[ForwardedOperation, ...], timeout_s: float
    ) -> tuple[Outcome, ...]:
        """What does not fit into one message goes in several, one after the other."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        outcomes: list[Outcome] = []
        for piece, _ in cut(operations, self._bounds.operations_max, self._bounds.bytes_max):
            connection = self._connection(leader_id)
            try:
                remaining_s = max(0.0, deadline_s - loop.time())
                outcomes += await connection.submit(piece, encode_operations(piece), timeout_s=remaining_s)
            except OperatingError as error:
                if outcomes:
                    message = f"one part was applied, of the others it is not known: {error}"
                    raise OutcomeUnknown(message, leader=error.leader) from error
                raise
        return tuple(outcomes)

    async def read_index(self, leader_id: str) -> ReadIndexResponse:
        """Ask the leader how far a read that begins now must have applied. The caller sets the deadline."""
        return await self._connection(leader_id).read_index()

    async def transfer_leadership(self, leader_id: str, to: str) -> str:
        """Have the leader hand over; the answer is who leads then. The caller sets the deadline.

        Raises the leader's `OperatingError`s, `NoLeader` when it was not asked, `OutcomeUnknown` when it did not answer.
        """
        sent = False
        try:
            stream = await self._link.connect(leader_id)
            try:
                await stream.send(TransferRequest(next(self._serials), to))
                sent = True
                response = await stream.receive()
            finally:
                await stream.close()
        except LinkBrokenError as error:
            if sent:
                raise OutcomeUnknown(f"the leader, {leader_id}, was asked to hand over, and left: {error}") from error
            raise NoLeader(f"the leader, {leader_id}, cannot be reached: {error}; nothing was handed over") from error
        if isinstance(response, TransferResponse):
            return response.leader_id
        if isinstance(response, FailureResponse):
            raise told(response)
        raise OutcomeUnknown(f"the leader, {leader_id}, answered with something else than was asked")

    async def create_snapshot(self, node_id: str, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        """Have a node take a snapshot and copy it. Raises that node's `OperatingError`s, `MemberUnreachable` when it was not
        asked, and `OutcomeUnknown` when it did not answer.
        """
        sent = False
        try:
            async with asyncio.timeout(timeout_s):
                stream = await self._link.connect(node_id)
                try:
                    request = SnapshotRequest(next(self._serials), request_id, int(timeout_s * ASKED_SHARE * 1_000))
                    await stream.send(request)
                    sent = True
                    response = await stream.receive()
                finally:
                    await stream.close()
        except (LinkBrokenError, TimeoutError) as error:
            if sent:
                raise OutcomeUnknown(f"{node_id} was asked for a snapshot, and did not answer: {error}") from error
            raise MemberUnreachable(f"{node_id} cannot be reached from here: {error}; nothing was done") from error
        if isinstance(response, SnapshotResponse):
            return response.snapshot
        if isinstance(response, FailureResponse):
            raise told(response)
        raise OutcomeUnknown(f"{node_id} answered with something else than was asked")

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        self._retire_all()
        for connection in list(self._retired):
            await connection.stop()

    def _connection(self, node_id: str) -> PeerConnection:
        connection = self._connections.get(node_id)
        if connection is None:
            self._retire_all()
            connection = PeerConnection(
                node_id=node_id,
                link=self._link,
                bounds=self._bounds,
                serials=self._serials,
                on_end=self._ended,
                on_fatal=self._on_fatal,
            )
            self._connections[node_id] = connection
            connection.start()
        return connection

    def _retire_all(self) -> None:
        """Another node leads. What is under way to the former leader may still be answered, for a while."""
        for connection in self._connections.values():
            self._retired.append(connection)
            connection.retire(RETIREMENT_S)
        self._connections.clear()

    def _ended(self, connection: PeerConnection) -> None:
        if self._connections.get(connection.node_id) is connection:
            del self._connections[connection.node_id]
        elif connection in self._retired:
            self._retired.remove(connection)


class ForwardHandler(PeerHandler):
    """The leader's side. Runs on the node's main loop."""

    def __init__(
        self,
        *,
        machine: Machine,
        queue: CommitQueue,
        leadership: Leadership,
        read_index: ReadIndex,
        api_addresses: Mapping[str, str],
        on_report: Callable[[ReportDigest], None] = _unheard,
    ) -> None:
        """`on_report` hears of every digest that a node reports to this leader, before it is in the log."""
        self._on_report = on_report
        self._machine = machine
        self._queue = queue
        self._leadership = leadership
        self._read_index = read_index
        self._api_addresses = api_addresses
        self._draining = False
        self.take_snapshot: Callable[[str, float], Awaitable[SnapshotRecord]] = _no_snapshot
        """Takes this node's, for the request id and within the seconds that a peer gives."""

    def drain(self) -> None:
        """Take nothing more; callers try the next leader."""
        self._draining = True

    @override
    async def handle(self, request: PeerRequest) -> PeerResponse:
        try:
            if self._draining:
                raise Draining("the leader is shutting down; nothing was applied")
            if isinstance(request, SnapshotRequest):
                return SnapshotResponse(
                    request.id, await self.take_snapshot(request.request_id, self._timeout_s(request))
                )
            if self._leadership.leading and not self._leadership.in_touch:
                raise NoQuorum("no majority answers the leader; nothing was applied")
            if isinstance(request, ReadIndexRequest):
                confirmed = await self._read_index.confirm()
                return ReadIndexResponse(request.id, confirmed.commit_index, confirmed.clock_ms, confirmed.term)
            if isinstance(request, TransferRequest):
                return TransferResponse(request.id, await self._leadership.transfer(request.to))
            operations = decode_operations(request.operations)
            outcomes = await self._commit(operations, self._timeout_s(request))
            return OutcomesResponse(request.id, encode_outcomes(outcomes))
        except Unreadable as error:
            return stray(request.id, str(error))
        except OperatingError as error:
            if error.leader is None:
                error.leader = self._api_addresses.get(self._leadership.leader_id or "")
            return failure(request.id, error)

    def _timeout_s(self, request: SubmitRequest | SnapshotRequest) -> float:
        return min(max(1, request.timeout_ms), TIMEOUT_MS_MAX) / 1_000

    async def _commit(self, operations: tuple[ForwardedOperation, ...], timeout_s: float) -> tuple[Outcome, ...]:
        for each in operations:
            if isinstance(each, ReportDigest):
                self._on_report(each)
        bounds = self._machine.bounds
        refusals = [
            None if isinstance(operation, RegisterMember | ReportDigest) else check_operation(operation, bounds)
            for operation in operations
        ]
        accepted = [each for each, refusal in zip(operations, refusals, strict=True) if refusal is None]
        outcomes = iter(await self._queue.submit(accepted, timeout_s=timeout_s))
        return tuple(next(outcomes) if refusal is None else refusal for refusal in refusals)
