"""What every storage promises, whatever is behind it: types only.

Duty: say what a node, a restore and a person may rely on. `tests/contract/storage` holds every backend to it.

What all of them promise:

- **One cluster.** A storage is opened for one cluster id, and sees and touches nothing of another's.
- **Durable when it returns.** A call that writes has made it durable when it returns, against whatever its backend
  survives. One that raises StorageFailed may or may not have: see `errors`. One that is cancelled, likewise.
- **Fenced.** Who writes says as whom: an incarnation, and for the archive a term. As soon as a higher incarnation is
  reserved, or a higher term has resumed the archive, `Fenced` is all that the former gets.
- **Never an authority.** The storage decides nothing about the cluster (I10). It compares no clock of its own with
  anything; times are given by whoever writes.
- **Bounded memory.** Nothing is held whole: a snapshot goes by chunks, the archive by pages.

Ownership: bytes that are handed over are neither copied nor changed. A storage belongs to one event loop; all calls are
coroutines on it and may overlap, but one sink, and one iterator, are for one task.

Every method may raise StorageFailed, and RecordDamaged; what else is said beside it.

Must not know: any backend, Raft, the machine.
"""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from garbagetruck.storage.records import (
    Activity,
    ArchivedEntry,
    Incarnation,
    Reservation,
    SnapshotHeader,
    Span,
    StoredSnapshot,
    Writer,
)
from garbagetruck.storage.retention import Retention


class SnapshotSink(Protocol):
    """One snapshot on its way in: `write` its chunks in order, then `finish` it or `abandon` it; nothing after that."""

    async def write(self, chunk: bytes) -> None:
        """The next chunk, of 1 to CHUNK_BYTES_MAX bytes. It may be held back, up to a group, and be durable later.

        Raises Fenced, and SnapshotUnknown when it was deleted meanwhile.
        """

    async def finish(self) -> StoredSnapshot:
        """Make it whole: from now on it is listed. Raises as `write` does; then it is not whole, unless StorageFailed."""

    async def abandon(self) -> None:
        """Leave nothing of it. When the storage does not answer, what is left is cleared by a later `begin` or `prune`.

        Raises nothing of StorageError. Idempotent, and without effect after `finish` returned.
        """


class SnapshotStorage(Protocol):
    """Snapshots of every node and every incarnation of one cluster. What is not whole is never listed, and never read."""

    async def begin(self, header: SnapshotHeader) -> SnapshotSink:
        """Begin one; what the same node began in this incarnation and did not finish is deleted.

        Raises Fenced when `header.incarnation` is not the highest reserved, and SnapshotTaken.
        """

    async def whole(self) -> Sequence[StoredSnapshot]:
        """All whole ones, those that go furthest first: by incarnation, then by index."""

    def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        """Its chunks in order, each verified before it is given out; the whole, before the iterator ends.

        So what was read counts only when the iterator has ended. Raises SnapshotDamaged, and SnapshotUnknown, also when
        it is deleted meanwhile.
        """

    async def delete(self, snapshot_id: str) -> bool:
        """Delete one, whole or not; False when there was none. For operators: it is not fenced, and keeps nothing back."""

    async def prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> Sequence[str]:
        """Delete what `retention` does not keep at `now_ms`, and what was begun, never finished, and is overtaken by a
        whole one. Returns the ids of both. `now_ms` is the caller's wall clock. Raises Fenced.
        """


class ArchiveStorage(Protocol):
    """Committed entries after the snapshots, in spans without a gap, for each incarnation.

    An entry is there exactly once, in order; none ever changes. Only the last span of the highest incarnation grows.
    """

    async def resume(self, writer: Writer) -> Span | None:
        """Take the archive over for `writer`, and say where to go on; None when this incarnation has no span yet.

        From now on no lower term writes, nor does what such a writer still has under way come through. To be called
        by a new leader, and by any after StorageFailed. Raises Fenced.
        """

    async def begin_span(self, writer: Writer, first_index: int) -> Span:
        """Begin a new, empty span at `first_index`, which leaves a gap behind what is there, or is the first.

        Index 1 needs nothing before it; any other needs a whole snapshot of this incarnation that reaches up to
        `first_index - 1` or further. Raises SpanUncovered and Fenced.
        """

    async def append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        """Append one contiguous run, all of it or nothing; the span as it is then.

        At most RUN_ENTRIES_MAX entries and RUN_BYTES_MAX bytes, whose terms do not fall, and are at most the writer's.
        Raises ArchiveMoved unless the first is the last span's next, also when the same run was appended before; Fenced.
        """

    async def spans(self, incarnation: int) -> Sequence[Span]:
        """Of an incarnation, ascending. The last index of the last one is as far as a restore can get."""

    def read(self, incarnation: int, from_index: int, to_index: int | None = None) -> AsyncIterator[ArchivedEntry]:
        """Entries from `from_index` on, to `to_index` inclusive or to the end of their span; none is ever left out.

        One behind the end of a span is an empty iterator; what else is not there raises EntriesMissing. Raises
        ArchiveDamaged at the first entry that is not what was written, or that should be there and is not.
        """

    async def trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        """Let go of entries below `below_index` that no whole snapshot needs; and of all that no snapshot of an earlier
        incarnation needs, once this one has a whole snapshot. A backend may keep some of them. The spans that are left
        of this incarnation, whose last is always kept, be it empty. Raises Fenced.
        """


class IncarnationStorage(Protocol):
    """The lives of one cluster."""

    async def reserve(self, incarnation: Incarnation, *, by: str) -> None:
        """Reserve one that is higher than all reserved, for ever. The same one again, with its id, is no error.

        Of any number of callers that race for one number, one wins. When it returns, no write of a lower incarnation
        comes through any more. Every incarnation is reserved before it writes: the first, when the cluster is made.
        Raises IncarnationTaken.
        """

    async def reserved(self) -> Sequence[Reservation]:
        """All reserved, ascending. A cluster that finds a higher one than its own pauses its cleanups (I10)."""

    async def activity(self) -> Activity:
        """What changes with everything that is written. See `silence.watch`."""


class Storage(Protocol):
    """The storage of one cluster. It is entered once; entering does not need the storage to answer."""

    @property
    def cluster_id(self) -> str: ...

    @property
    def snapshots(self) -> SnapshotStorage: ...

    @property
    def archive(self) -> ArchiveStorage: ...

    @property
    def incarnations(self) -> IncarnationStorage: ...

    async def cluster_ids(self) -> Sequence[str]:
        """The clusters that share this storage, sorted: for a person who has to name one. The only look at others."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
