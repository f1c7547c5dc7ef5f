"""A simulated node's part that archives its log and copies its snapshots, joined as the composition root does.

Must not know: clients, faults, what is right.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

from garbagetruck.chaos.simulator.depot import DistantStorage
from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import CLUSTER_ID, FOLDER
from garbagetruck.chaos.simulator.world import NS_PER_MS, Chance, Process
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.archiving.archiver import Archiver, ArchiverSettings
from garbagetruck.cluster.node.archiving.copier import SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.node.archiving.service import Archiving, StorageService
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.cursor import LogCursor
from garbagetruck.storage.memory import MemoryStorage, Vault
from garbagetruck.storage.retention import Retention

RETENTION = Retention(count_min=1, count_max=3, age_ms_max=4_000)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What all nodes share: where they archive to, how often, and how much log is kept while nobody is there."""

    vault: Vault
    interval_s: float
    snapshot_interval_s: float
    backlog_bytes_max: int

    @property
    def storage(self) -> MemoryStorage:
        """As somebody sees it who stands beside it."""
        return MemoryStorage(self.vault, CLUSTER_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Of one life of one node."""

    host: Host
    process: Process
    executor: Executor
    network: Network
    chance: Chance
    machine: Machine
    queue: CommitQueue
    clock: ClusterClock
    leadership: Leadership
    cursor: LogCursor

    def service(self, keeping: Keeping) -> StorageService:
        """Built, and not started."""
        storage = DistantStorage(keeping.storage, self.network, self.process, self.chance)
        life = Life(
            node_id=self.host.name,
            machine=self.machine,
            queue=self.queue,
            storage=storage,
            random=self.chance,
            now_ms=self.clock.now_ms,
        )
        copier = SnapshotCopier(
            node_id=self.host.name,
            storage=storage,
            cursor=self.cursor,
            folder=FOLDER / "snapshots",
            executor=self.executor,
            retention=RETENTION,
            random=self.chance,
            wall_ms=self._wall_ms,
            disk=self.host.disk,
        )
        progress = ArchiveProgress()
        archiver = Archiver(
            storage=storage,
            life=life,
            cursor=self.cursor,
            copier=copier,
            progress=progress,
            settings=ArchiverSettings(interval_s=keeping.interval_s, backlog_bytes_max=keeping.backlog_bytes_max),
            monotonic_ns=self.host.clock.monotonic_ns,
            wall_ms=self._wall_ms,
        )
        self.leadership.observe(archiver)
        return StorageService(
            Archiving(storage, life, archiver, copier, progress, "the depot"),
            snapshot_interval_s=keeping.snapshot_interval_s,
            random=self.chance,
            monotonic_ns=self.host.clock.monotonic_ns,
        )

    def _wall_ms(self) -> int:
        return self.process.world.now_ns // NS_PER_MS
