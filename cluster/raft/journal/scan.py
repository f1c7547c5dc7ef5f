"""Reads one segment: every whole record, in order, and what to think of the place where they end.

Duty: hand each record over as it is verified, and say where and how the segment ends.

Invariants: a record is handed over only if it, and everything before it in its segment, is what was written there.
Memory is bounded by the window and one record, whatever the file says of itself.

Must not know: what records mean, and what to do about damage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from garbagetruck.cluster.raft.disk import DiskFile
from garbagetruck.cluster.raft.journal.format import (
    GROUP_MAGIC,
    HEADER_BYTES,
    MARK_BYTES,
    RECORD_HEAD,
    RECORD_PAYLOAD_BYTES_MAX,
    decode_mark,
)

WINDOW_BYTES = 1024 * 1024
"""How much is read at once."""

OnRecord = Callable[[int, int, int, bytes], None]
"""(kind, index, term, payload)"""


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """Where the whole records of a segment end."""

    offset: int
    chain: int
    groups: int
    """How many marks were passed."""
    last_group: int
    """The offset of the last of them."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """What lies behind the end of the whole records."""

    is_empty: bool
    """Zeros only, or nothing."""
    later_mark: int | None
    """The offset of a mark of this segment. It proves that what is bad before it had been durable."""


def read_records(file: DiskFile, seed: int, on_record: OnRecord, *, until: int | None = None) -> SegmentEnd:
    """Hand over the records up to the first that is not whole, or up to the offset `until`."""
    window = _Window(file)
    offset, chain, groups, last_group = HEADER_BYTES, seed, 0, HEADER_BYTES
    end = file.size() if until is None else until
    head_bytes, unpack = RECORD_HEAD.size, RECORD_HEAD.unpack_from
    while offset < end:
        at = window.at(offset, MARK_BYTES)
        data = window.data
        # Everything that is whole in the window, without a call for each.
        limit = min(len(data), at + end - offset)
        view = memoryview(data)
        began = at
        while at + head_bytes <= limit:
            found, length, kind, index, term = unpack(data, at)
            behind = at + head_bytes + length
            if behind > limit or crc32(view[at + 4 : behind], chain) != found or not kind or not groups:
                break
            on_record(kind, index, term, data[at + head_bytes : behind])
            chain, at = found, behind
        offset += at - began
        if offset >= end:
            break
        if window.may_end_too_soon(offset, MARK_BYTES):
            continue  # what is no record in this window may be one in the next
        mark = decode_mark(data, at, offset=offset, seed=seed)
        if mark is not None and mark.chain_before == chain and mark.number == groups:
            last_group = offset
            offset, chain, groups = offset + MARK_BYTES, mark.chain, groups + 1
        elif not window.widen(offset):
            break
    return SegmentEnd(offset, chain, groups, last_group)


def look_behind(file: DiskFile, end: SegmentEnd, seed: int) -> Remainder:
    """Look through everything behind the whole records."""
    is_empty, later_mark = True, None
    offset = end.offset
    size = file.size()
    zeros = bytes(WINDOW_BYTES + MARK_BYTES)
    while offset < size and later_mark is None:
        data = file.read(WINDOW_BYTES + MARK_BYTES - 1, offset)  # a mark may begin at the last byte of the window
        is_empty = is_empty and data == zeros[: len(data)]
        at = data.find(GROUP_MAGIC)
        while at >= 0 and later_mark is None:
            if decode_mark(data, at, offset=offset + at, seed=seed) is not None:
                later_mark = offset + at
            at = data.find(GROUP_MAGIC, at + 1)
        offset += WINDOW_BYTES
    return Remainder(is_empty, later_mark)


class _Window:
    """A part of the file, in memory."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file
        self._begin = 0
        self._asked = 0
        self.data = b""

    def at(self, offset: int, length: int) -> int:
        """Where `offset` is in `data`, which holds `length` bytes from there on unless the file ends before."""
        if not self._begin <= offset <= self._begin + len(self.data) - length:
            self._read(offset, WINDOW_BYTES)
        return offset - self._begin

    def may_end_too_soon(self, offset: int, length: int) -> bool:
        """Whether `data` does not hold `length` bytes from `offset` on, and another window might."""
        return offset != self._begin and offset + length > self._begin + len(self.data)

    def widen(self, offset: int) -> bool:
        """Begin the window with the record at `offset`, whole; False when that was so already, or it is none."""
        at = offset - self._begin
        has_head = len(self.data) - at >= RECORD_HEAD.size
        length = RECORD_HEAD.unpack_from(self.data, at)[1] if has_head else 0
        needed = max(WINDOW_BYTES, RECORD_HEAD.size + length)
        if length > RECORD_PAYLOAD_BYTES_MAX or (self._begin == offset and self._asked >= needed):
            return False
        self._read(offset, needed)
        return True

    def _read(self, offset: int, length: int) -> None:
        self._begin, self._asked = offset, length
        self.data = self._file.read(length, offset)
