"""A real gRPC server on loopback that notes what it is asked, and a `grpc` handler that may call it.

Duty: let a test say "the service answers so" in a line. It must not know: what the handler makes of an answer.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from typing_extensions import override

from garbagetruck.cluster.cleanup.handlers.grpc import GrpcHandler, grpc_handlers
from garbagetruck.cluster.cleanup.handlers.grpc.channels import SERVICE
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.v1 import cleanup_handler_pb2 as wire
from garbagetruck.v1 import cleanup_handler_pb2_grpc as wire_grpc
from tests.integration.cleanup.http_service import ENVIRON, LOOPBACK, Names

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class GrpcService(wire_grpc.CleanupHandlerServicer):
    """A server on a free port that notes every call; `answer` may be replaced."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, *, tells_health: bool = True) -> None:
        self.requests: list[wire.CleanUpRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.address = ""
        self.port = 0
        self.response = wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_DONE)
        self.answer: Callable[[Context], Awaitable[wire.CleanUpResponse]] = self.plain
        self.health = health.HealthServicer()
        self._credentials = credentials
        self._tells_health = tells_health

    async def plain(self, _context: Context) -> wire.CleanUpResponse:
        return self.response

    @override
    async def CleanUp(self, request: wire.CleanUpRequest, context: Context) -> wire.CleanUpResponse:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        return await self.answer(context)

    @asynccontextmanager
    async def served(self, address: str = "127.0.0.1:0") -> AsyncIterator["GrpcService"]:
        server = grpc.aio.server()
        wire_grpc.add_CleanupHandlerServicer_to_server(self, server)
        if self._tells_health:
            await self.health.set(SERVICE, SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self._credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, self._credentials)
        self.address = f"127.0.0.1:{self.port}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


@asynccontextmanager
async def silent_server(*, hang_up: bool) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Takes connections, and says nothing; or hangs up when it is told something."""
    heard: list[bytes] = []
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        if not hang_up:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        try:
            yield f"{host}:{port}", heard
        finally:
            done.set()


@asynccontextmanager
async def grpc_handler(
    address: str,
    *,
    names: Names | None = None,
    allow_addresses: Sequence[str] = LOOPBACK,
    monotonic_s: Callable[[], float] = lambda: 0.0,
    plaintext: bool = True,
    **options: object,
) -> AsyncIterator[GrpcHandler]:
    """A started handler that may call loopback, and takes names from `names` alone. Its clock stands still."""
    make = grpc_handlers(run_directly, ENVIRON, resolve=names or Names(["127.0.0.1"]), monotonic_s=monotonic_s)
    given = {"address": address, "allow_addresses": list(allow_addresses), "insecure_plaintext": plaintext, **options}
    handler = make(given, "index")
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()


_FRAME = struct.Struct(">HBBBI")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RST_STREAM, _SETTINGS, _PING = 0x1, 0x3, 0x4, 0x6
_ACK = 0x1
_REFUSED_STREAM = (0x7).to_bytes(4, "big")


@asynccontextmanager
async def refusing_server() -> AsyncIterator[tuple[str, list[int]]]:
    """Speaks HTTP/2 just well enough to refuse every stream unseen, which invites a client to send it again."""
    refused: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
            writer.write(_FRAME.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload)

        try:
            await reader.readexactly(len(_PREFACE))
            send(_SETTINGS, 0, 0)
            while True:
                high, low, kind, flags, stream = _FRAME.unpack(await reader.readexactly(_FRAME.size))
                payload = await reader.readexactly(high << 8 | low)
                if kind in (_SETTINGS, _PING) and not flags & _ACK:
                    send(kind, _ACK, 0, payload if kind == _PING else b"")
                elif kind == _HEADERS:
                    refused.append(stream)
                    send(_RST_STREAM, 0, stream, _REFUSED_STREAM)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}", refused
