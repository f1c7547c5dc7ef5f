"""Files of archived entries, one after the other::

    FIRST-INDEX.seg = entries; entry = index (8 bytes), term (8), archived at (8), length (4), checksum (8), payload

Duty: append to a file, read it back. Invariants: what a file has behind the size that the head gives is nobody's: what a
crash left of an append that was never acknowledged. It is overwritten by the next.

Threads: any; all calls block.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from garbagetruck.storage.checksums import CHECKSUM_BYTES, entry_checksum
from garbagetruck.storage.directory.files import sync_folder
from garbagetruck.storage.errors import ArchiveDamaged, EntriesMissing
from garbagetruck.storage.records import ENTRY_BYTES_MAX, ArchivedEntry, Span

SEGMENT_BYTES = 16 * 1024 * 1024
"""A file that has reached this is not appended to."""

_ENTRY = struct.Struct(f"<QQQI{CHECKSUM_BYTES}s")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, all of whose entries are of one span."""

    first_index: int
    last_index: int
    size_bytes: int

    @property
    def name(self) -> str:
        return f"{self.first_index:020d}.seg"

    def overlaps(self, span: Span) -> bool:
        return self.first_index <= span.last_index and self.last_index >= span.first_index


@dataclass(frozen=True, slots=True)
class Head:
    """What is archived of one incarnation; the only word on it. It is written after what it tells of is durable."""

    term: int = 0
    writes: int = 0
    written_at_ms: int | None = None
    spans: tuple[Span, ...] = ()
    segments: tuple[Segment, ...] = ()


def append(folder: Path, incarnation: int, head: Head, entries: Sequence[ArchivedEntry]) -> tuple[Segment, ...]:
    """Make `entries`, which follow the head's last span, durable; the segments with them."""
    parts = []
    for entry in entries:
        checksum = entry_checksum(incarnation, entry.index, entry.term, entry.payload)
        parts.append(_ENTRY.pack(entry.index, entry.term, entry.archived_at_ms, len(entry.payload), checksum))
        parts.append(entry.payload)
    content = b"".join(parts)
    first, last = entries[0].index, entries[-1].index
    before, segment = head.segments, Segment(first, last, len(content))
    newest = before[-1] if before else None
    offset = 0
    if newest is not None and newest.last_index == first - 1 and newest.size_bytes < SEGMENT_BYTES:
        before, offset = before[:-1], newest.size_bytes
        segment = Segment(newest.first_index, last, offset + len(content))
    path = folder / segment.name
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size < offset:
            raise ArchiveDamaged(incarnation, first - 1, f"{path} is shorter than it was")
        os.ftruncate(fd, offset)
        _write_all(fd, content, offset)
        os.fdatasync(fd)
    finally:
        os.close(fd)
    if not offset:
        sync_folder(folder)
    return (*before, segment)


def _write_all(fd: int, content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written


def read(folder: Path, incarnation: int, segments: Sequence[Segment], index: int, last: int) -> Iterator[ArchivedEntry]:
    """Entries from `index` to `last`. Raises ArchiveDamaged, and EntriesMissing when a file was deleted meanwhile."""
    for segment in segments:
        if segment.last_index < index or segment.first_index > last:
            continue
        try:
            file = (folder / segment.name).open("rb")
        except FileNotFoundError:
            raise EntriesMissing(incarnation, index) from None
        with file:
            for expected in range(segment.first_index, min(segment.last_index, last) + 1):
                head = file.read(_ENTRY.size)
                found, term, at_ms, length, checksum = (
                    _ENTRY.unpack(head) if len(head) == _ENTRY.size else (0, 0, 0, ENTRY_BYTES_MAX + 1, b"")
                )
                payload = file.read(length) if length <= ENTRY_BYTES_MAX else b""
                sound = found == expected and entry_checksum(incarnation, found, term, payload) == checksum
                if not sound:
                    raise ArchiveDamaged(incarnation, max(index, expected), "it is not what was written")
                if expected >= index:
                    yield ArchivedEntry(found, term, payload, at_ms)
        index = segment.last_index + 1
    if index <= last:
        raise ArchiveDamaged(incarnation, index, "it is not there")
