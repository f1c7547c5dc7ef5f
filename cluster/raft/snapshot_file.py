"""Snapshots on a node's own disk: one file each, whole or not there.

Duty: write a snapshot in slices, make it durable, find the newest at start, and prove that it is what was written before
anybody believes it (hazards 4, 6, 7 and 18)::

    file  = header page (4,096 bytes: magic, format, body length, `SnapshotHeader`, CRC32), chunk, chunk, ..., end
    chunk = length (4), CRC32 (4), bytes; every checksum is begun with the one before it, the first with the header's
    end   = a chunk of no bytes

Invariants: a file has its name only when all of it is durable; a snapshot never takes the place of a newer one; older
ones go only when the newer is durable. What was damaged is refused, never skipped.

Must not know: what a snapshot holds, and what it is compressed with. Threads: any, one at a time.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zlib import crc32

import msgspec

from garbagetruck.cluster.raft.disk import Disk, DiskFile
from garbagetruck.cluster.raft.errors import JournalForeign, JournalTooNew, SnapshotDamaged
from garbagetruck.cluster.raft.journal.segments import telling

FORMAT = 1
MAGIC = b"\xf3GTsnp\r\n"
HEADER_BYTES = 4_096
CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""The largest slice; a longer one is a damaged length."""
SUFFIX, UNFINISHED = ".snap", ".tmp"

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


class SnapshotStore:
    """The snapshots in one folder. `open` it first. Everything raises DiskFailed, too."""

    def __init__(self, disk: Disk, folder: Path, *, cluster_id: str) -> None:
        self._disk = disk
        self._folder = folder
        self._cluster_id = cluster_id
        self._newest: SnapshotHeader | None = None

    @property
    def newest(self) -> SnapshotHeader | None:
        return self._newest

    def open(self) -> SnapshotHeader | None:
        """Find the newest snapshot, read all of it, and clear away what was not finished.

        Raises StorageRefused (SnapshotDamaged and its siblings), and has then changed nothing.
        """
        with telling("reading", self._folder):
            if self._disk.make_folder(self._folder):
                self._disk.sync_folder(self._folder.parent)
            names = self._disk.names(self._folder)
            snapshots = [name for name in names if name.endswith(SUFFIX)]
            if snapshots:
                header, chunks = self._read(self._folder / snapshots[-1])
                for _ in chunks:
                    pass
                if snapshots[-1] != name_of(header):
                    raise SnapshotDamaged(self._folder / snapshots[-1], f"by its header its name is {name_of(header)}")
                self._newest = header
            self._disk.sync_folder(self._folder)  # the newest may have its name in the kernel's memory only
            for name in [*snapshots[:-1], *(each for each in names if each.endswith(UNFINISHED))]:
                self._disk.unlink(self._folder / name)
        return self._newest

    def read(self) -> Iterator[bytes]:
        """The newest snapshot's chunks, verified one by one. Raises SnapshotDamaged."""
        assert self._newest is not None
        with telling("reading", self._folder):
            _, chunks = self._read(self._folder / name_of(self._newest))
            yield from chunks

    def begin(self, header: SnapshotHeader) -> "SnapshotWriter":
        """Begin a file for a snapshot newer than the newest. Only one may be unfinished."""
        assert header.cluster_id == self._cluster_id
        assert self._newest is None or header.index > self._newest.index, "an older snapshot in the place of a newer"
        path = self._folder / (name_of(header) + UNFINISHED)
        with telling("beginning", path):
            return SnapshotWriter(self, header, self._disk.create(path))

    def adopt(self, header: SnapshotHeader, unfinished: Path) -> None:
        """For the writer: all of it is durable, so let it be the newest, and delete those before it."""
        former = self._newest
        with telling("finishing", unfinished):
            self._disk.rename(unfinished, self._folder / name_of(header))
            self._disk.sync_folder(self._folder)
            self._newest = header
            if former is not None:
                self._disk.unlink(self._folder / name_of(former))

    def discard(self, unfinished: Path) -> None:
        with telling("deleting", unfinished):
            self._disk.unlink(unfinished)

    def _read(self, path: Path) -> tuple[SnapshotHeader, Iterator[bytes]]:
        file = self._disk.open(path)
        try:
            header, seed = _decode_header(path, file.read(HEADER_BYTES, 0))
            if header.cluster_id != self._cluster_id:
                raise JournalForeign(  # noqa: TRY301
                    path, found=f"cluster {header.cluster_id}", expected=f"cluster {self._cluster_id}"
                )
        except BaseException:
            file.close()
            raise
        return header, _chunks(file, seed)


class SnapshotWriter:
    """One unfinished snapshot: `write` its slices in order, then `finish` it or `abandon` it."""

    def __init__(self, store: SnapshotStore, header: SnapshotHeader, file: DiskFile) -> None:
        self._store = store
        self._header = header
        self._file = file
        page, self._chain = _encode_header(header)
        self._end = 0
        self._put(page)

    def write(self, chunk: bytes) -> None:
        """Append a slice, of at most CHUNK_BYTES_MAX bytes and at least one. It is synced by and by."""
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX
        self._put(self._framed(chunk))
        with telling("writing to", self._file.path):
            self._file.sync()  # so that no sync has much to do, and the journal's do not wait behind one that has

    def finish(self) -> None:
        """Make it durable, and the newest."""
        self._put(self._framed(b""))
        with telling("finishing", self._file.path):
            self._file.sync_all()
            self._file.close()
        self._store.adopt(self._header, self._file.path)

    def abandon(self) -> None:
        self._file.close()
        self._store.discard(self._file.path)

    def _framed(self, chunk: bytes) -> bytes:
        self._chain = crc32(chunk, crc32(_LENGTH.pack(len(chunk)), self._chain))
        return _CHUNK.pack(len(chunk), self._chain) + chunk

    def _put(self, data: bytes) -> None:
        with telling("writing to", self._file.path):
            self._file.write(data, self._end)
        self._end += len(data)


def name_of(header: SnapshotHeader) -> str:
    return f"{header.index:020d}{SUFFIX}"


def _encode_header(header: SnapshotHeader) -> tuple[bytes, int]:
    body = msgspec.msgpack.encode(header)
    page = _PREFIX.pack(MAGIC, FORMAT, len(body)) + body
    seed = crc32(page)
    page += _LENGTH.pack(seed)
    assert len(page) <= HEADER_BYTES
    return page.ljust(HEADER_BYTES, b"\0"), seed


def _decode_header(path: Path, page: bytes) -> tuple[SnapshotHeader, int]:
    if len(page) < HEADER_BYTES:
        raise SnapshotDamaged(path, f"it ends after {len(page)} bytes", 0)
    magic, found, length = _PREFIX.unpack_from(page)
    end = _PREFIX.size + length
    if magic != MAGIC or end > HEADER_BYTES - _LENGTH.size or crc32(page[:end]) != _LENGTH.unpack_from(page, end)[0]:
        raise SnapshotDamaged(path, "its header is not what was written", 0)
    if found != FORMAT:
        raise JournalTooNew(path, found=found, known=FORMAT)
    try:
        return msgspec.msgpack.decode(page[_PREFIX.size : end], type=SnapshotHeader), crc32(page[:end])
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(path, f"its header says nothing: {error}", 0) from error


def _chunks(file: DiskFile, chain: int) -> Iterator[bytes]:
    """Up to the end, which has to be there. Closes the file."""
    offset = HEADER_BYTES
    try:
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
    finally:
        file.close()
