"""The peer link over gRPC: one bidirectional stream of `PeerService.Forward` for each connection.

Duty: turn the messages of `peering` into protobuf and back, open channels, and notice that they broke.
Invariants: every connection has a channel of its own, so that no backoff of an earlier failure delays it.
Must not know: what is in the messages. Peers are on loopback in this version, without TLS; `peer_service` refuses others.
"""

import asyncio
from collections.abc import Mapping

import grpc
import grpc.aio
from typing_extensions import override

from garbagetruck.cluster.node.peering import (
    FailureResponse,
    LinkBrokenError,
    OutcomesResponse,
    PeerLink,
    PeerRequest,
    PeerResponse,
    PeerStream,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
)
from garbagetruck.v1 import peer_pb2, peer_pb2_grpc

CONNECT_S_MAX = 2.0
"""How long a connection may take; a peer that is not there refuses at once."""
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""The largest response taken: outcomes are larger than the operations that they answer."""
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
)
ForwardCall = grpc.aio.StreamStreamCall[peer_pb2.ForwardRequest, peer_pb2.ForwardResponse]


class GrpcPeerStream(PeerStream):
    """One open `Forward` call."""

    def __init__(self, node_id: str, channel: grpc.aio.Channel, call: ForwardCall) -> None:
        self._node_id = node_id
        self._channel = channel
        self._call = call

    @override
    async def send(self, request: PeerRequest) -> None:
        try:
            await self._call.write(request_to_proto(request))
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error

    @override
    async def receive(self) -> PeerResponse:
        try:
            message = await self._call.read()
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error
        if not isinstance(message, peer_pb2.ForwardResponse):
            raise LinkBrokenError(f"{self._node_id} ended the stream")
        return response_from_proto(message)

    @override
    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()

    def _broken(self, error: Exception) -> LinkBrokenError:
        detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        return LinkBrokenError(f"the stream to {self._node_id} broke: {detail}")


class GrpcPeerLink(PeerLink):
    """Runs on the node's main loop. `api_addresses` tells each node's API address by its id."""

    def __init__(self, *, api_addresses: Mapping[str, str]) -> None:
        self._api_addresses = api_addresses

    @override
    async def connect(self, node_id: str) -> PeerStream:
        address = self._api_addresses.get(node_id)
        if address is None:
            raise LinkBrokenError(f"the address of {node_id} is not known")
        channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await _ready(channel)
        except (TimeoutError, LinkBrokenError) as error:
            await channel.close()
            raise LinkBrokenError(f"{node_id} at {address} cannot be reached") from error
        except asyncio.CancelledError:
            await channel.close()
            raise
        return GrpcPeerStream(node_id, channel, peer_pb2_grpc.PeerServiceStub(channel).Forward())


async def _ready(channel: grpc.aio.Channel) -> None:
    """Return when the channel is connected; raise `LinkBrokenError` at the first refusal instead of trying again."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            raise LinkBrokenError("the connection was refused")
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


def request_to_proto(request: PeerRequest) -> peer_pb2.ForwardRequest:
    if isinstance(request, SubmitRequest):
        submit = peer_pb2.ForwardRequest.Submit(operations=request.operations, timeout_ms=request.timeout_ms)
        return peer_pb2.ForwardRequest(id=request.id, submit=submit)
    return peer_pb2.ForwardRequest(id=request.id, read_index=peer_pb2.ForwardRequest.ReadIndex())


def request_from_proto(message: peer_pb2.ForwardRequest) -> PeerRequest | None:
    """None when this version does not know what is asked."""
    match message.WhichOneof("request"):
        case "submit":
            return SubmitRequest(message.id, message.submit.operations, message.submit.timeout_ms)
        case "read_index":
            return ReadIndexRequest(message.id)
        case _:
            return None


def response_to_proto(response: PeerResponse) -> peer_pb2.ForwardResponse:
    message = peer_pb2.ForwardResponse(id=response.id)
    if isinstance(response, OutcomesResponse):
        message.outcomes = response.outcomes
    elif isinstance(response, ReadIndexResponse):
        message.read_index_result.commit_index = response.commit_index
        message.read_index_result.clock_ms = response.clock_ms
        message.read_index_result.term = response.term
    else:
        message.failure.reason = response.reason
        message.failure.message = response.message
        message.failure.leader = response.leader
    return message


def response_from_proto(message: peer_pb2.ForwardResponse) -> PeerResponse:
    """Raises `LinkBrokenError` for what this version does not know."""
    match message.WhichOneof("response"):
        case "outcomes":
            return OutcomesResponse(message.id, message.outcomes)
        case "read_index_result":
            result = message.read_index_result
            return ReadIndexResponse(message.id, result.commit_index, result.clock_ms, result.term)
        case "failure":
            return FailureResponse(message.id, message.failure.reason, message.failure.message, message.failure.leader)
        case _:
            raise LinkBrokenError("the peer answered with something that this version does not know")
