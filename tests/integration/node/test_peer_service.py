"""Nodes talk to each other over real gRPC, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from typing_extensions import override

from garbagetruck.cluster.api.gateway import NoLeader, NotLeader, OutcomeUnknown
from garbagetruck.cluster.api.ports import NodeRole, PeerUnreachable
from garbagetruck.cluster.machine.codec import decode_operations, encode_outcomes
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.node.forwarding import Forwarder
from garbagetruck.cluster.node.peer_connection import MessageBounds
from garbagetruck.cluster.node.peer_link import GrpcPeerLink
from garbagetruck.cluster.node.peer_service import PeerServicer, is_loopback
from garbagetruck.cluster.node.peer_status import NodeStatusBoard
from garbagetruck.cluster.node.peering import (
    FailureResponse,
    OutcomesResponse,
    PeerHandler,
    PeerRequest,
    PeerResponse,
    ReadIndexRequest,
    ReadIndexResponse,
)
from garbagetruck.v1 import peer_pb2, peer_pb2_grpc
from tests.unit.node.rig import NODE, Rig, acquire

BOUNDS = MessageBounds(1_000, 1 << 20, 100)


class EchoHandler(PeerHandler):
    """Acknowledges every operation, unless the test holds it back."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.asked = 0

    @override
    async def handle(self, request: PeerRequest) -> PeerResponse:
        self.asked += 1
        if isinstance(request, ReadIndexRequest):
            return ReadIndexResponse(request.id, 12, 3_400, 5)
        self.waiting.set()
        await self.gate.wait()
        operations = decode_operations(request.operations)
        if operations[0] == acquire(666):
            return FailureResponse(request.id, "NOT_LEADER", "not I", "127.0.0.1:9")
        if operations[0] == acquire(777):
            raise ZeroDivisionError("a bug")
        return OutcomesResponse(request.id, encode_outcomes([Acknowledged(n) for n, _ in enumerate(operations)]))


class Peer:
    """A server of PeerService on a free port."""

    def __init__(self) -> None:
        self.handler = EchoHandler()
        self.fatal: list[BaseException] = []
        self.rig = Rig()
        self.board = board(self.rig, "c1")
        self.server = grpc.aio.server()
        servicer = PeerServicer(handler=self.handler, status=self.board, outstanding_max=10, on_fatal=self.fatal.append)
        peer_pb2_grpc.add_PeerServiceServicer_to_server(servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"


def board(rig: Rig, cluster_id: str, node_id: str = NODE) -> NodeStatusBoard:
    return NodeStatusBoard(
        node_id=node_id,
        cluster_id=cluster_id,
        version="1.2.3",
        log=rig.log,
        machine=rig.machine,
        applier=rig.applier,
        clock=rig.clock,
        leadership=rig.leadership,
    )


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Peer, Forwarder]]:
    peer = Peer()
    await peer.rig.start()
    await peer.server.start()
    fatal: list[BaseException] = []
    forwarder = Forwarder(
        link=GrpcPeerLink(api_addresses={NODE: peer.address, "gone": "127.0.0.1:1"}),
        bounds=BOUNDS,
        on_fatal=fatal.append,
    )
    try:
        yield peer, forwarder
    finally:
        await forwarder.stop()
        await peer.server.stop(0)
        await peer.board.stop()
        await peer.rig.stop()
    assert not fatal


async def test_operations_and_reads_travel_over_one_stream() -> None:
    async with serving() as (peer, forwarder):
        many = [forwarder.submit(NODE, (acquire(number), acquire(number)), timeout_s=5) for number in range(50)]
        assert all(len(outcomes) == 2 for outcomes in await asyncio.gather(*many))
        assert peer.handler.asked < 50, "what waited went together"
        answer = await forwarder.read_index(NODE)
        assert (answer.commit_index, answer.clock_ms, answer.term) == (12, 3_400, 5)
        with pytest.raises(NotLeader, match="not I") as caught:
            await forwarder.submit(NODE, (acquire(666),), timeout_s=5)
        assert caught.value.leader == "127.0.0.1:9"
        assert not peer.fatal


async def test_a_server_that_goes_away_leaves_what_was_sent_unknown() -> None:
    async with serving() as (peer, forwarder):
        await forwarder.submit(NODE, (acquire(1),), timeout_s=5)
        peer.handler.gate.clear()
        peer.handler.waiting.clear()
        task = asyncio.create_task(forwarder.submit(NODE, (acquire(2),), timeout_s=5))
        await peer.handler.waiting.wait()
        await peer.server.stop(0)
        with pytest.raises(OutcomeUnknown):
            await task
        with pytest.raises(NoLeader):
            await forwarder.submit(NODE, (acquire(3),), timeout_s=5)


async def test_a_peer_that_is_not_there_is_noticed_at_once() -> None:
    async with serving() as (_, forwarder):
        started_s = asyncio.get_running_loop().time()
        for node_id in ("gone", "never heard of"):
            with pytest.raises(NoLeader):
                await forwarder.submit(node_id, (acquire(1),), timeout_s=5)
        assert asyncio.get_running_loop().time() - started_s < 1.0


async def test_a_bug_of_the_handler_ends_the_node() -> None:
    async with serving() as (peer, forwarder):
        with pytest.raises(OutcomeUnknown):
            await forwarder.submit(NODE, (acquire(777),), timeout_s=5)
        assert isinstance(peer.fatal[0], ZeroDivisionError)


async def test_a_node_tells_a_peer_how_it_is_and_nobody_else() -> None:
    async with serving() as (peer, _):
        await peer.rig.lead(4)
        member = Member(NODE, peer.address, "", "", "", "", 1)
        asking = board(Rig(), "c1", "n2")
        status = await asking.ask(member)
        assert (status.node_id, status.role, status.term, status.version) == (NODE, NodeRole.LEADER, 4, "1.2.3")
        assert status.digest == peer.rig.machine.digest()
        stranger = board(Rig(), "other", "n2")
        with pytest.raises(PeerUnreachable, match="no peer of this node"):
            await stranger.ask(member)
        with pytest.raises(PeerUnreachable, match="answers there"):
            await asking.ask(Member("n9", peer.address, "", "", "", "", 1))
        with pytest.raises(PeerUnreachable):
            await asking.ask(Member("gone", "127.0.0.1:1", "", "", "", "", 1))
        await asking.stop()
        await stranger.stop()


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:50123", True),
        ("ipv4:127.8.9.1:1", True),
        ("ipv6:%5B::1%5D:50123", True),
        ("ipv6:[::1]:50123", True),
        ("unix:", True),
        ("ipv4:10.0.0.7:50123", False),
        ("ipv6:%5B2001:db8::1%5D:50123", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:1", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_only_callers_on_this_machine_count_as_loopback(peer: str, expected: bool) -> None:
    assert is_loopback(peer) is expected


async def test_a_caller_from_elsewhere_is_refused_and_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garbagetruck.cluster.node.peer_service.is_loopback", lambda peer: False)
    async with serving() as (peer, forwarder):
        async with grpc.aio.insecure_channel(peer.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await peer_pb2_grpc.PeerServiceStub(channel).Hello(peer_pb2.HelloRequest(node_id="n2", cluster_id="c1"))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "not on loopback" in (caught.value.details() or "")
        with pytest.raises(OutcomeUnknown, match="not on loopback"):
            await forwarder.submit(NODE, (acquire(1),), timeout_s=5)
