"""Storage in memory: for development, for tests, and as the plainest reading of the protocol.

Invariants: no call waits between looking and changing, so each is one step. What is stored is gone with the process.
Threads: one event loop.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from typing_extensions import override

from garbagetruck.storage import fencing
from garbagetruck.storage.checksums import ContentDigest, chunk_checksum, entry_checksum
from garbagetruck.storage.errors import (
    ArchiveDamaged,
    EntriesMissing,
    SnapshotDamaged,
    SnapshotTaken,
    SnapshotUnknown,
    StorageError,
)
from garbagetruck.storage.protocol import ArchiveStorage, IncarnationStorage, SnapshotSink, SnapshotStorage, Storage
from garbagetruck.storage.records import (
    CHUNK_BYTES_MAX,
    Activity,
    ArchivedEntry,
    Incarnation,
    Reservation,
    SnapshotHeader,
    Span,
    StoredSnapshot,
    Writer,
    check_header,
    check_run,
    is_name,
)
from garbagetruck.storage.retention import Retention, is_overtaken, needed_from, superfluous, trimmed


@dataclass(slots=True)
class KeptSnapshot:
    """One snapshot; `whole` is None until it is."""

    header: SnapshotHeader
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Each with its checksum."""
    digest: ContentDigest = field(default_factory=ContentDigest)
    whole: tuple[StoredSnapshot, bytes] | None = None


@dataclass(slots=True)
class KeptArchive:
    """The archive of one incarnation."""

    term: int = 0
    spans: list[Span] = field(default_factory=list)
    entries: dict[int, tuple[ArchivedEntry, bytes]] = field(default_factory=dict)
    """Each with its checksum."""


@dataclass(slots=True)
class KeptCluster:
    """All that is stored of one cluster."""

    incarnations: dict[int, Reservation] = field(default_factory=dict)
    snapshots: dict[str, KeptSnapshot] = field(default_factory=dict)
    archives: defaultdict[int, KeptArchive] = field(default_factory=lambda: defaultdict(KeptArchive))
    writes: int = 0
    written_at_ms: int | None = None

    def require(self, incarnation: Incarnation) -> None:
        """Raises Fenced."""
        reservation = self.incarnations.get(incarnation.number)
        reserved_id = None if reservation is None else reservation.incarnation.id
        fencing.require_incarnation(incarnation, reserved_id, max(self.incarnations, default=0))

    def whole(self) -> list[StoredSnapshot]:
        """Furthest first."""
        found = [kept.whole[0] for kept in self.snapshots.values() if kept.whole is not None]
        return sorted(found, key=lambda snapshot: snapshot.age_key, reverse=True)


class Vault:
    """What outlives a `MemoryStorage`, and is shared by those that are given the same one."""

    def __init__(self) -> None:
        self.clusters: defaultdict[str, KeptCluster] = defaultdict(KeptCluster)


class MemorySink(SnapshotSink):
    def __init__(self, cluster: KeptCluster, kept: KeptSnapshot) -> None:
        self._cluster = cluster
        self._kept = kept

    @override
    async def write(self, chunk: bytes) -> None:
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX
        kept = self._require()
        kept.chunks.append((chunk, chunk_checksum(kept.header.snapshot_id, kept.digest.chunks, chunk)))
        kept.digest.add(chunk)
        self._cluster.writes += 1

    @override
    async def finish(self) -> StoredSnapshot:
        kept = self._require()
        stored = StoredSnapshot(kept.header, kept.digest.chunks, kept.digest.size_bytes)
        kept.whole = stored, kept.digest.digest()
        self._cluster.writes += 1
        return stored

    @override
    async def abandon(self) -> None:
        snapshot_id = self._kept.header.snapshot_id
        if self._kept.whole is None and self._cluster.snapshots.get(snapshot_id) is self._kept:
            del self._cluster.snapshots[snapshot_id]

    def _require(self) -> KeptSnapshot:
        assert self._kept.whole is None
        self._cluster.require(self._kept.header.incarnation)
        if self._cluster.snapshots.get(self._kept.header.snapshot_id) is not self._kept:
            raise SnapshotUnknown(self._kept.header.snapshot_id)
        return self._kept


