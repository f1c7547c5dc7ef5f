"""The data folder that the next incarnation begins with.

Duty: one node's folder with one durable snapshot in it and no journal: the node makes that at its first start, aligned to
the snapshot, as a follower does that was sent one.

Invariants: the folder belongs to nobody until everything in it is durable and was read back; nothing is written over.
Must not know: where the state came from.
"""

from dataclasses import dataclass
from pathlib import Path

from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.identity import DataFolder, FolderTakenError, IdentityError, NodeIdentity
from garbagetruck.cluster.node.machine_snapshots import decode_state, pieces
from garbagetruck.cluster.node.recovery.errors import RecoveryError, TargetTaken, unreadable
from garbagetruck.cluster.raft.disk import REAL_DISK
from garbagetruck.cluster.raft.errors import DiskFailed, StorageRefused
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, name_of
from garbagetruck.cluster.raft.storage import Storage


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first state of an incarnation, and where its log goes on: the entry after `index`, in a term after `term`."""

    state: State
    snapshot_id: str
    """Random."""
    index: int
    term: int


def refuse_taken(path: Path, *, source: Path | None) -> None:
    """Raise TargetTaken unless `path` is absent or empty, and no part of the folder `source`."""
    if source is not None and path.resolve().is_relative_to(source.resolve()):
        raise TargetTaken(f"{path} lies within {source}, which is only read; name a folder elsewhere")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise TargetTaken(
            f"{path} is not empty, and nothing is ever written over; name another folder with --data-dir. What a restore"
            " that was interrupted left behind has no node.json, and can be deleted"
        )


def write(path: Path, identity: NodeIdentity, beginning: Beginning) -> None:
    """Make the folder. Raises RecoveryError."""
    try:
        DataFolder(path).found(identity, lambda raft: _fill(raft, identity, beginning))
    except FolderTakenError as error:
        raise TargetTaken(str(error)) from error
    except IdentityError as error:
        raise RecoveryError(str(error)) from error
    except (DiskFailed, StorageRefused) as error:
        raise unreadable(error) from error


def _fill(raft: Path, identity: NodeIdentity, beginning: Beginning) -> None:
    store = SnapshotStore(REAL_DISK, Storage(raft, REAL_DISK).snapshots_folder, cluster_id=identity.cluster_id)
    store.open()  # makes the folder
    header = _header(identity, beginning)
    writer = store.begin(header)
    for piece in pieces(beginning.state, beginning.index, beginning.term):
        writer.write(piece)
    writer.finish()
    _, read_back = store.load(Storage(raft, REAL_DISK).snapshots_folder / name_of(header), decode_state)
    assert Queries(read_back).digest() == Queries(beginning.state).digest(), "a snapshot holds what was written"


def _header(identity: NodeIdentity, beginning: Beginning) -> SnapshotHeader:
    """Of a snapshot behind which this node is the only one that votes: all others are let in again, one by one."""
    return SnapshotHeader(
        identity.cluster_id,
        identity.incarnation,
        beginning.snapshot_id,
        beginning.index,
        beginning.term,
        beginning.term,
        voters={identity.node_id: identity.disk_id},
    )
