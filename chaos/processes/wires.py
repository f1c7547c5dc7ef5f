"""Every wire between the nodes of a cluster, and the shapes in which a network falls apart.

Duty: a proxy for each directed pair of nodes and kind of connection; block, slow and cut by node, not by wire.
Invariants: what is blocked is a direction between two nodes, whoever of them dialled and whatever it is for.
Must not know: processes, what is said.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import permutations, product

from garbagetruck.chaos.processes.proxy import Direction, Wire

HOST = "127.0.0.1"

Way = tuple[str, str]
"""From a node to another."""


class Kind(StrEnum):
    """What a connection between nodes is for."""

    RAFT = "raft"
    PEER = "peer"


class Wires:
    """`open` before nodes are configured: their peers' addresses are ours."""

    def __init__(self, listening: Mapping[tuple[str, Kind], str]) -> None:
        """`listening`: where each node really listens, by node and kind."""
        self.nodes = tuple(dict.fromkeys(node for node, _ in listening))
        self._wires: dict[tuple[str, str, Kind], Wire] = {}
        for (dialler, listener), kind in product(permutations(self.nodes, 2), Kind):
            host, _, port = listening[listener, kind].rpartition(":")
            self._wires[dialler, listener, kind] = Wire((host, int(port)))

    async def open(self) -> None:
        """Listen, on ports that the kernel chooses."""
        for wire in self._wires.values():
            await wire.open(HOST, 0)

    async def close(self) -> None:
        await asyncio.gather(*(wire.close() for wire in self._wires.values()))

    def address(self, dialler: str, listener: str, kind: Kind) -> str:
        """Where `dialler` finds `listener`."""
        return self._wires[dialler, listener, kind].address

    # -- faults -------------------------------------------------------------------------------------------------

    def block(self, ways: Iterable[Way]) -> None:
        """Let nothing pass from the first node of each way to the second."""
        for source, target in ways:
            for kind in Kind:
                self._wires[source, target, kind].block(Direction.OUT)
                self._wires[target, source, kind].block(Direction.BACK)

    def unblock(self) -> None:
        """Everything passes again, also what was held."""
        for wire in self._wires.values():
            wire.unblock()

    def slow(self, delay_s: float) -> None:
        for wire in self._wires.values():
            wire.slow(delay_s)

    def cut(self) -> int:
        """End every connection between nodes at once; answers how many."""
        return sum(wire.cut() for wire in self._wires.values())

    # -- what was done ------------------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """That had to wait for a blocked direction, so far."""
        return sum(weather.held_bytes for wire in self._wires.values() for weather in wire.weather.values())

    @property
    def delayed_bytes(self) -> int:
        return sum(weather.delayed_bytes for wire in self._wires.values() for weather in wire.weather.values())

    @property
    def passed_bytes(self) -> int:
        return sum(weather.passed_bytes for wire in self._wires.values() for weather in wire.weather.values())


def between(group: Iterable[str], others: Iterable[str]) -> list[Way]:
    """Every way from one group to the other, and back."""
    pairs = list(product(group, others))
    return [*pairs, *((other, one) for one, other in pairs)]


def around(node: str, nodes: Sequence[str], *, inbound: bool = True, outbound: bool = True) -> list[Way]:
    """Every way to and from one node, or only one of them."""
    others = [other for other in nodes if other != node]
    to_it = [(other, node) for other in others] if inbound else []
    from_it = [(node, other) for other in others] if outbound else []
    return [*to_it, *from_it]


def all_but(bridge: str, nodes: Sequence[str]) -> list[Way]:
    """Two halves that do not hear each other, and one node that hears both."""
    others = [node for node in nodes if node != bridge]
    half = len(others) // 2
    return between(others[:half], others[half:])
