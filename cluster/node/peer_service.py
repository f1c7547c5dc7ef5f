"""`PeerService`: what the nodes of the cluster ask this one, over its API port.

Duty: carry `Forward` streams to the handler and its responses back, in whatever order they come; answer `Hello`.
Invariants: only callers on loopback are served, for peers are not authenticated in this version; others are refused
with PERMISSION_DENIED and the reason. At most `outstanding_max` requests of one stream are under way; past it the
stream is not read, so that the sender waits.
Must not know: what the requests ask for.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
from typing_extensions import override

from garbagetruck.cluster.node.peer_link import request_from_proto, response_to_proto
from garbagetruck.cluster.node.peer_status import NodeStatusBoard
from garbagetruck.cluster.node.peering import PeerHandler, PeerResponse, stray
from garbagetruck.v1 import peer_pb2, peer_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
Responses = asyncio.Queue[peer_pb2.ForwardResponse | None]


class PeerServicer(peer_pb2_grpc.PeerServiceServicer):
    """Runs on the node's main loop. `on_fatal` ends the node when the handler dies of a bug."""

    def __init__(
        self,
        *,
        handler: PeerHandler,
        status: NodeStatusBoard,
        outstanding_max: int,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._handler = handler
        self._status = status
        self._outstanding_max = outstanding_max
        self._on_fatal = on_fatal

    @override
    async def Forward(
        self, request_iterator: AsyncIterator[peer_pb2.ForwardRequest], context: Context
    ) -> AsyncIterator[peer_pb2.ForwardResponse]:
        await _refuse_strangers(context)
        responses: Responses = asyncio.Queue()
        serving = asyncio.get_running_loop().create_task(self._serve(request_iterator, responses))
        try:
            while (response := await responses.get()) is not None:
                yield response
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    @override
    async def Hello(self, request: peer_pb2.HelloRequest, context: Context) -> peer_pb2.HelloResponse:
        await _refuse_strangers(context)
        if not self._status.is_peer(request):
            reason = f"node {request.node_id!r} of cluster {request.cluster_id!r} is no peer of this node"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        return self._status.hello()

    async def _serve(self, requests: AsyncIterator[peer_pb2.ForwardRequest], responses: Responses) -> None:
        """Read requests until the stream ends or breaks; ends when all are answered, or by cancellation."""
        room = asyncio.Semaphore(self._outstanding_max)
        try:
            async with asyncio.TaskGroup() as group:
                async for message in requests:
                    await room.acquire()
                    group.create_task(self._answer(message, responses, room))
        finally:
            responses.put_nowait(None)

    async def _answer(self, message: peer_pb2.ForwardRequest, responses: Responses, room: asyncio.Semaphore) -> None:
        try:
            request = request_from_proto(message)
            if request is None:
                response: PeerResponse = stray(message.id, "this version does not know what it asks for")
            else:
                response = await self._handler.handle(request)
            responses.put_nowait(response_to_proto(response))
        except Exception as error:
            self._on_fatal(error)  # operating errors are responses: this is a bug
            raise
        finally:
            room.release()


async def _refuse_strangers(context: Context) -> None:
    peer = context.peer()
    if not is_loopback(peer):
        reason = (
            f"{peer} is not on loopback: nodes forward to each other without authentication in this version, so they "
            "take peers on the same machine only"
        )
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)


def is_loopback(peer: str) -> bool:
    """Whether gRPC's name of a caller (`ipv4:127.0.0.1:50123`, `ipv6:%5B::1%5D:50123`, `unix:…`) is on this machine."""
    kind, _, rest = unquote(peer).partition(":")
    if kind in ("unix", "unix-abstract"):
        return True
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return kind in ("ipv4", "ipv6") and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
