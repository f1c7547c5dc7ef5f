"""The way from clients to the doors of the nodes, and what comes back over it.

Duty: carry a call to a node over a network that delays and loses, have its door and gateway serve it, carry the answer
back; tell a lost answer from an error.
Must not know: what clients want, what is right.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.nodes import SimulatedNode, node_of
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.world import NS_PER_MS, Process, World
from garbagetruck.cluster.api.gateway import Consistency, OperatingError
from garbagetruck.cluster.machine.operations import ClientOperation
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.machine.validation import check_operation

CALL_S = 1.5
"""What a client gives a node."""
PATIENCE_S = 2.0
"""How long it waits for the answer."""

Build = Callable[[SimulatedNode], tuple[ClientOperation, ...]]
"""What a door makes of a call: operations with ids drawn, targets derived, the cluster time of entry."""
Answer = tuple[tuple[Outcome, ...], str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back of a call: outcomes, or why none did."""

    outcomes: tuple[Outcome, ...]
    error: str
    sent_ns: int


UNKNOWN = "OutcomeUnknown"
"""The one error after which the operation may or may not be applied."""


class Port:
    """The way from clients to the nodes' doors."""

    def __init__(self, world: World, network: Network, hosts: Mapping[str, Host]) -> None:
        self.world = world
        self.network = network
        self.hosts = hosts
        self.unanswered = 0
        """Calls whose outcome their caller never learned."""

    async def call(self, client: Process, name: str, build: Build) -> Reply:
        """Have a node's door take operations, which `build` completes there."""
        return await self._send(client, name, lambda node: self._submit(node, build(node)))

    async def read_lease(self, client: Process, name: str, lease_id: str) -> str:
        """The state of a lease by a linearizable read, "unknown" for no such lease; empty when it could not be had."""
        states: list[str] = []

        async def read(node: SimulatedNode) -> Answer:
            try:
                view = await node.gateway.read(Consistency.LINEARIZABLE, timeout_s=CALL_S)
            except OperatingError as error:
                return (), type(error).__name__
            lease = view.machine.lease(lease_id, view.clock_ms)
            states.append("unknown" if lease is None else lease.state.value)
            return (), ""

        reply = await self._send(client, name, read)
        return states[0] if states and not reply.error else ""

    async def _submit(self, node: SimulatedNode, operations: tuple[ClientOperation, ...]) -> Answer:
        for operation in operations:
            refused = check_operation(operation, node.machine.bounds)
            if refused is not None:
                return (refused,), ""
        try:
            return tuple(await node.gateway.submit(operations, timeout_s=CALL_S)), ""
        except OperatingError as error:
            return (), type(error).__name__

    async def _send(self, client: Process, name: str, serve: Callable[[SimulatedNode], Awaitable[Answer]]) -> Reply:
        sent_ns = self.world.now_ns
        host = self.hosts[name]
        node = node_of(host)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def resolve(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        async def work(node: SimulatedNode) -> None:
            answer = await serve(node)
            self.network.send(name, client, lambda: client.loop.call_soon(resolve, answer))

        if node is not None:
            self.network.send(client.name, node.process, lambda: node.process.loop.start(work(node)))
        elif not host.station.is_dark:
            client.post(NS_PER_MS, lambda: client.loop.call_soon(resolve, ((), "NoLeader")))
        try:
            async with asyncio.timeout(PATIENCE_S):
                outcomes, error = await answered
        except TimeoutError:
            self.unanswered += 1
            return Reply((), UNKNOWN, sent_ns)
        return Reply(outcomes, error, sent_ns)
