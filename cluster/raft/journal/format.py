"""The bytes of the journal: segments, groups, records.

A segment is a header page, then groups. A group is what one sync makes durable: a mark, then records::

    segment  = header page (4,096 bytes), group, group, ... zeros or nothing
    header   = magic (8), format (4), body length (4), body (MessagePack of `SegmentHeader`), CRC32 of all before (4)
    group    = magic (8), number (8), offset (8), chain (4), CRC32 (4), then records
    record   = CRC32 (4), payload length (4), kind (1), index (8), term (8), payload

Numbers are little-endian and unsigned. Every checksum but the header's is begun with the one before it (the *chain*);
the first group's with the header's, which covers a random nonce. So a record counts only where it was written, behind
exactly the records it was written behind: what a reused block, another file or an earlier write left there never does.

A group's mark is checked on its own, by the header's checksum and its own offset, and can therefore be found behind a
hole. It is written only after all before it is durable; so a mark behind a bad record proves that the record had been
durable, and is damaged, not torn (`scan`).

Pure: no I/O. Must not know: what an entry means.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated
from zlib import crc32

import msgspec

FORMAT = 1
"""Written into every segment; a higher one is refused."""

HEADER_BYTES = 4_096
GROUP_MAGIC = b"\xf3GTgrp\r\n"
RECORD_PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
"""A longer payload is a damaged length."""

SEGMENT_MAGIC = b"\xf3GTseg\r\n"
_PREFIX = struct.Struct("<8sII")
_CRC = struct.Struct("<I")
_MARK = struct.Struct("<8sQQI")
_RECORD = struct.Struct("<IBQQ")
RECORD_HEAD = struct.Struct("<IIBQQ")
MARK_BYTES = _MARK.size + _CRC.size

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Kind(IntEnum):
    """What a record does to the log. 0 is what was never written."""

    ENTRY = 1
    """Append the payload as entry `index` of `term`."""
    TRUNCATE = 2
    """Remove entry `index` and all behind it; `term` is that of the entry before it."""
    METADATA = 3
    """This node is in `term`, its vote there is the payload, and entries up to `index`, at least, are committed."""
    RESET = 4
    """Remove everything; the next entry is `index`, and the one before it had `term`."""
    SEAL = 5
    """Nothing follows in this segment, and the segment numbered `index` exists."""


ENTRY, METADATA = int(Kind.ENTRY), int(Kind.METADATA)
"""For the loops, where an enumeration's members cost more than the rest."""


@dataclass(frozen=True, slots=True)
class Record:
    kind: int
    index: int
    term: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a node must not forget besides its entries, and how far it knew the log to be committed."""

    term: int = 0
    vote: str | None = None
    commit_index: int = 0

    def to_record(self) -> Record:
        return Record(METADATA, self.commit_index, self.term, (self.vote or "").encode())

    @staticmethod
    def from_record(index: int, term: int, payload: bytes) -> "Metadata":
        """Raises UnicodeDecodeError."""
        return Metadata(term, payload.decode() or None, index)

    def knowing_of(self, changes: Sequence[int]) -> "Metadata":
        """This, its commit index raised to what the log itself proves to be committed, by the indexes of its changes of the voters.

        A leader proposes a change only when the one before is applied there, and so committed. Whoever has the later one in
        its log knows that much, for it came with it; but the disk is told of commit indexes only now and then. A node that
        forgot it would count votes by a configuration two changes old, of which a majority may have nobody in common with
        one of the present.
        """
        if len(changes) < 2:  # noqa: PLR2004  # the last but one
            return self
        return Metadata(self.term, self.vote, max(self.commit_index, changes[-2]))


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """Whose the segment is, and how it is tied to the one before."""

    cluster_id: str
    disk_id: str
    sequence: Natural
    """1 for a journal's first segment, then one more each."""
    first_index: Natural
    """The entry that came next when the segment was begun. Later segments can begin at lower ones: logs are cut."""
    previous_term: Natural
    """Term of the entry before it; 0 when there is none."""
    previous_end: Natural
    """Where the segment before ended when this one was begun, its seal aside; 0 in the first."""
    previous_chain: Natural
    """The last checksum there."""
    nonce: bytes
    """Random, so that no two segments ever have the same chain."""


class ForeignFormat(Exception):
    """A whole header, of a format that this code does not know."""

    def __init__(self, found: int) -> None:
        super().__init__(f"format {found}")
        self.found = found


_header_decoder: msgspec.msgpack.Decoder[SegmentHeader] = msgspec.msgpack.Decoder(SegmentHeader)


def encode_header(header: SegmentHeader) -> tuple[bytes, int]:
    """The header page, and the chain that its groups begin with."""
    body = msgspec.msgpack.encode(header)
    page = _PREFIX.pack(SEGMENT_MAGIC, FORMAT, len(body)) + body
    seed = crc32(page)
    page += _CRC.pack(seed)
    assert len(page) <= HEADER_BYTES, "cluster and disk id do not fit into a header"
    return page.ljust(HEADER_BYTES, b"\0"), seed


def decode_header(page: bytes) -> tuple[SegmentHeader, int]:
    """The header, and the chain that its groups begin with. Raises ValueError, and ForeignFormat."""
    if len(page) < HEADER_BYTES:
        raise ValueError(f"it ends after {len(page)} bytes, within its header")
    magic, found, length = _PREFIX.unpack_from(page)
    if magic != SEGMENT_MAGIC:
        raise ValueError("its header does not begin as a segment's does")
    end = _PREFIX.size + length
    if end + _CRC.size > HEADER_BYTES or crc32(page[:end]) != _CRC.unpack_from(page, end)[0]:
        raise ValueError("the checksum of its header is wrong")
    if found != FORMAT:
        raise ForeignFormat(found)
    try:
        header = _header_decoder.decode(page[_PREFIX.size : end])
    except msgspec.MsgspecError as error:
        raise ValueError(f"its header says nothing: {error}") from error
    return header, crc32(page[:end])


def encode_group(records: Iterable[Record], *, number: int, offset: int, chain: int, seed: int) -> tuple[bytes, int]:
    """The group's bytes, to be written at `offset`, and the chain behind it."""
    mark = _MARK.pack(GROUP_MAGIC, number, offset, chain)
    chain = crc32(mark, seed)
    parts = [mark, _CRC.pack(chain)]
    for record in records:
        head = _RECORD.pack(len(record.payload), record.kind, record.index, record.term)
        chain = crc32(record.payload, crc32(head, chain))
        parts += (_CRC.pack(chain), head, record.payload)
    return b"".join(parts), chain


@dataclass(frozen=True, slots=True)
class GroupMark:
    number: int
    chain_before: int
    chain: int


def decode_mark(data: bytes, at: int, *, offset: int, seed: int) -> GroupMark | None:
    """The mark at `data[at:]`, which stands at `offset` of the segment; None unless it was written exactly there."""
    if len(data) - at < MARK_BYTES:
        return None
    magic, number, own_offset, chain_before = _MARK.unpack_from(data, at)
    (chain,) = _CRC.unpack_from(data, at + _MARK.size)
    if magic != GROUP_MAGIC or own_offset != offset or crc32(data[at : at + _MARK.size], seed) != chain:
        return None
    return GroupMark(number, chain_before, chain)
