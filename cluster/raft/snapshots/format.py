"""The bytes of a snapshot file::

    file  = header page (4,096 bytes: magic, format, body length, `SnapshotHeader`, CRC32), chunk, chunk, ..., end
    chunk = length (4), CRC32 (4), bytes; every checksum is begun with the one before it, the first with the header's
    end   = a chunk of no bytes

Invariants: what was damaged or cut off is refused, wherever that happened. Must not know: what a chunk holds, and what it
is compressed with.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zlib import crc32

import msgspec

from garbagetruck.cluster.raft.disk import DiskFile
from garbagetruck.cluster.raft.errors import JournalTooNew, SnapshotDamaged
from garbagetruck.cluster.raft.journal.replay import LogTuple
from garbagetruck.cluster.raft.voter_change import Disks

FORMAT = 2
"""A file that names no voters has format 1, as before they could change."""
MAGIC = b"\xf3GTsnp\r\n"
HEADER_BYTES = 4_096
CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""The largest slice; a longer one is a damaged length."""

_PREFIX = struct.Struct("<8sII")
_CHUNK = struct.Struct("<II")
_LENGTH = struct.Struct("<I")

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class SnapshotHeader(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot is of."""

    cluster_id: str
    incarnation: Natural
    snapshot_id: str
    """Random: two snapshots of one index need not have the same bytes, and must not be mixed."""
    index: Natural
    """The last entry that was applied."""
    term: Natural
    """Its term."""
    previous_term: Natural
    """The term of the entry before it; pysyncobj wants to know."""
    voters: Disks | None = None
    """The configuration behind that entry; None for the founders', in a file of format 1."""


COMMAND = b"\1"
"""Stands for a command that nobody may have from here, because what it did is in the snapshot. It is pysyncobj's no-op."""


def last_entries(header: SnapshotHeader) -> tuple[LogTuple, LogTuple]:
    """The last two entries of a snapshot, without what they said."""
    return (COMMAND, header.index - 1, header.previous_term), (COMMAND, header.index, header.term)


def is_hollow(entry: LogTuple, previous_term: int | None) -> bool:
    """Whether an entry may stand for another that is in a snapshot only.

    What stands for it looks like the entry that opens a term. Where it does open one, that is what it stands for.
    """
    command, index, term = entry
    if command != COMMAND:
        return False
    return index > 1 and (previous_term is None or previous_term == term)


class Framing:
    """Frames chunks one after the other. `page` comes before them all."""

    def __init__(self, header: SnapshotHeader) -> None:
        self.page, self._chain = encode_header(header)

    def frame(self, chunk: bytes) -> bytes:
        """The bytes of the next chunk; of the end, for no bytes."""
        self._chain = crc32(chunk, crc32(_LENGTH.pack(len(chunk)), self._chain))
        return _CHUNK.pack(len(chunk), self._chain) + chunk


def encode_header(header: SnapshotHeader) -> tuple[bytes, int]:
    body = msgspec.msgpack.encode(header)
    page = _PREFIX.pack(MAGIC, FORMAT if header.voters is not None else 1, len(body)) + body
    seed = crc32(page)
    page += _LENGTH.pack(seed)
    assert len(page) <= HEADER_BYTES
    return page.ljust(HEADER_BYTES, b"\0"), seed


def decode_header(path: Path, page: bytes) -> tuple[SnapshotHeader, int]:
    if len(page) < HEADER_BYTES:
        raise SnapshotDamaged(path, f"it ends after {len(page)} bytes", 0)
    magic, found, length = _PREFIX.unpack_from(page)
    end = _PREFIX.size + length
    if magic != MAGIC or end > HEADER_BYTES - _LENGTH.size or crc32(page[:end]) != _LENGTH.unpack_from(page, end)[0]:
        raise SnapshotDamaged(path, "its header is not what was written", 0)
    if not 1 <= found <= FORMAT:
        raise JournalTooNew(path, found=found, known=FORMAT)
    try:
        return msgspec.msgpack.decode(page[_PREFIX.size : end], type=SnapshotHeader), crc32(page[:end])
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(path, f"its header says nothing: {error}", 0) from error


def read_chunks(file: DiskFile, chain: int) -> Iterator[bytes]:
    """Up to the end, which has to be there."""
    offset = HEADER_BYTES
    while True:
        head = file.read(_CHUNK.size, offset)
        length, expected = _CHUNK.unpack(head) if len(head) == _CHUNK.size else (CHUNK_BYTES_MAX + 1, 0)
        if length > CHUNK_BYTES_MAX:
            raise SnapshotDamaged(file.path, "a chunk is not what was written", offset)
        chunk = file.read(length, offset + _CHUNK.size)
        chain = crc32(chunk, crc32(_LENGTH.pack(length), chain))
        if len(chunk) < length or chain != expected:
            raise SnapshotDamaged(file.path, "a chunk is not what was written", offset)
        offset += _CHUNK.size + length
        if not chunk:
            return
        yield chunk
