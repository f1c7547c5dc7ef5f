"""Two nodes' connections to each other, and what answers on them."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from typing_extensions import override

from garbagetruck.cluster.api.ports import NodeRole, NodeStatus
from garbagetruck.cluster.machine.codec import decode_operations, encode_outcomes
from garbagetruck.cluster.machine.model import Member as MemberRecord
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder
from garbagetruck.cluster.node.peers.mesh import PeerMesh
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    OutcomesResponse,
    PeerHandler,
    PeerRequest,
    PeerResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
)
from garbagetruck.cluster.node.peers.wire import FRAME_BYTES_MAX
from garbagetruck.cluster.raft.handshake import Disks
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.tls import TlsFiles
from tests.unit.node.rig import acquire

BOUNDS = MessageBounds(1_000, 1 << 20, 100)
SETTINGS = RaftSettings(connection_retry_ms=10, connection_retry_ms_max=50)
STATUS = NodeStatus("", NodeRole.FOLLOWER, 4, 7, 8, "1.2.3", 2**64 - 1, 9_000)
NAMES = ("n1", "n2")


class EchoHandler(PeerHandler):
    """Acknowledges every operation, unless the test holds it back."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.asked = 0
        self.cancelled = asyncio.Event()

    @override
    async def handle(self, request: PeerRequest) -> PeerResponse:
        self.asked += 1
        if isinstance(request, ReadIndexRequest):
            return ReadIndexResponse(request.id, 12, 3_400, 5)
        assert isinstance(request, SubmitRequest)
        self.waiting.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        operations = decode_operations(request.operations)
        if operations[0] == acquire(666):
            return FailureResponse(request.id, "NOT_LEADER", "not I", "127.0.0.1:9")
        if operations[0] == acquire(777):
            raise ZeroDivisionError("a bug")
        if operations[0] == acquire(888):
            return OutcomesResponse(request.id, bytes(FRAME_BYTES_MAX))
        return OutcomesResponse(request.id, encode_outcomes([Acknowledged(n) for n, _ in enumerate(operations)]))


class AnyDisk(Disks):
    @override
    def is_known_or_new(self, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        return True

    @override
    def has_another(self, node_id: str, disk_id: str) -> bool:
        return False


class Node:
    """A mesh, what answers on it, and a way to ask."""

    def __init__(
        self,
        name: str,
        members: list[Member],
        settings: RaftSettings,
        *,
        cluster_id: str = "c",
        disks: Disks | None = None,
        outstanding_max: int = 100,
    ) -> None:
        self.members = members
        self.handler = EchoHandler()
        self.fatal: list[BaseException] = []
        self.mesh = PeerMesh(
            identity=Identity(cluster_id, name, f"disk-{name}"),
            members=members,
            disks=disks or AnyDisk(),
            settings=settings,
            outstanding_max=outstanding_max,
            monotonic_ns=time.monotonic_ns,
            random=random.Random(name),
            on_fatal=self.fatal.append,
        )
        self.mesh.serve(self.handler, lambda: STATUS)
        self.forwarder = Forwarder(link=self.mesh.calls, bounds=BOUNDS, on_fatal=self.fatal.append)

    async def stop(self) -> None:
        await self.forwarder.stop()
        await self.mesh.stop()

    async def until_connected(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while self.mesh.connected != set(names):  # noqa: ASYNC110 - sessions ring no bell
                await asyncio.sleep(0.005)


def free_members() -> list[Member]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    return [Member(name, f"127.0.0.1:{port}") for name, port in zip(NAMES, ports, strict=True)]


@asynccontextmanager
async def meshed(
    settings: Callable[[str], RaftSettings] = lambda _: SETTINGS, *, outstanding_max: int = 100
) -> AsyncIterator[tuple[Node, Node]]:
    members = free_members()
    first, second = (Node(name, members, settings(name), outstanding_max=outstanding_max) for name in NAMES)
    try:
        await first.mesh.start()
        await second.mesh.start()
        await first.until_connected("n2")
        await second.until_connected("n1")
        yield first, second
    finally:
        await first.stop()
        await second.stop()


def secured(files: Callable[[str], TlsFiles]) -> Callable[[str], RaftSettings]:
    return lambda name: replace(SETTINGS, tls=files(name))


def record(node_id: str, disk_id: str) -> MemberRecord:
    return MemberRecord(node_id, "", "", "", "", disk_id, 1)
