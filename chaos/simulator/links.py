"""Streams between nodes: ordered, lossless, until they break.

Duty: carry the messages of `cluster.node.peers.port` as one TCP connection would: a cut holds them back, and breaks the
stream when it lasts; the death of a process breaks it soon; a stopped process just does not read.
Must not know: what the messages ask for.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from typing_extensions import override

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.world import NS_PER_MS, NS_PER_S, Process, World
from garbagetruck.cluster.node.peers.port import (
    LinkBrokenError,
    PeerHandler,
    PeerLink,
    PeerRequest,
    PeerResponse,
    PeerStream,
)

RETRY_NS = 50 * NS_PER_MS
STUCK_NS = 3 * NS_PER_S
"""A connection on which nothing gets through for so long breaks."""
CONNECT_S_MAX = 2.0


class _Direction:
    """One half of a connection."""

    def __init__(self, world: World, network: Network, source: Process, target: Process) -> None:
        self._world = world
        self._network = network
        self._source = source
        self._target = target
        self._waiting: deque[Callable[[], None]] = deque()
        self._pumping = False
        self._stuck_since_ns = 0
        self.on_stuck: Callable[[], None] = lambda: None
        self.closed = False

    def put(self, deliver: Callable[[], None]) -> None:
        self._waiting.append(deliver)
        if not self._pumping:
            self._pumping = True
            self._stuck_since_ns = self._world.now_ns
            self._pump()

    def _pump(self) -> None:
        while self._waiting and not self.closed:
            if not self._network.send(self._source.name, self._target, self._deliver(self._waiting[0])):
                if self._world.now_ns - self._stuck_since_ns > STUCK_NS:
                    self.on_stuck()
                    break
                self._world.after(RETRY_NS, self._pump)
                return
            self._waiting.popleft()
            self._stuck_since_ns = self._world.now_ns
        self._pumping = False

    def _deliver(self, action: Callable[[], None]) -> Callable[[], None]:
        def arrive() -> None:
            if not self.closed:
                self._target.loop.call_soon(action)

        return arrive


class _Connection(PeerStream):
    """One stream; this is its calling end."""

    def __init__(self, world: World, network: Network, caller: Process, server: Process, handler: PeerHandler) -> None:
        self.caller = caller
        self.server = server
        self._handler = handler
        self._up = _Direction(world, network, caller, server)
        self._down = _Direction(world, network, server, caller)
        self._up.on_stuck = self._down.on_stuck = self.break_off
        self._responses: deque[PeerResponse] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._broken = False

    @override
    async def send(self, request: PeerRequest) -> None:
        if self._broken:
            raise LinkBrokenError("the connection broke")
        self._up.put(lambda: self._serve(request))

    @override
    async def receive(self) -> PeerResponse:
        while not self._responses:
            if self._broken:
                raise LinkBrokenError("the connection broke")
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._responses.popleft()

    @override
    async def close(self) -> None:
        self.break_off()

    def break_off(self) -> None:
        """Both ends notice soon; what is under way is lost."""
        if not self._up.closed:
            self._up.closed = self._down.closed = True
            self.caller.post(NS_PER_MS, lambda: self._call(self.caller, self._break_caller))
            self.server.post(NS_PER_MS, lambda: self._call(self.server, self._break_server))

    @staticmethod
    def _call(process: Process, action: Callable[[], None]) -> None:
        process.loop.call_soon(action)

    def _break_caller(self) -> None:
        self._broken = True
        self._wake()

    def _break_server(self) -> None:
        for task in list(self._serving.values()):
            task.cancel()

    def _serve(self, request: PeerRequest) -> None:
        task = self.server.loop.create_task(self._answer(request))
        self._serving[request.id] = task
        task.add_done_callback(lambda _: self._serving.pop(request.id, None))

    async def _answer(self, request: PeerRequest) -> None:
        response = await self._handler.handle(request)
        self._down.put(lambda: self._respond(response))

    def _respond(self, response: PeerResponse) -> None:
        self._responses.append(response)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class LinkFabric:
    """All connections between nodes. `handlers` tells who serves at each node that is up."""

    def __init__(self, world: World, network: Network) -> None:
        self._world = world
        self._network = network
        self._connections: list[_Connection] = []
        self.handlers: dict[str, tuple[Process, PeerHandler]] = {}

    def link(self, process: Process) -> "SimulatedPeerLink":
        return SimulatedPeerLink(self, process)

    def killed(self, process: Process) -> None:
        """The process is gone: its peers notice."""
        gone = [each for each in self._connections if process in (each.caller, each.server)]
        for connection in gone:
            self._connections.remove(connection)
            connection.break_off()

    async def connect(self, caller: Process, node_id: str) -> _Connection:
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def reply(*, accepted: bool) -> None:
            if not answered.done():
                answered.set_result(accepted)

        def knock() -> None:
            process, _ = self.handlers[node_id]
            if not process.alive:
                caller.post(NS_PER_MS, lambda: caller.loop.call_soon(lambda: reply(accepted=False)))
            elif self._network.passes(caller.name, node_id) and self._network.passes(node_id, caller.name):
                self._network.send(caller.name, process, greet)
            else:
                caller.post(RETRY_NS, knock)

        def greet() -> None:
            self._network.send(node_id, caller, lambda: caller.loop.call_soon(lambda: reply(accepted=True)))

        knock()
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                accepted = await answered
        except TimeoutError as error:
            raise LinkBrokenError("no answer") from error
        if not accepted:
            raise LinkBrokenError("refused")
        process, handler = self.handlers[node_id]
        connection = _Connection(self._world, self._network, caller, process, handler)
        self._connections.append(connection)
        return connection


class SimulatedPeerLink(PeerLink):
    """One node's way to the others."""

    def __init__(self, fabric: LinkFabric, process: Process) -> None:
        self._fabric = fabric
        self._process = process

    @override
    async def connect(self, node_id: str) -> PeerStream:
        return await self._fabric.connect(self._process, node_id)
