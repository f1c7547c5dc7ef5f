"""What operators do to a cluster in use: let members in and out, upgrade them, hand leadership over.

Duty: each as a disturbance that proves that it was one. Invariant: `heal` leaves nothing half done.
Must not know: clients.
"""

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.faults.processes import Drain
from garbagetruck.chaos.processes import operating
from garbagetruck.chaos.processes.cluster import Cluster

EXIT_REMOVED = 1


class LetIn(Fault):
    """A new node is added, started, and votes."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is let in"
        self._node_id = node_id
        self._disk_id = ""

    @override
    async def inject(self, cluster: Cluster) -> None:
        await operating.add_member(cluster, self._node_id)
        cluster.introduce(self._node_id)
        await cluster.start(self._node_id, "--join")
        self._disk_id = (await operating.until_voting(cluster, self._node_id)).disk_id
        cluster.admit(self._node_id)

    @override
    async def heal(self, cluster: Cluster) -> None:
        """It stays."""

    @property
    @override
    def proof(self) -> str:
        return f"{self._node_id} votes, with disk {self._disk_id}" if self._disk_id else ""


class Remove(Fault):
    """A member is removed: it drains and ends by itself."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is removed"
        self._node_id = node_id
        self._code: int | None = None
        self._said = False

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        await operating.remove_member(cluster, self._node_id)
        self._code = await node.ended()
        self._said = bool(node.said("removed"))
        cluster.dismiss(self._node_id)

    @override
    async def heal(self, cluster: Cluster) -> None:
        """It is gone."""

    @property
    @override
    def proof(self) -> str:
        gone = self._code == EXIT_REMOVED and self._said
        return f"{self._node_id} ended with {self._code}, and said that it was removed" if gone else ""


class Replace(Fault):
    """A member that is dead is removed, its folder emptied, and a new one let in under its name, at its addresses."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is replaced by a node without its disk"
        self._node_id = node_id
        self._before = ""
        self._after = ""

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        record = await operating.member(cluster, self._node_id)
        self._before = record.disk_id if record is not None else ""
        if node.alive:
            await cluster.kill([self._node_id])
        cluster.dismiss(self._node_id)
        await operating.remove_member(cluster, self._node_id)
        await node.wipe()
        let_in = LetIn(self._node_id)
        await let_in.inject(cluster)
        record = await operating.member(cluster, self._node_id)
        self._after = record.disk_id if record is not None else ""

    @override
    async def heal(self, cluster: Cluster) -> None:
        """It stays."""

    @property
    @override
    def proof(self) -> str:
        changed = self._before and self._after and self._before != self._after
        return f"{self._node_id} had disk {self._before}, and votes with {self._after}" if changed else ""


class Upgrade(Drain):
    """Drained, and started again with another feature level, up or down."""

    def __init__(self, node_id: str, level: int) -> None:
        super().__init__(node_id)
        self.name = f"{node_id} is drained, and started with feature level {level}"
        self._level = level
        self._told = False

    @override
    async def heal(self, cluster: Cluster) -> None:
        cluster.nodes[self._node_id].feature_level = self._level
        await super().heal(cluster)
        await operating.until_level(cluster, self._node_id, self._level)
        self._told = True

    @property
    @override
    def proof(self) -> str:
        told = f"; now it tells of level {self._level}"
        return super().proof + told if super().proof and self._told else ""


class Transfer(Fault):
    """Leadership is handed over through the API."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is to lead"
        self._node_id = node_id
        self._led_before = ""
        self._leads = ""

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._led_before = await cluster.leader()
        self._leads = await operating.transfer_leadership(cluster, self._node_id)

    @override
    async def heal(self, cluster: Cluster) -> None:
        """It may lead."""

    @property
    @override
    def proof(self) -> str:
        moved = self._leads == self._node_id != self._led_before
        return f"{self._led_before} led, and {self._leads} took over" if moved else ""
