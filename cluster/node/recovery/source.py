"""What one node's data folder still knows of its cluster.

Duty: the state right behind the last entry of that folder's log, read while nobody serves it.

Invariants: nothing in the folder is changed; while it is read nobody can begin to serve it. Every entry of the log is
applied, known to be committed or not (docs/decisions/0020). Must not know: what becomes of the state.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from garbagetruck.cluster.machine.codec import FormatTooNew
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.identity import DataFolder, FolderServedError, IdentityError, NodeIdentity
from garbagetruck.cluster.node.machine_snapshots import decode_state
from garbagetruck.cluster.node.recovery.errors import (
    NothingToRestore,
    SourceForeign,
    SourceInUse,
    SourceUnreadable,
    unreadable,
)
from garbagetruck.cluster.raft.errors import DiskFailed, StorageRefused
from garbagetruck.cluster.raft.journal.segments import Owner
from garbagetruck.cluster.raft.salvage import SavedLog, read_log


@dataclass(frozen=True, slots=True)
class Source:
    """A folder's identity, and the cluster's state as that folder has it."""

    folder: Path
    identity: NodeIdentity
    state: State
    """The caller's own."""
    last_index: int
    term: int
    """The highest that this disk has seen."""
    commit_index: int
    """As far as this disk was told."""
    written_s: float
    """When something was last written there, by that machine's clock: seconds since 1970. For people."""

    @property
    def entries_beyond_commit(self) -> int:
        """Entries that this disk does not know to be committed. They may have been acknowledged all the same."""
        return max(0, self.last_index - self.commit_index)


@contextmanager
def reading(path: Path, *, cluster_id: str, skip: Mapping[int, int], level: int) -> Iterator[Source]:
    """The source, as long as nobody may serve its folder. Raises RecoveryError.

    `skip` tells of entries that are not to be applied their checksum, by index; `level` is the highest feature level that
    is read. Both as for a node that serves.
    """
    if not path.is_dir():
        raise NothingToRestore(f"{path} is no folder; name the data folder of a node (node.data_dir)")
    if not any(path.iterdir()):
        raise NothingToRestore(f"{path} is empty: no node ever served from it, or its disk was wiped")
    folder = DataFolder(path)
    try:
        identity = folder.look()
    except FolderServedError as error:
        raise SourceInUse(
            f"{error}. A cluster is restored when a majority of its disks is gone: if this node still has one, there is"
            " nothing to restore"
        ) from error
    except IdentityError as error:
        raise NothingToRestore(str(error)) from error
    with folder:
        if identity.cluster_id != cluster_id:
            raise SourceForeign(
                f"{path} belongs to cluster {identity.cluster_id}, and cluster.id is {cluster_id}; name the folder of a"
                " node of that cluster, or the right configuration"
            )
        yield _read(path, folder.raft, identity, lambda log: _state_behind(log, folder.raft, skip, level), level)


def _read(
    path: Path, raft: Path, identity: NodeIdentity, replay: Callable[[SavedLog[State]], State], level: int
) -> Source:
    if not raft.is_dir():
        raise NothingToRestore(f"{path} has no log: its node never began, or {raft} is gone")
    try:
        log = read_log(raft, Owner(identity.cluster_id, identity.disk_id), lambda chunks: decode_state(chunks, level))
        written_s = max(each.stat().st_mtime for each in (raft, *raft.rglob("*")))
    except (StorageRefused, DiskFailed) as error:
        raise unreadable(error) from error
    state = replay(log)
    if not state.cluster_id:
        raise NothingToRestore(f"{path} has a log without a cluster in it: its node never became part of one")
    if state.cluster_id != identity.cluster_id:
        raise SourceForeign(
            f"{path} is a folder of cluster {identity.cluster_id} with the log of cluster {state.cluster_id}: files were put"
            " there that do not belong to it"
        )
    return Source(path, identity, state, log.last_index, log.term, log.commit_index, written_s)


@dataclass(frozen=True, slots=True)
class Replaying:
    """Applies entries behind a state, as a node that serves would. `skip` and `level` as of `reading`."""

    machine: Machine
    skip: Mapping[int, int]

    def apply(self, index: int, payload: bytes) -> None:
        """Raises FormatTooNew."""
        if (checksum := self.skip.get(index)) is not None and crc32(payload) == checksum:
            self.machine.skip(index, checksum)
        else:
            self.machine.apply(payload)


def _state_behind(log: SavedLog[State], raft: Path, skip: Mapping[int, int], level: int) -> State:
    state = State() if log.state is None else log.state
    replaying = Replaying(Machine(state, level=level), skip)
    for entry in log.entries:
        try:
            replaying.apply(entry.index, entry.payload)
        except FormatTooNew as error:
            raise SourceUnreadable(raft / "journal", None, f"entry {entry.index}: {error}; {error.remedy}") from error
    return state
