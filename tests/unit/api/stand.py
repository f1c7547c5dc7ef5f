"""A whole API over a bare machine: a real server on a free port, a real channel, and no cluster behind it.

Duty: the ports of the API implemented as simply as can be. Batches are applied at once, by the machine itself.
It must not know: how operations travel in a real node.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from garbagetruck.cluster.api.calls import CallInterceptor, CallLimits
from garbagetruck.cluster.api.door import Door, DoorLimits
from garbagetruck.cluster.api.gateway import Consistency, Header, OperatingError, ReadView
from garbagetruck.cluster.api.ports import InvalidParameters, NodeRole, NodeStatus, PeerUnreachable, UnknownHandler
from garbagetruck.cluster.api.server import ApiServer, ServerOptions, public_services
from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import CleanupSpec, Member
from garbagetruck.cluster.machine.operations import (
    BATCH_FORMAT,
    Batch,
    ClientOperation,
    CreateCluster,
    EnterEpoch,
    Operation,
)
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.v1 import (
    cleanup_pb2_grpc,
    cluster_pb2_grpc,
    event_pb2_grpc,
    lease_pb2_grpc,
    namespace_pb2_grpc,
    resource_pb2_grpc,
    session_pb2_grpc,
)
from tests.unit.api.outside import Outside

NODES = tuple(
    Member(f"n{i}", f"127.0.0.1:{7100 + i}", f"127.0.0.1:{7200 + i}", f"127.0.0.1:{7300 + i}", "0.1.0", f"d{i}", 1)
    for i in (1, 2, 3)
)


class BareGateway:
    """Applies what it is given at once; fails when told to."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.clock_ms = 1_000
        self.failure: OperatingError | None = None
        """Raised by every submission and linearizable read while set."""
        self.submitted: list[ClientOperation] = []
        self.timeouts_s: list[float] = []
        self.reads: list[Consistency] = []
        self.leader_id = "n1"
        self.blocked: asyncio.Event | None = None
        """Submissions wait for it while set."""
        self._asked = asyncio.Condition()
        self._sequence = itertools.count(1)
        self._applied = asyncio.Condition()
        self.apply(EnterEpoch("n1"), CreateCluster("c-1", 1, NODES))

    def apply(self, *operations: Operation, at_ms: int = 0) -> tuple[Outcome, ...]:
        self.clock_ms = max(self.clock_ms, at_ms)
        batch = Batch(BATCH_FORMAT, 1, self.clock_ms, "n1", next(self._sequence), operations)
        return self.machine.apply(codec.encode_batch(batch)).outcomes

    def header(self) -> Header:
        leader = next((node.api for node in NODES if node.id == self.leader_id), "")
        return Header("c-1", "n1", self.leader_id, leader, 1, 7, self.clock_ms, 0, self.machine.incarnation)

    def entered_ms(self) -> int:
        return self.clock_ms

    async def submit(self, operations: Sequence[ClientOperation], *, timeout_s: float) -> Sequence[Outcome]:
        assert timeout_s > 0
        async with self._asked:
            self.timeouts_s.append(timeout_s)
            self._asked.notify_all()
        if self.failure is not None:
            raise self.failure
        if self.blocked is not None:
            await self.blocked.wait()
        self.submitted.extend(operations)
        outcomes = self.apply(*operations)
        async with self._applied:
            self._applied.notify_all()
        return outcomes

    async def asked(self, times: int) -> None:
        """Wait until so many submissions have been made."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.timeouts_s) >= times)

    async def read(self, consistency: Consistency, *, timeout_s: float) -> ReadView:
        assert timeout_s > 0
        self.reads.append(consistency)
        if consistency is Consistency.STALE:
            return ReadView(self.machine, self.clock_ms, 7, 12)
        if self.failure is not None:
            raise self.failure
        return ReadView(self.machine, self.clock_ms, 7, 0)

    async def transfer_leadership(self, to: str, *, timeout_s: float) -> str:
        assert timeout_s > 0
        if self.failure is not None:
            raise self.failure
        self.leader_id = to or "n2"
        return self.leader_id

    async def wait_applied_past(self, event_index: int) -> None:
        async with self._applied:
            await self._applied.wait_for(lambda: self.machine.event_index > event_index)


class OnlyFiles:
    """Knows one handler, `file`, with one parameter, `path`."""

    def complete(self, handler: str, parameters: Mapping[str, str]) -> CleanupSpec:
        if handler != "file":
            raise UnknownHandler(handler, ("file",))
        for key in parameters:
            if key != "path":
                raise InvalidParameters(key, "is not a parameter of this handler", "give path only")
        if "path" not in parameters:
            raise InvalidParameters("path", "is missing", "name the file")
        return CleanupSpec(handler, tuple(sorted(parameters.items())), f"file:/{parameters['path']}")


class OnlyLoopback:
    """Will have nobody from elsewhere."""

    def problem(self, member: Member) -> tuple[str, str] | None:
        return None if member.raft.startswith("127.") else ("raft", f"{member.raft} is not on this machine")


class Peers:
    """n1 is this node; the others say what they are told to."""

    def __init__(self) -> None:
        self.statuses = {
            node.id: NodeStatus(
                node.id, NodeRole.LEADER if node.id == "n1" else NodeRole.FOLLOWER, 1, 7, 7, "0.1.0", 99, 1_000
            )
            for node in NODES
        }
        self.silent: set[str] = set()
        """Asked, they never answer."""
        self.unreachable: set[str] = set()

    def own(self) -> NodeStatus:
        return self.statuses["n1"]

    async def ask(self, member: Member) -> NodeStatus:
        if member.id in self.unreachable or member.id not in self.statuses:
            raise PeerUnreachable(member.id)
        if member.id in self.silent:
            await asyncio.Event().wait()
        return self.statuses[member.id]


class Tally:
    """Counts calls by method and code."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, str]] = []
        self.started: list[str] = []
        self.some_finished = asyncio.Event()

    def method(self, service: str, method: str, kind: str) -> "MethodTally":
        assert kind in {"unary", "server_stream", "bidi_stream"}
        return MethodTally(self, f"{service}/{method}")


