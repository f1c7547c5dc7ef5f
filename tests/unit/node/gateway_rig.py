"""One node's core up to its gateway, and peers that answer from a list."""

import asyncio

from typing_extensions import override

from garbagetruck.cluster.node.gateway import NodeGateway
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder, ForwardHandler
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    LinkBrokenError,
    PeerHandler,
    PeerLink,
    PeerRequest,
    PeerResponse,
    PeerStream,
    ReadIndexResponse,
    TransferRequest,
    TransferResponse,
)
from tests.unit.node.rig import NODE, Rig

ADDRESSES = {"n1": "127.0.0.1:7101", "n2": "127.0.0.1:7102"}


class DirectStream(PeerStream):
    """Hands requests straight to a handler."""

    def __init__(self, handler: PeerHandler) -> None:
        self._handler = handler
        self._responses: asyncio.Queue[PeerResponse] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    @override
    async def send(self, request: PeerRequest) -> None:
        async def answer() -> None:
            self._responses.put_nowait(await self._handler.handle(request))

        self._tasks.append(asyncio.create_task(answer()))

    @override
    async def receive(self) -> PeerResponse:
        return await self._responses.get()

    @override
    async def close(self) -> None:
        await asyncio.gather(*self._tasks)


class DirectLink(PeerLink):
    def __init__(self) -> None:
        self.handlers: dict[str, PeerHandler] = {}

    @override
    async def connect(self, node_id: str) -> PeerStream:
        if node_id not in self.handlers:
            raise LinkBrokenError("refused")
        return DirectStream(self.handlers[node_id])


class Node(Rig):
    """The rig with everything up to the gateway."""

    def __init__(self, *, automatic: bool = True) -> None:
        super().__init__(automatic=automatic)
        self.link = DirectLink()
        bounds = MessageBounds(1_000, 1 << 20, 100)
        self.forwarder = Forwarder(link=self.link, bounds=bounds, on_fatal=self.fatal.append)
        self.handler = ForwardHandler(
            machine=self.machine,
            queue=self.queue,
            leadership=self.leadership,
            read_index=self.read_index,
            api_addresses=ADDRESSES,
        )
        self.gateway = NodeGateway(
            node_id=NODE,
            log=self.log,
            machine=self.machine,
            applier=self.applier,
            clock=self.clock,
            queue=self.queue,
            leadership=self.leadership,
            read_index=self.read_index,
            forwarder=self.forwarder,
            api_addresses=ADDRESSES,
        )

    @override
    async def stop(self) -> None:
        await self.forwarder.stop()
        await super().stop()


class ScriptedPeer(PeerHandler):
    """A leader elsewhere that answers from a list."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[PeerRequest] = []
        self.done = asyncio.Event()

    @override
    async def handle(self, request: PeerRequest) -> PeerResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        if answer == "index":
            return ReadIndexResponse(request.id, 3, 5_000, 2)
        if answer == "handed over":
            assert isinstance(request, TransferRequest)
            return TransferResponse(request.id, request.to)
        return FailureResponse(request.id, answer, f"scripted {answer}", "")