class MemorySnapshots(SnapshotStorage):
    def __init__(self, cluster: KeptCluster) -> None:
        self._cluster = cluster

    @override
    async def begin(self, header: SnapshotHeader) -> SnapshotSink:
        check_header(header)
        cluster = self._cluster
        cluster.require(header.incarnation)
        if header.snapshot_id in cluster.snapshots:
            raise SnapshotTaken(header.snapshot_id)
        for snapshot_id, kept in list(cluster.snapshots.items()):
            same_writer = (kept.header.node_id, kept.header.incarnation) == (header.node_id, header.incarnation)
            if kept.whole is None and same_writer:
                del cluster.snapshots[snapshot_id]
        kept = cluster.snapshots[header.snapshot_id] = KeptSnapshot(header)
        cluster.writes += 1
        return MemorySink(cluster, kept)

    @override
    async def whole(self) -> Sequence[StoredSnapshot]:
        return self._cluster.whole()

    @override
    async def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        kept = self._cluster.snapshots.get(snapshot_id)
        if kept is None or kept.whole is None:
            raise SnapshotUnknown(snapshot_id)
        seen = ContentDigest()
        for number, (chunk, checksum) in enumerate(kept.chunks):
            if chunk_checksum(snapshot_id, number, chunk) != checksum:
                raise SnapshotDamaged(snapshot_id, "it is not what was written", number)
            seen.add(chunk)
            yield chunk
        if seen.digest() != kept.whole[1]:
            raise SnapshotDamaged(snapshot_id, "its chunks are not those that were written")

    @override
    async def delete(self, snapshot_id: str) -> bool:
        return self._cluster.snapshots.pop(snapshot_id, None) is not None

    @override
    async def prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> Sequence[str]:
        self._cluster.require(incarnation)
        whole = self._cluster.whole()
        doomed = superfluous(whole, retention, now_ms)
        for snapshot_id, kept in self._cluster.snapshots.items():
            if kept.whole is None and whole and is_overtaken(kept.header, whole[0]):
                doomed.append(snapshot_id)
        for snapshot_id in doomed:
            del self._cluster.snapshots[snapshot_id]
        return doomed


