"""Faults of the wires between nodes.

Duty: partitions of each shape, slowness, cuts. Clients reach every node all the while.
Must not know: processes.
"""

from collections.abc import Callable, Sequence

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes.cluster import Cluster
from garbagetruck.chaos.processes.wires import Way, all_but, around, between


class Partition(Fault):
    """Some ways between nodes lead nowhere. `shape` names them, from all node ids."""

    def __init__(self, name: str, shape: Callable[[Sequence[str]], list[Way]]) -> None:
        self.name = name
        self._shape = shape
        self._ways: list[Way] = []
        self._nodes: tuple[str, ...] = ()
        self._before = 0
        self._held_bytes = 0

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._nodes, self._ways = cluster.ids, self._shape(cluster.ids)
        self._before = cluster.wires.held_bytes
        cluster.wires.block(self._ways)

    @override
    async def heal(self, cluster: Cluster) -> None:
        self._held_bytes = cluster.wires.held_bytes - self._before
        cluster.wires.unblock()

    @property
    @override
    def proof(self) -> str:
        return f"{self._held_bytes} bytes were held back" if self._held_bytes else ""

    @property
    @override
    def cut_off(self) -> tuple[str, ...]:
        """Whoever does not hear, and is not heard by, half of the others at least."""
        blocked = set(self._ways)
        alone = []
        for node in self._nodes:
            reached = [other for other in self._nodes if other == node or not {(node, other), (other, node)} & blocked]
            if len(reached) * 2 <= len(self._nodes):
                alone.append(node)
        return tuple(alone)


def isolated(node: str) -> Partition:
    """One node alone: nothing in, nothing out."""
    return Partition(f"{node} is cut off", lambda nodes: around(node, nodes))


def deaf(node: str) -> Partition:
    """Nothing reaches it; what it says is heard."""
    return Partition(f"{node} hears nothing", lambda nodes: around(node, nodes, outbound=False))


def mute(node: str) -> Partition:
    """It hears all; nothing of what it says arrives."""
    return Partition(f"{node} is not heard", lambda nodes: around(node, nodes, inbound=False))


def bridged(node: str) -> Partition:
    """Two halves that do not hear each other, and this node hears both."""
    return Partition(f"only {node} connects two halves", lambda nodes: all_but(node, nodes))


def split(minority: Sequence[str]) -> Partition:
    """These on one side, all others on the other."""
    return Partition(
        f"{', '.join(minority)} and the others do not hear each other",
        lambda nodes: between(minority, [node for node in nodes if node not in minority]),
    )


class Slow(Fault):
    """Everything between nodes takes longer, by `delay_s` in each direction."""

    def __init__(self, delay_s: float) -> None:
        self.name = f"everything between nodes takes {delay_s * 1_000:g} ms longer"
        self._delay_s = delay_s
        self._delayed_bytes = 0

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._delayed_bytes = -cluster.wires.delayed_bytes
        cluster.wires.slow(self._delay_s)

    @override
    async def heal(self, cluster: Cluster) -> None:
        self._delayed_bytes += cluster.wires.delayed_bytes
        cluster.wires.slow(0.0)

    @property
    @override
    def proof(self) -> str:
        return f"{self._delayed_bytes} bytes were delayed" if self._delayed_bytes > 0 else ""


class Cut(Fault):
    """Every connection between nodes ends at once, with what is under way on it."""

    name = "all connections between nodes are cut"

    def __init__(self) -> None:
        self._cut = 0

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._cut = cluster.wires.cut()

    @override
    async def heal(self, cluster: Cluster) -> None:
        """Nodes connect again by themselves."""

    @property
    @override
    def proof(self) -> str:
        return f"{self._cut} connections were cut" if self._cut else ""
