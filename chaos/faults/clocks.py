"""Faults of nodes' clocks.

Duty: wall clocks that jump, oscillators that are off. Invariant: healed, a wall clock is right again, which is one more jump; what
an oscillator gained, its node keeps.
Must not know: how a clock is made to go wrong (`chaos.processes.clocks`).
"""

import asyncio
from abc import ABC
from collections.abc import Sequence

import aiohttp
from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes.clocks import FOLLOWED, RATE, WALL
from garbagetruck.chaos.processes.cluster import Cluster, ClusterFailed, Node

FOLLOWED_S_MAX = 10.0
POLL_S = 0.02
CALL_S = 10.0


class _ClockFault(Fault, ABC):
    def __init__(self, nodes: Sequence[str], order: str, name: str) -> None:
        self.name = name
        self._nodes = tuple(nodes)
        self._order = order
        self._bites: dict[str, list[str]] = {}

    @override
    async def inject(self, cluster: Cluster) -> None:
        nodes = [cluster.nodes[node_id] for node_id in self._nodes]
        for node in nodes:
            node.clocks.give(self._order)
        for node in nodes:
            await self._followed(node)

    async def _followed(self, node: Node) -> None:
        try:
            async with asyncio.timeout(FOLLOWED_S_MAX):
                while not node.clocks.effects():  # noqa: ASYNC110 - another process writes them
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise ClusterFailed(f"{node.id} reads no clock within {FOLLOWED_S_MAX:g} s") from error

    @override
    async def heal(self, cluster: Cluster) -> None:
        for node_id in self._nodes:
            told = cluster.nodes[node_id].clocks.take_back()
            self._bites[node_id] = [each for each in told if each != FOLLOWED]

    def _each(self, tell: str) -> str:
        """What the clock of every node shows; nothing when one of them was not read."""
        if not all(self._bites.get(node_id) for node_id in self._nodes):
            return ""
        told = (tell.format(node_id, times=len(bites), last=bites[-1]) for node_id, bites in self._bites.items())
        return "; ".join(told)


class WallClock(_ClockFault):
    """The wall clocks of some nodes jump by so much."""

    def __init__(self, nodes: Sequence[str], seconds: float) -> None:
        super().__init__(nodes, f"{WALL} {seconds}", f"the wall clock of {', '.join(nodes)} jumps by {seconds:+g} s")
        self._dated: dict[str, str] = {}

    @override
    async def inject(self, cluster: Cluster) -> None:
        await super().inject(cluster)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_S)) as http:
            for node_id in self._nodes:
                self._dated[node_id] = await _date_of(http, cluster.nodes[node_id])

    @property
    @override
    def proof(self) -> str:
        read = self._each("{0} read it {times} times: {last}")
        dated = ", ".join(f"{node_id} dated an answer {date}" for node_id, date in self._dated.items())
        return f"{read}; {dated}" if read else ""


class ClockRate(_ClockFault):
    """The oscillator of a node is fast, or slow."""

    def __init__(self, node_id: str, ppm: int) -> None:
        super().__init__([node_id], f"{RATE} {ppm}", f"the clock of {node_id} goes wrong by {ppm:+d} ppm")

    @property
    @override
    def proof(self) -> str:
        return self._each("{0}, in the end: {last}")


async def _date_of(http: aiohttp.ClientSession, node: Node) -> str:
    """What day a node believes it is: nothing else of it that can be asked for bears a wall clock's time."""
    try:
        async with http.get(f"http://{node.places.http}/livez") as answer:
            return answer.headers.get("Date", "not at all")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ClusterFailed(f"{node.id} answers no HTTP request: {error}") from error
