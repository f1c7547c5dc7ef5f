"""Nodes that answer as a test tells them, over real gRPC on loopback.

Every call is recorded before it is answered. A script is a queue of answers for each method; the last one stays.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from typing_extensions import override

from garbagetruck.client import Truck, World, connect
from garbagetruck.v1 import (
    cleanup_pb2,
    cluster_pb2,
    event_pb2,
    lease_pb2,
    namespace_pb2,
    resource_pb2,
    session_pb2,
)

FILES = (cleanup_pb2, cluster_pb2, event_pb2, lease_pb2, namespace_pb2, resource_pb2, session_pb2)

Handler = Callable[[Any, Any], Awaitable[Message]]
Answer = Any
"""A message, a status to abort with, or a `Handler`."""


@dataclass
class Node:
    """One fake node. `calls` holds (method, request) in order of arrival."""

    address: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    script: dict[str, list[Answer]] = field(default_factory=dict)
    trailing: tuple[tuple[str, str], ...] = ()
    server: grpc.aio.Server | None = None

    def answer(self, method: str, *answers: Answer) -> None:
        """Set what the next calls of a method get; the last answer stays."""
        self.script[method] = list(answers)

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    async def start(self) -> None:
        self.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self.server.add_generic_rpc_handlers((_Scripted(self),))
        port = self.server.add_insecure_port(self.address or "127.0.0.1:0")
        await self.server.start()
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            await server.stop(None)

    def next_answer(self, method: str) -> Answer:
        answers = self.script[method]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def unary(self, method: str, request: Any, context: Any) -> Message:
        self.calls.append((method, request))
        answer = self.next_answer(method)
        context.set_trailing_metadata(self.trailing)
        if isinstance(answer, status_pb2.Status):
            await abort(context, answer)
        if isinstance(answer, Message):
            return answer
        handler: Handler = answer
        return await handler(request, context)

    async def streaming(self, method: str, request: Any, context: Any) -> AsyncIterator[Message]:
        self.calls.append((method, request))
        answer = self.next_answer(method)
        if isinstance(answer, status_pb2.Status):
            await abort(context, answer)
        stream: Any = answer
        async for message in stream(request, context):
            yield message


class _Scripted(grpc.GenericRpcHandler):
    """Every method of the API, answered by a node's script."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._methods = {
            f"/{service.full_name}/{method.name}": method
            for file in FILES
            for service in file.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        }

    @override
    def service(self, handler_call_details: Any) -> Any:
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        read = GetMessageClass(method.input_type).FromString
        write = GetMessageClass(method.output_type).SerializeToString
        name = method.name

        async def unary(request: Any, context: Any) -> Message:
            return await self._node.unary(name, request, context)

        async def streaming(request: Any, context: Any) -> AsyncIterator[Message]:
            async for message in self._node.streaming(name, request, context):
                yield message

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(streaming, read, write)
        return grpc.unary_unary_rpc_method_handler(unary, read, write)


async def abort(context: Any, status: status_pb2.Status) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))


def refusal(
    code: grpc.StatusCode,
    reason: str,
    *,
    retry_after_ms: int | None = None,
    metadata: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> status_pb2.Status:
    """A status as the API sends it, with its details."""
    status = status_pb2.Status(code=int(code.value[0]), message=f"because of {reason}")
    info = error_details_pb2.ErrorInfo(reason=reason, domain="garbagetruck", metadata=metadata or {})
    status.details.add().Pack(info)
    if retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_after_ms)
        status.details.add().Pack(retry)
    if fields is not None:
        bad_request = error_details_pb2.BadRequest()
        for name, description in fields.items():
            bad_request.field_violations.add(field=name, description=description)
        status.details.add().Pack(bad_request)
    return status


def unavailable(reason: str, **extra: Any) -> status_pb2.Status:
    return refusal(grpc.StatusCode.UNAVAILABLE, reason, **extra)


async def hang(request: Any, context: Any) -> Message:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


@dataclass
class FakeClock:
    """A clock that stands still until it is told to go on."""

    now_ns: int = 1_000_000_000_000

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1_000_000_000)

    def __call__(self) -> int:
        return self.now_ns


def world(clock: Callable[[], int], seed: int = 7) -> World:
    """A world that starts at the first endpoint named and counts its request ids."""
    numbers = iter(range(1, 1_000_000))
    source = FirstFirst(seed)
    return World(boottime_ns=clock, random=source, new_request_id=lambda: f"request-{next(numbers)}")


class FirstFirst(random.Random):
    """Random but for the choice of the first endpoint."""

    @override
    def randrange(self, *args: Any, **kwargs: Any) -> int:
        return 0


@contextlib.asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    """Run so many nodes on free ports."""
    running = [Node() for _ in range(count)]
    try:
        for node in running:
            await node.start()
        yield running
    finally:
        for node in running:
            await node.stop()


def truck_of(running: list[Node], clock: Callable[[], int], **options: Any) -> Truck:
    """A client of these nodes, in their order."""
    return connect([node.address for node in running], world=world(clock), **options)


def lease(**fields: Any) -> lease_pb2.Lease:
    """An active lease as the API describes one."""
    values: dict[str, Any] = {
        "id": "lease-1",
        "namespace": "default",
        "resource": "uploads/42",
        "holder": "resizer-7",
        "fencing_token": 11,
        "ttl_ms": 30_000,
        "remaining_ms": 30_000,
        "state": lease_pb2.LEASE_STATE_ACTIVE,
    }
    return lease_pb2.Lease(**(values | fields))


def acquired(**fields: Any) -> lease_pb2.AcquireResponse:
    return lease_pb2.AcquireResponse(lease=lease(**fields))
