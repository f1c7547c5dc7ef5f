"""A cluster that is taken for dead, and lives: its next life is begun elsewhere, beside it.

Duty: begin it, as `chaos.processes.elsewhere` does. Invariants: the old cluster is not touched; `heal` ends the new life alone.
Must not know: who moves.
"""

from typing_extensions import override

from garbagetruck.chaos.faults.databases import DatabaseFault
from garbagetruck.chaos.processes.cluster import Cluster
from garbagetruck.chaos.processes.database import Database
from garbagetruck.chaos.processes.elsewhere import Elsewhere

FOLLOWED = "it was restored elsewhere"


class RestoredElsewhere(DatabaseFault):
    """An operator says that the cluster is dead, and restores it."""

    name = "the cluster is taken for dead, and restored elsewhere"

    def __init__(self) -> None:
        self.elsewhere: Elsewhere | None = None
        self._incarnation = 0
        self._reason = ""

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self.elsewhere = Elsewhere(cluster)
        await self.elsewhere.__aenter__()

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        if self.elsewhere is None or not self.elsewhere.report:
            return  # it did not come to that
        restored = await self.elsewhere.status()
        self._incarnation = restored.incarnation if restored is not None else 0
        old = await cluster.status(await cluster.leader())
        self._reason = old.cleanup.pause_reason if old is not None else ""
        await self.elsewhere.close()

    @property
    @override
    def proof(self) -> str:
        both = self._incarnation > 1 and FOLLOWED in self._reason
        return f"incarnation {self._incarnation} serves, and the old one knows: {self._reason}" if both else ""
