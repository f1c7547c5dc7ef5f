"""How a node begins: with its newest snapshot, and what of the log comes after it.

Duty: find a snapshot that is whole and says what a machine can go on from, open the journal, and align it (hazards 2 and
6), all before pysyncobj is made.

A damaged snapshot is done without only where nothing is lost by it: an older one, or the very beginning, is there, and
the journal has every entry from there to the damaged one's end. Otherwise the node does not start.

Invariants: a refusal changes nothing that the next start would miss. Threads: any, before all else of a replica.
"""

from collections.abc import Callable, Iterator

import structlog

from garbagetruck.cluster.raft.errors import JournalDamaged, SnapshotDamaged
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.snapshots.format import last_entries
from garbagetruck.cluster.raft.snapshots.port import Beginning, Restored
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, index_of

_log = structlog.get_logger(__name__)


def open_log(store: SnapshotStore, journal: Journal, decode: Callable[[Iterator[bytes]], object]) -> Beginning | None:
    """Open both. None when the log begins with its first entry. Raises StorageRefused and DiskFailed."""
    damaged: list[SnapshotDamaged] = []
    beginning = None
    for path in store.find():
        try:
            header, state = store.load(path, decode)
        except SnapshotDamaged as error:
            damaged.append(error)
            continue
        beginning = Beginning(Restored(header.index, state), header)
        break
    index = beginning.header.index if beginning is not None else 0
    try:
        journal.open(snapshot_index=index, keep_from=1)
    except JournalDamaged as error:
        if damaged:
            raise damaged[0] from error
        raise
    if damaged and journal.last_index < index_of(damaged[0].path):
        journal.close()
        raise damaged[0]
    for each in damaged:
        _log.error("snapshot_done_without", file=str(each.path), offset=each.offset, begun_with_index=index)
    store.settle(beginning.header if beginning is not None else None)
    if beginning is not None:
        journal.align(*last_entries(beginning.header), keep_from=store.keep_from)
    return beginning
