"""What a cluster's storage still knows of it.

Duty: the state right behind the last archived entry, or an earlier one that was asked for: a snapshot, and the archive from there on.

Invariants: nothing in the storage is changed. Only what was verified counts: a snapshot to its end and by its machine's
digest, each entry by its checksum; no entry is left out. One chunk, or one page of entries, is held beside the state. Must
not know: any backend, and what becomes of the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from garbagetruck.cluster.machine.codec import FormatTooNew
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.machine_snapshots import StateInPieces
from garbagetruck.cluster.node.recovery.errors import NothingToRestore, SourceDamaged
from garbagetruck.cluster.node.recovery.source import Replaying
from garbagetruck.cluster.raft.errors import SnapshotUnfit, StateTooNew
from garbagetruck.storage.errors import ArchiveDamaged, SnapshotDamaged, SnapshotUnknown
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Reservation, Span, StoredSnapshot

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """How far to go: to an entry, or to a moment by the wall clocks of those who wrote; to the end, for neither."""

    index: int | None = None
    wall_ms: int | None = None

    def reaches(self, index: int, wall_ms: int) -> bool:
        """Whether what is of that index, written then, is part of what was asked for."""
        return (self.index is None or index <= self.index) and (self.wall_ms is None or wall_ms <= self.wall_ms)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to restore from, the furthest first. A snapshot of None is the empty state before the first entry."""

    incarnation: int
    snapshots: Sequence[StoredSnapshot | None]
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class StoredSource:
    """What was found, and how far it goes."""

    location: str
    """The storage, for people."""
    incarnation: int
    """The life of the cluster that wrote it."""
    snapshot: StoredSnapshot | None
    """None when the archive goes back to the first entry, and was enough."""
    state: State
    """The caller's own."""
    last_index: int
    term: int
    """Of that entry."""
    written_ms: int | None
    """When that entry was archived, or else the snapshot taken, by the clock of who did. For people."""
    archive_last_index: int
    """As far as the archive goes; 0 when there is none."""
    snapshots_damaged: tuple[str, ...] = ()
    """Ids of those that go further, and cannot be believed."""


async def plan(storage: Storage, reserved: Sequence[Reservation], point: Point) -> Plan:
    """What to restore from. Raises NothingToRestore, StorageError."""
    whole = await storage.snapshots.whole()
    for reservation in reversed(reserved):
        number = reservation.incarnation.number
        spans = await storage.archive.spans(number)
        found: list[StoredSnapshot | None] = [
            each
            for each in whole
            if each.header.incarnation == reservation.incarnation
            and point.reaches(each.header.index, each.header.taken_at_ms)
        ]
        if spans and spans[0].first_index == 1 and spans[0].last_index >= 1:
            found.append(None)
        if found:
            return Plan(number, found, spans)
    raise NothingToRestore(
        f"the storage holds neither a whole snapshot of cluster {storage.cluster_id} nor an archive from its first entry on"
        " that reaches so far back"
    )


async def read(
    storage: Storage, plan: Plan, point: Point, *, location: str, skip: Mapping[int, int], level: int
) -> StoredSource:
    """The state as far as `point`. `skip` and `level` as for a node that serves.

    Raises SourceDamaged, NothingToRestore, StorageError.
    """
    damaged: list[str] = []
    for snapshot in plan.snapshots:
        try:
            state = State() if snapshot is None else await _decode(storage, snapshot, level)
        except (SnapshotDamaged, SnapshotUnknown, SnapshotUnfit) as error:
            assert snapshot is not None
            _log.error("snapshot_done_without", snapshot=snapshot.header.snapshot_id, reason=str(error))
            damaged.append(snapshot.header.snapshot_id)
            continue
        source = await _replay(storage, plan, snapshot, state, point, skip=skip, level=level, location=location)
        if not source.state.cluster_id:
            raise NothingToRestore("there is no cluster yet at that point")
        return _with_damage(source, damaged)
    raise SourceDamaged(f"no snapshot can be believed: {', '.join(damaged)}")


def _with_damage(source: StoredSource, damaged: Sequence[str]) -> StoredSource:
    return StoredSource(
        source.location,
        source.incarnation,
        source.snapshot,
        source.state,
        source.last_index,
        source.term,
        source.written_ms,
        source.archive_last_index,
        tuple(damaged),
    )


async def _decode(storage: Storage, snapshot: StoredSnapshot, level: int) -> State:
    pieces = StateInPieces(level)
    try:
        async for chunk in storage.snapshots.read(snapshot.header.snapshot_id):
            pieces.add(chunk)
    except StateTooNew as error:
        raise SourceDamaged(f"snapshot {snapshot.header.snapshot_id}: {error}") from error
    return pieces.finish()


async def _replay(
    storage: Storage,
    plan: Plan,
    snapshot: StoredSnapshot | None,
    state: State,
    point: Point,
    *,
    skip: Mapping[int, int],
    level: int,
    location: str,
) -> StoredSource:
    last_index = 0 if snapshot is None else snapshot.header.index
    term = 0 if snapshot is None else snapshot.header.term
    written_ms = None if snapshot is None else snapshot.header.taken_at_ms
    replaying = Replaying(Machine(state, level=level), skip)
    if any(span.first_index <= last_index + 1 <= span.last_index for span in plan.spans):
        try:
            async for entry in storage.archive.read(plan.incarnation, last_index + 1, point.index):
                if not point.reaches(entry.index, entry.archived_at_ms):
                    break
                if entry.payload:
                    replaying.apply(entry.index, entry.payload)
                last_index, term, written_ms = entry.index, entry.term, entry.archived_at_ms
        except ArchiveDamaged as error:
            raise SourceDamaged(f"{error}; restore to the entry before it with --at {error.index - 1}") from error
        except FormatTooNew as error:
            raise SourceDamaged(f"entry {last_index + 1}: {error}; {error.remedy}") from error
    archive_last_index = plan.spans[-1].last_index if plan.spans else 0
    return StoredSource(location, plan.incarnation, snapshot, state, last_index, term, written_ms, archive_last_index)
