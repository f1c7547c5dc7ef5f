"""Where a replica keeps its files, and what it opens there.

Duty: the layout of a replica's folder: `founding.json`, `journal/`, `snapshots/`, `peers.json`, `removed.json`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from garbagetruck.cluster.raft.disk import Disk
from garbagetruck.cluster.raft.founding import Founding, found
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import NONCE_BYTES, Owner, Site
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Snapshots


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder on a disk, and the machine that snapshots are taken of, if any stands behind the log."""

    folder: Path
    disk: Disk
    snapshots: Snapshots | None = None

    @property
    def snapshots_folder(self) -> Path:
        return self.folder / "snapshots"

    def open_folder(self) -> PeerDisks:
        """Make the folder, or find it, and load the disks that peers were met with."""
        if self.disk.make_folder(self.folder):
            self.disk.sync_folder(self.folder.parent)
        disks = PeerDisks(self.folder / "peers.json", self.disk)
        disks.load()
        return disks

    def found(self, node_id: str, told: Iterable[str], founders: Sequence[str] | None) -> Founding:
        """How the log began, or begins now (`founding`). The folder is open, the journal is not."""
        has_log = "journal" in self.disk.names(self.folder)
        return found(self.disk, self.folder, node_id=node_id, told=told, founders=founders, has_log=has_log)

    def journal(
        self, identity: Identity, settings: RaftSettings, random: Random, on_progress: Callable[[], None]
    ) -> Journal:
        """The journal, not opened."""
        owner = Owner(identity.cluster_id, identity.disk_id)
        site = Site(
            self.disk, self.folder / "journal", owner, settings.segment_bytes, lambda: random.randbytes(NONCE_BYTES)
        )
        return Journal(site, on_progress=on_progress, free_bytes_alarm=settings.free_bytes_alarm)
