"""The segments of a journal, as their one writer sees them.

Duty: append groups of records durably, begin a new segment when the last is full, and delete those nobody needs.

Invariants:

- A segment has its name only when its header, and the node's metadata behind it, are durable; and nothing is written to
  it before its name is. So every segment can be read, and every prefix of segments can be deleted, without forgetting a
  term or a vote.
- A group is written only when all before it is durable. Nothing that was written is ever written over.
- Segments are deleted whole, the oldest first, each durably before the next: there is never a hole.

Must not know: threads, and what anybody waits for. Every OSError becomes DiskFailed, and ends this object's use.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from garbagetruck.cluster.raft.disk import Disk, DiskFile
from garbagetruck.cluster.raft.errors import DiskFailed
from garbagetruck.cluster.raft.journal.format import (
    HEADER_BYTES,
    Kind,
    Metadata,
    Record,
    SegmentHeader,
    encode_group,
    encode_header,
)
from garbagetruck.cluster.raft.journal.replay import Tip

SUFFIX, UNFINISHED = ".seg", ".tmp"
NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose journal it is; written into every segment, and compared."""

    cluster_id: str
    disk_id: str


@dataclass(frozen=True, slots=True)
class Site:
    """Where a journal is, whose it is, and what it is made with."""

    disk: Disk
    folder: Path
    owner: Owner
    segment_bytes: int
    """At this size a segment is full; so much room is reserved for each."""
    make_nonce: Callable[[], bytes]
    """`NONCE_BYTES` random bytes."""


@dataclass(slots=True)
class Segment:
    """One file: where it ends, and the highest entry that was ever in it."""

    path: Path
    sequence: int
    end: int
    highest_index: int


@dataclass(slots=True)
class Active:
    """The last segment, which is being written."""

    segment: Segment
    file: DiskFile
    seed: int
    chain: int
    groups: int
    allocated: int
    """Room up to here was reserved."""


def name_of(sequence: int, first_index: int) -> str:
    """By sequence first: a log that is cut off can begin a later segment at a lower entry."""
    return f"{sequence:010d}-{first_index:020d}{SUFFIX}"


def carried(metadata: Metadata) -> Record:
    """What every segment begins with, so that those before it can be deleted."""
    return metadata.to_record()


@contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """Have an OSError say what could not be done, and what to do now."""
    try:
        yield
    except OSError as error:
        raise DiskFailed(path, doing, error) from error


class Segments:
    """To be used by one thread at a time. `sealed` ascends, and all of it lies before `active`."""

    def __init__(self, site: Site, *, tip: Tip, sealed: Sequence[Segment], active: Active) -> None:
        self._site = site
        self._tip = tip
        self._sealed = list(sealed)
        self._active = active

    @property
    def size_bytes(self) -> int:
        """What was written and not deleted, reserved room aside."""
        return sum(each.end for each in self._sealed) + self._active.segment.end

    @property
    def count(self) -> int:
        return len(self._sealed) + 1

    def append(self, records: Sequence[Record]) -> None:
        """Make `records` durable, as one group. Raises DiskFailed; then none of them may be believed in."""
        if self._active.segment.end >= self._site.segment_bytes:
            self._roll()
        active = self._active
        segment = active.segment
        data, chain = encode_group(
            records, number=active.groups, offset=segment.end, chain=active.chain, seed=active.seed
        )
        with telling("writing to", segment.path):
            if segment.end + len(data) > active.allocated:
                active.allocated = max(self._site.segment_bytes, segment.end + len(data))
                active.file.allocate(active.allocated)
            active.file.write_durably(data, segment.end)
        active.chain, active.groups = chain, active.groups + 1
        segment.end += len(data)
        for record in records:
            if record.kind != Kind.ENTRY:
                segment.highest_index = max(segment.highest_index, self._tip.next_index - 1)
            self._tip.apply(record.kind, record.index, record.term, record.payload)
        segment.highest_index = max(segment.highest_index, self._tip.next_index - 1)

    def delete_below(self, index: int) -> int:
        """Delete segments that hold nothing but entries below `index`; their number. Raises DiskFailed."""
        deleted = 0
        while self._sealed and self._sealed[0].highest_index < index:
            with telling("deleting", self._sealed[0].path):
                self._site.disk.unlink(self._sealed[0].path)
                self._site.disk.sync_folder(self._site.folder)
            del self._sealed[0]
            deleted += 1
        return deleted

    def free_bytes(self) -> int:
        """What the file system has left. Raises DiskFailed."""
        with telling("asking for the free space of", self._site.folder):
            return self._site.disk.free_bytes(self._site.folder)

    def close(self) -> None:
        self._active.file.close()

    def _roll(self) -> None:
        """Begin a new segment; and only when that is durable, write into the last that there is one."""
        former = self._active
        header = SegmentHeader(
            cluster_id=self._site.owner.cluster_id,
            disk_id=self._site.owner.disk_id,
            sequence=former.segment.sequence + 1,
            first_index=self._tip.next_index,
            previous_term=self._tip.previous_term,
            previous_end=former.segment.end,
            previous_chain=former.chain,
            nonce=self._site.make_nonce(),
        )
        self._active = begin_segment(self._site, header, self._tip)
        self._sealed.append(former.segment)
        seal = Record(int(Kind.SEAL), header.sequence, 0)
        data, _ = encode_group(
            [seal], number=former.groups, offset=former.segment.end, chain=former.chain, seed=former.seed
        )
        with telling("sealing", former.segment.path):
            former.file.write(data, former.segment.end)
            former.file.truncate(former.segment.end + len(data))
            former.file.sync_all()
            former.file.close()


def begin_segment(site: Site, header: SegmentHeader, tip: Tip) -> Active:
    """Make the segment of `header`, durably, with the metadata of `tip` in it. Raises DiskFailed."""
    page, seed = encode_header(header)
    group, chain = encode_group([carried(tip.metadata)], number=0, offset=HEADER_BYTES, chain=seed, seed=seed)
    path = site.folder / name_of(header.sequence, header.first_index)
    unfinished = path.with_name(path.name + UNFINISHED)
    end = HEADER_BYTES + len(group)
    allocated = max(site.segment_bytes, end)
    with telling("beginning", path):
        file = site.disk.create(unfinished)
        try:
            file.allocate(allocated)
            file.write(page + group, 0)
            file.sync_all()
            site.disk.rename(unfinished, path)
            site.disk.sync_folder(site.folder)
        except BaseException:
            file.close()
            raise
    segment = Segment(path, header.sequence, end, header.first_index - 1)
    return Active(segment, file, seed, chain, 1, allocated)
