"""Reads what one replica's folder holds, after a disaster: all of it, verified, and nothing is changed.

Duty: the newest snapshot that is whole, and every entry of the log behind it, as the next start of that replica would find
them. What the disk knows to be committed is told, and is no limit: see docs/decisions/0020.

Invariants: what is damaged is never skipped, but for a snapshot whose place an older one and the log can take. Must not
know: what a state is, and what entries mean. Threads: any, while no process serves the folder.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from garbagetruck.cluster.raft.disk import READ_ONLY_DISK, Disk
from garbagetruck.cluster.raft.errors import JournalDamaged, SnapshotDamaged
from garbagetruck.cluster.raft.journal.recovery import read
from garbagetruck.cluster.raft.journal.replay import LogTuple, Replay, Tip
from garbagetruck.cluster.raft.journal.segments import Owner, Site
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, index_of
from garbagetruck.cluster.raft.storage import Storage
from garbagetruck.cluster.raft.wire import REGULAR

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class SavedLog(Generic[StateT]):
    """What there was. Indexes and terms are Raft's."""

    state: StateT | None
    """What the snapshot holds; None when the log goes back to its first entry."""
    snapshot_index: int
    """The last entry in it; 0 without."""
    entries: Sequence[Entry]
    """Those behind it that carry a payload."""
    last_index: int
    last_term: int
    term: int
    """The highest that this disk has seen; at least `last_term`."""
    commit_index: int
    """Entries up to here are known to be committed. The disk is told about once a second: it may be more."""


def read_log(
    folder: Path, owner: Owner, decode: Callable[[Iterator[bytes]], StateT], *, disk: Disk = READ_ONLY_DISK
) -> SavedLog[StateT]:
    """Read the replica in `folder`. Raises StorageRefused for what must not be believed, and DiskFailed."""
    storage = Storage(folder, disk)
    store = SnapshotStore(disk, storage.snapshots_folder, cluster_id=owner.cluster_id)
    damaged: list[SnapshotDamaged] = []
    newest: tuple[SnapshotHeader, StateT] | None = None
    for path in store.find() if _has(disk, folder, storage.snapshots_folder) else []:
        try:
            newest = store.load(path, decode)
        except SnapshotDamaged as error:
            damaged.append(error)
            continue
        break
    header = None if newest is None else newest[0]
    try:
        replay = _read_journal(storage, owner, header)
    except JournalDamaged as error:
        if damaged:
            raise damaged[0] from error
        raise
    last_index, last_term = replay.tip.next_index - 1, replay.tip.previous_term
    if damaged and last_index < index_of(damaged[0].path):
        raise damaged[0]
    entries: Sequence[LogTuple] = replay.entries
    if header is not None and not _goes_on(replay, header):
        entries, last_index, last_term = (), header.index, header.term
    return SavedLog(
        state=None if newest is None else newest[1],
        snapshot_index=0 if header is None else header.index,
        entries=[Entry(index, command[1:]) for command, index, _ in entries if command[0] == REGULAR],
        last_index=last_index,
        last_term=last_term,
        term=max(replay.tip.metadata.term, last_term),
        commit_index=max(replay.tip.metadata.commit_index, 0 if header is None else header.index),
    )


def _read_journal(storage: Storage, owner: Owner, header: SnapshotHeader | None) -> Replay:
    """The log behind the snapshot. Raises JournalDamaged when it does not reach back to there, or contradicts it."""
    keep_from = 1 if header is None else header.index + 1
    folder = storage.folder / "journal"
    if not _has(storage.disk, storage.folder, folder):
        return Replay(Tip(), keep_from)
    site = Site(storage.disk, folder, owner, segment_bytes=0, make_nonce=bytes)
    replay = read(site, keep_from=keep_from)
    if replay.first_index > keep_from:
        before = "in no snapshot" if header is None else f"in no snapshot after entry {header.index}"
        raise JournalDamaged(folder, f"it begins with entry {replay.first_index}, and what comes before is {before}")
    if header is not None and not _goes_on(replay, header):
        known_index = min(replay.tip.next_index - 1, replay.tip.metadata.commit_index)
        if header.index <= known_index:
            raise JournalDamaged(folder, f"a committed entry, {header.index}, contradicts the snapshot of it")
    return replay


def _goes_on(replay: Replay, header: SnapshotHeader) -> bool:
    """Whether the log has the snapshot's last entry. Otherwise that snapshot took its place, and what it has is void."""
    return replay.first_index == header.index + 1 and replay.base_term == header.term


def _has(disk: Disk, parent: Path, folder: Path) -> bool:
    return folder.name in disk.names(parent)
