"""The storage's part of the composition root.

Duty: join what archives and copies to the node's core. Nothing is started, nothing is opened.
Must not know: in what order things start and stop.
"""

from garbagetruck.cluster.node.archiving.archiver import Archiver, ArchiverSettings
from garbagetruck.cluster.node.archiving.copier import SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life
from garbagetruck.cluster.node.archiving.opening import described, open_storage
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.node.archiving.service import Archiving, StorageService
from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.storing import retention
from garbagetruck.cluster.node.health import Core, Health
from garbagetruck.cluster.node.identity import DataFolder
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from garbagetruck.cluster.node.world import World
from garbagetruck.cluster.raft.disk import READ_ONLY_DISK
from garbagetruck.cluster.raft.storage import Storage as Folder


def storage_service(settings: NodeSettings, folder: DataFolder, core: Core, world: World) -> StorageService | None:
    """None where nothing is kept outside the nodes. Raises StorageNotInstalled."""
    section = settings.storage
    storage = open_storage(section, settings.cluster.id, world.storage_executor, who=settings.node.id)
    if storage is None:
        return None
    cursor = core.cursor

    def wall_ms() -> int:
        return world.wall_ns() // NS_PER_MS

    life = Life(
        node_id=settings.node.id,
        machine=core.machine,
        queue=core.queue,
        storage=storage,
        random=world.random,
        now_ms=core.clock.now_ms,
    )
    copier = SnapshotCopier(
        node_id=settings.node.id,
        storage=storage,
        cursor=cursor,
        folder=Folder(folder.raft, READ_ONLY_DISK).snapshots_folder,
        executor=world.storage_executor,
        retention=retention(section),
        random=world.random,
        wall_ms=wall_ms,
    )
    progress = ArchiveProgress()
    archiver = Archiver(
        storage=storage,
        life=life,
        cursor=cursor,
        copier=copier,
        progress=progress,
        settings=ArchiverSettings(
            interval_s=section.archive_interval_ms / 1_000, backlog_bytes_max=section.archive_backlog_bytes_max
        ),
        monotonic_ns=world.monotonic_ns,
        wall_ms=wall_ms,
    )
    core.leadership.observe(archiver)
    return StorageService(
        Archiving(storage, life, archiver, copier, progress, described(section)),
        snapshot_interval_s=section.snapshot_interval_ms / 1_000,
        random=world.random,
        monotonic_ns=world.monotonic_ns,
    )


def tell_of(storage: StorageService | None, health: Health, status: NodeStatusBoard) -> None:
    """Have metrics and the status tell of it."""
    if storage is not None:
        health.archive, status.archive_waits = storage.facts, storage.waits
