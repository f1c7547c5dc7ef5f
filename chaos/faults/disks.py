"""Faults of one node's disk.

Duty: full, failing, slow. Invariant: a node that its disk ended is started again by `heal`, on a disk that works.
Must not know: how a disk is made to fail (`chaos.processes.disk`).
"""

from abc import ABC

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes.cluster import Cluster, Node
from garbagetruck.chaos.processes.disk import FULL, SLOW, SYNC_FAILS

EXIT_DISK = 74
ENDS_S_MAX = 90.0
"""A disk that is full ends its node when a segment of the journal is, or a snapshot is due."""


class _DiskFault(Fault, ABC):
    def __init__(self, node_id: str, order: str, what: str) -> None:
        self.name = f"the disk of {node_id} {what}"
        self._node_id = node_id
        self._order = order
        self._bites: list[str] = []

    def _give_order(self, cluster: Cluster) -> Node:
        node = cluster.nodes[self._node_id]
        node.disk.give(self._order)
        return node

    def _take_back(self, cluster: Cluster) -> Node:
        node = cluster.nodes[self._node_id]
        self._bites = node.disk.take_back()
        return node


class DiskFails(_DiskFault):
    """Writes for which there must be room, or syncs, fail until the node has ended of it."""

    def __init__(self, node_id: str, order: str, what: str) -> None:
        super().__init__(node_id, order, what)
        self.code: int | None = None
        """How the node ended, None if it did not."""
        self.said = False
        """Whether it said why."""

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = self._give_order(cluster)
        try:
            self.code = await node.ended(ENDS_S_MAX)
        except TimeoutError:
            return
        self.said = bool(node.said("disk_failed"))

    @override
    async def heal(self, cluster: Cluster) -> None:
        node = self._take_back(cluster)
        if not node.alive:
            await cluster.start(node.id)

    @property
    @override
    def proof(self) -> str:
        return f"{len(self._bites)} calls failed, first {self._bites[0]}" if self._bites else ""


class DiskSlow(_DiskFault):
    """Every sync takes so much longer."""

    def __init__(self, node_id: str, seconds: float) -> None:
        super().__init__(node_id, f"{SLOW} {seconds}", f"takes {seconds:g} s longer for each sync")

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._give_order(cluster)

    @override
    async def heal(self, cluster: Cluster) -> None:
        self._take_back(cluster)

    @property
    @override
    def proof(self) -> str:
        return f"{len(self._bites)} syncs were delayed" if self._bites else ""


def disk_full(node_id: str) -> DiskFails:
    return DiskFails(node_id, FULL, "is full")


def sync_fails(node_id: str) -> DiskFails:
    return DiskFails(node_id, SYNC_FAILS, "fails to sync")