class MethodTally:
    def __init__(self, tally: Tally, name: str) -> None:
        self._tally = tally
        self._name = name

    def started(self) -> None:
        self._tally.started.append(self._name)

    def finished(self, code: str, seconds: float) -> None:
        assert seconds >= 0
        self._tally.finished.append((self._name, code))
        self._tally.some_finished.set()


class Stand:
    """One node's API, and a client's stubs to it."""

    def __init__(self, door_limits: DoorLimits, call_limits: CallLimits) -> None:
        self.gateway = BareGateway()
        self.peers = Peers()
        self.outside = Outside()
        self.tally = Tally()
        self.ready = True
        self.door_limits = door_limits
        self.calls = CallInterceptor(self.tally, self.gateway.header, call_limits, itertools.count().__next__)
        numbers = itertools.count(1)
        self.door = Door(
            self.gateway, lambda: self.gateway.machine, OnlyFiles(), lambda: f"{next(numbers):026d}", door_limits
        )
        self.server = ApiServer(
            "127.0.0.1:0",
            public_services(self.door, self.peers, OnlyLoopback(), self.outside),
            self.calls,
            lambda: self.ready,
            ServerOptions(readiness_interval_ms=5),
        )
        self.channel: aio.Channel
        self.port: int

    def connect(self, port: int) -> None:
        self.port = port
        self.channel = aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.enable_retries", 0),))
        self.leases = lease_pb2_grpc.LeaseServiceStub(self.channel)
        self.sessions = session_pb2_grpc.SessionServiceStub(self.channel)
        self.resources = resource_pb2_grpc.ResourceServiceStub(self.channel)
        self.cleanups = cleanup_pb2_grpc.CleanupServiceStub(self.channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(self.channel)
        self.namespaces = namespace_pb2_grpc.NamespaceServiceStub(self.channel)
        self.events = event_pb2_grpc.EventServiceStub(self.channel)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """What happens inside leaves no trace: nothing submitted, and the machine's digest as it was."""
        before = (self.gateway.machine.digest(), len(self.gateway.submitted))
        yield
        assert (self.gateway.machine.digest(), len(self.gateway.submitted)) == before


@asynccontextmanager
async def stand(door_limits: DoorLimits | None = None, call_limits: CallLimits | None = None) -> AsyncIterator[Stand]:
    built = Stand(door_limits or DoorLimits(), call_limits or CallLimits())
    port = await built.server.start()
    built.connect(port)
    try:
        yield built
    finally:
        await built.channel.close()
        await built.server.stop(grace_s=1)


class Told:
    """An error as a client reads it."""

    def __init__(self, error: aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.trailing: dict[str, Any] = dict(error.trailing_metadata())
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what it reads
        self.status: status_pb2.Status = status if status is not None else status_pb2.Status()
        self.info = error_details_pb2.ErrorInfo()
        self.retry: error_details_pb2.RetryInfo | None = None
        self.bad_fields: list[str] = []
        self.take(self.status)

    def take(self, status: status_pb2.Status) -> None:
        for detail in status.details:
            retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(retry):
                self.retry = retry
            elif detail.Unpack(bad):
                self.bad_fields.extend(violation.field for violation in bad.field_violations)
            else:
                assert detail.Unpack(self.info), detail

    @property
    def reason(self) -> str:
        assert self.info.domain == "garbagetruck"
        return str(self.info.reason)


async def refusal(call: Any) -> Told:
    """The error that a call ends with; a stream is read to its end."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not aio.EOF:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        return Told(error)
    raise AssertionError("the call succeeded")


def bad_fields(status: status_pb2.Status) -> list[str]:
    return [
        violation.field
        for detail in status.details
        for bad in (error_details_pb2.BadRequest(),)
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]


INVALID = grpc.StatusCode.INVALID_ARGUMENT