class MemoryArchive(ArchiveStorage):
    def __init__(self, cluster: KeptCluster) -> None:
        self._cluster = cluster

    def _as(self, writer: Writer) -> KeptArchive:
        self._cluster.require(writer.incarnation)
        archive = self._cluster.archives[writer.incarnation.number]
        fencing.require_term(writer, archive.term)
        return archive

    @override
    async def resume(self, writer: Writer) -> Span | None:
        archive = self._as(writer)
        archive.term = writer.term
        self._cluster.writes += 1
        return archive.spans[-1] if archive.spans else None

    @override
    async def begin_span(self, writer: Writer, first_index: int) -> Span:
        archive = self._as(writer)
        own = [each.header.index for each in self._cluster.whole() if each.header.incarnation == writer.incarnation]
        fencing.require_covered(first_index, archive.spans[-1] if archive.spans else None, max(own, default=None))
        archive.term = writer.term
        archive.spans.append(Span(first_index, first_index - 1, 0))
        self._cluster.writes += 1
        return archive.spans[-1]

    @override
    async def append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        check_run(writer, entries)
        archive = self._as(writer)
        fencing.require_next(writer, archive.spans[-1] if archive.spans else None, entries)
        number, last = writer.incarnation.number, entries[-1]
        for entry in entries:
            checksum = entry_checksum(number, entry.index, entry.term, entry.payload)
            archive.entries[entry.index] = entry, checksum
        archive.term = writer.term
        archive.spans[-1] = Span(archive.spans[-1].first_index, last.index, last.term)
        self._cluster.writes += 1
        self._cluster.written_at_ms = last.archived_at_ms
        return archive.spans[-1]

    @override
    async def spans(self, incarnation: int) -> Sequence[Span]:
        return list(self._cluster.archives[incarnation].spans)

    @override
    async def read(
        self, incarnation: int, from_index: int, to_index: int | None = None
    ) -> AsyncIterator[ArchivedEntry]:
        archive = self._cluster.archives[incarnation]
        span = next((each for each in archive.spans if each.first_index <= from_index <= each.next_index), None)
        if span is None:
            raise EntriesMissing(incarnation, from_index)
        last = span.last_index if to_index is None else min(to_index, span.last_index)
        for index in range(from_index, last + 1):
            if index not in archive.entries:
                trimmed_away = all(index < each.first_index for each in archive.spans)
                raise EntriesMissing(incarnation, index) if trimmed_away else _lost(incarnation, index)
            entry, checksum = archive.entries[index]
            if entry_checksum(incarnation, index, entry.term, entry.payload) != checksum:
                raise ArchiveDamaged(incarnation, index, "it is not what was written")
            yield entry

    @override
    async def trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        own = self._as(writer)
        number = writer.incarnation.number
        spans = {each: archive.spans for each, archive in self._cluster.archives.items()}
        needed = needed_from(spans, self._cluster.whole(), own=number, below_index=below_index)
        for each, index in needed.items():
            archive = self._cluster.archives[each]
            archive.spans = trimmed(archive.spans, index, keep_last=each == number)
            archive.entries = {at: entry for at, entry in archive.entries.items() if at >= index}
        self._cluster.writes += 1
        return list(own.spans)


def _lost(incarnation: int, index: int) -> StorageError:
    return ArchiveDamaged(incarnation, index, "it is not there")


class MemoryIncarnations(IncarnationStorage):
    def __init__(self, cluster: KeptCluster) -> None:
        self._cluster = cluster

    @override
    async def reserve(self, incarnation: Incarnation, *, by: str) -> None:
        assert is_name(incarnation.id)
        assert incarnation.number >= 1
        reserved = self._cluster.incarnations.get(incarnation.number)
        reserved_id = None if reserved is None else reserved.incarnation.id
        if fencing.may_reserve(incarnation, reserved_id, max(self._cluster.incarnations, default=0)):
            self._cluster.incarnations[incarnation.number] = Reservation(incarnation, by)

    @override
    async def reserved(self) -> Sequence[Reservation]:
        return [self._cluster.incarnations[number] for number in sorted(self._cluster.incarnations)]

    @override
    async def activity(self) -> Activity:
        cluster = self._cluster
        return Activity(f"{max(cluster.incarnations, default=0)}:{cluster.writes}", cluster.written_at_ms)


class MemoryStorage(Storage):
    """The storage of `cluster_id` in `vault`."""

    def __init__(self, vault: Vault, cluster_id: str) -> None:
        assert is_name(cluster_id)
        self._vault = vault
        self._cluster_id = cluster_id
        cluster = vault.clusters[cluster_id]
        self._snapshots = MemorySnapshots(cluster)
        self._archive = MemoryArchive(cluster)
        self._incarnations = MemoryIncarnations(cluster)

    @property
    @override
    def cluster_id(self) -> str:
        return self._cluster_id

    @property
    @override
    def snapshots(self) -> MemorySnapshots:
        return self._snapshots

    @property
    @override
    def archive(self) -> MemoryArchive:
        return self._archive

    @property
    @override
    def incarnations(self) -> MemoryIncarnations:
        return self._incarnations

    @override
    async def cluster_ids(self) -> Sequence[str]:
        return sorted(name for name, cluster in self._vault.clusters.items() if cluster.incarnations)

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
