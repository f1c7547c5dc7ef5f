"""The snapshots on one node's disk, for somebody who looks at them from outside.

Duty: which there are, what each is of, and whether it is what was written. The node may be serving: a snapshot never changes
once it has its name, and one that is deleted meanwhile is left out.

Invariants: nothing is changed. Must not know: who asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.node.machine_snapshots import decode_state
from garbagetruck.cluster.node.recovery.errors import NothingToRestore
from garbagetruck.cluster.raft.disk import READ_ONLY_DISK
from garbagetruck.cluster.raft.errors import SnapshotDamaged, SnapshotUnfit, StorageRefused
from garbagetruck.cluster.raft.snapshots.format import HEADER_BYTES, SnapshotHeader, decode_header, read_chunks
from garbagetruck.cluster.raft.snapshots.store import SUFFIX
from garbagetruck.cluster.raft.storage import Storage

RAFT = "raft"


@dataclass(frozen=True, slots=True)
class LocalSnapshot:
    """One file. `damage` is why it cannot be believed, as far as was looked; empty for nothing found."""

    path: Path
    size_bytes: int
    written_s: float
    """Seconds since 1970, by the clock of that machine."""
    header: SnapshotHeader | None
    """None when it cannot be read."""
    damage: str = ""
    offset: int | None = None
    """Where the damage is, in bytes, when it is one place."""
    clock_ms: int | None = None
    """Cluster time in it; this and the next two are known when all of it was read."""
    leases: int | None = None
    resources: int | None = None


def find(where: Path) -> Sequence[Path]:
    """The snapshot at `where`, or those in the data folder there, the newest first. Raises NothingToRestore."""
    if where.is_file():
        return [where]
    folder = Storage(where / RAFT, READ_ONLY_DISK).snapshots_folder
    if not folder.is_dir():
        raise NothingToRestore(
            f"{where} is neither a snapshot nor a node's data folder with {folder.relative_to(where)}"
        )
    return sorted(folder.glob(f"*{SUFFIX}"), reverse=True)


def glance(path: Path) -> LocalSnapshot | None:
    """What the header tells; None when the file is gone. Raises OSError."""
    try:
        file = READ_ONLY_DISK.open(path)
    except FileNotFoundError:
        return None
    status = path.stat()
    try:
        header = decode_header(path, file.read(HEADER_BYTES, 0))[0]
    except StorageRefused as error:
        return LocalSnapshot(path, status.st_size, status.st_mtime, None, _reason(error), error.offset)
    finally:
        file.close()
    return LocalSnapshot(path, status.st_size, status.st_mtime, header)


def verify(path: Path) -> LocalSnapshot | None:
    """All of it read: every checksum, and the digest of the state in it. None when the file is gone. Raises OSError."""
    seen = glance(path)
    if seen is None or seen.header is None:
        return seen
    file = READ_ONLY_DISK.open(path)
    try:
        _, seed = decode_header(path, file.read(HEADER_BYTES, 0))
        chunks = read_chunks(file, seed)
        state = decode_state(chunks)
        for _ in chunks:
            raise SnapshotDamaged(path, "more follows behind the end of the state")
    except SnapshotUnfit as error:
        return replace(seen, damage=str(error))
    except StorageRefused as error:
        return replace(seen, damage=_reason(error), offset=error.offset)
    finally:
        file.close()
    summary = Queries(state).summary()
    return replace(seen, clock_ms=state.clock_ms, leases=summary.leases, resources=summary.resources)


def _reason(error: StorageRefused) -> str:
    return error.reason if isinstance(error, SnapshotDamaged) else str(error)
