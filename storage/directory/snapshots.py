"""Snapshots in a folder: one file each::

    ID.snap = header record, its length before it (4 bytes); chunks; end
    chunk   = length (4 bytes), checksum (8), bytes
    end     = a chunk of no bytes, whose checksum is zeros; then number of chunks (8), their size (8), content digest (16),
              CRC32 of these (4)

Invariants: the name `ID.snap` is given to what is whole and durable; until then it is `ID.part`, which is never read.
"""

import os
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec
from typing_extensions import override

from garbagetruck.storage.checksums import CHECKSUM_BYTES, CONTENT_DIGEST_BYTES, ContentDigest, chunk_checksum
from garbagetruck.storage.directory.files import make_folder, sync_folder
from garbagetruck.storage.directory.place import Place
from garbagetruck.storage.errors import SnapshotDamaged, SnapshotTaken, SnapshotUnknown, StorageError
from garbagetruck.storage.protocol import SnapshotSink, SnapshotStorage
from garbagetruck.storage.records import (
    CHUNK_BYTES_MAX,
    Incarnation,
    SnapshotHeader,
    StoredSnapshot,
    check_header,
)
from garbagetruck.storage.retention import Retention, is_overtaken, superfluous

WHOLE, PART = ".snap", ".part"
HEADER_BYTES_MAX = 4_096
GROUP_BYTES = 4 * 1024 * 1024
"""Chunks that are synced together."""

_LENGTH = struct.Struct("<I")
_CHUNK = struct.Struct(f"<I{CHECKSUM_BYTES}s")
_END = struct.Struct(f"<QQ{CONTENT_DIGEST_BYTES}s")


class DirectorySink(SnapshotSink):
    def __init__(self, place: Place, header: SnapshotHeader) -> None:
        self._place = place
        self._header = header
        self._part = place.snapshots / f"{header.snapshot_id}{PART}"
        self._digest = ContentDigest()
        self._unsynced_bytes = 0
        self._over = False

    @override
    async def write(self, chunk: bytes) -> None:
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX
        assert not self._over
        await self._place.run(self._write, chunk)

    @override
    async def finish(self) -> StoredSnapshot:
        assert not self._over
        return await self._place.run(self._finish)

    @override
    async def abandon(self) -> None:
        await self._place.run(self._abandon)

    def _write(self, chunk: bytes) -> None:
        with self._place.looking("writing a snapshot to"), self._open() as file:
            checksum = chunk_checksum(self._header.snapshot_id, self._digest.chunks, chunk)
            file.write(_CHUNK.pack(len(chunk), checksum))
            file.write(chunk)
            self._digest.add(chunk)
            file.flush()
            self._unsynced_bytes += len(chunk)
            if self._unsynced_bytes >= GROUP_BYTES:
                os.fdatasync(file.fileno())  # so that the last sync has little to do
                self._place.require(self._header.incarnation)  # so that who is deposed need not write to the end
                self._unsynced_bytes = 0

    def _finish(self) -> StoredSnapshot:
        digest = self._digest
        with self._place.changing("finishing a snapshot in"):
            self._place.require(self._header.incarnation)
            end = _END.pack(digest.chunks, digest.size_bytes, digest.digest())
            with self._open() as file:
                file.write(_CHUNK.pack(0, bytes(CHECKSUM_BYTES)) + end + _LENGTH.pack(crc32(end)))
                file.flush()
                os.fsync(file.fileno())
            self._part.rename(self._part.with_suffix(WHOLE))
            self._over = True
            sync_folder(self._part.parent)
        return StoredSnapshot(self._header, digest.chunks, digest.size_bytes)

    def _abandon(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            with self._place.changing("abandoning a snapshot in"):
                self._part.unlink(missing_ok=True)
        except StorageError:
            return  # a later `begin` or `prune` clears it

    def _open(self) -> BinaryIO:
        """At its end. It is not made anew when it was deleted."""
        try:
            fd = os.open(self._part, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SnapshotUnknown(self._header.snapshot_id) from None
        return os.fdopen(fd, "ab")


class DirectorySnapshots(SnapshotStorage):
    def __init__(self, place: Place) -> None:
        self._place = place

    @override
    async def begin(self, header: SnapshotHeader) -> SnapshotSink:
        check_header(header)
        return await self._place.run(self._begin, header)

    @override
    async def whole(self) -> Sequence[StoredSnapshot]:
        return await self._place.run(self._whole)

    @override
    async def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        chunks = await self._place.run(self._open, snapshot_id)
        try:
            while (chunk := await self._place.run(next, chunks, b"")) != b"":
                yield chunk
        finally:
            chunks.close()

    @override
    async def delete(self, snapshot_id: str) -> bool:
        return await self._place.run(self._delete, snapshot_id)

    @override
    async def prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> Sequence[str]:
        return await self._place.run(self._prune, incarnation, retention, now_ms)

    def _begin(self, header: SnapshotHeader) -> SnapshotSink:
        place = self._place
        with place.changing("beginning a snapshot in"):
            place.require(header.incarnation)
            make_folder(place.snapshots)
            part = place.snapshots / f"{header.snapshot_id}{PART}"
            if part.exists() or part.with_suffix(WHOLE).exists():
                raise SnapshotTaken(header.snapshot_id)
            for path, other in self._unfinished():
                if other is None or (other.node_id, other.incarnation) == (header.node_id, header.incarnation):
                    path.unlink()
            body = msgspec.msgpack.encode(header)
            part.write_bytes(_LENGTH.pack(len(body)) + body + _LENGTH.pack(crc32(body)))
        return DirectorySink(place, header)

    def _unfinished(self) -> Iterator[tuple[Path, SnapshotHeader | None]]:
        """None for what was torn before it had a header."""
        for path in self._place.snapshots.glob(f"*{PART}"):
            with path.open("rb") as file:
                yield path, _read_header(file)

    def found_whole(self) -> list[StoredSnapshot]:
        """Furthest first. Not those with a damaged header or end, of which nothing is known. On the executor."""
        found = [_describe(path) for path in self._place.snapshots.glob(f"*{WHOLE}")]
        return sorted((each for each in found if each is not None), key=lambda each: each.age_key, reverse=True)

    def mark(self) -> str:
        """Changes with everything that is written here. On the executor."""
        sizes = []
        for path in self._place.snapshots.glob("*"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                sizes.append(path.stat().st_size)
        return f"{len(sizes)}:{sum(sizes)}"

    def _whole(self) -> list[StoredSnapshot]:
        with self._place.looking("listing snapshots in"):
            return self.found_whole()

    def _open(self, snapshot_id: str) -> "_Chunks":
        with self._place.looking("reading a snapshot in"):
            try:
                file = (self._place.snapshots / f"{snapshot_id}{WHOLE}").open("rb")
            except FileNotFoundError:
                raise SnapshotUnknown(snapshot_id) from None
        return _Chunks(self._place, snapshot_id, file)

    def _delete(self, snapshot_id: str) -> bool:
        found = False
        with self._place.changing("deleting a snapshot in"):
            for suffix in (WHOLE, PART):
                path = self._place.snapshots / f"{snapshot_id}{suffix}"
                found |= path.exists()
                path.unlink(missing_ok=True)
            if found:
                sync_folder(self._place.snapshots)
        return found

    def _prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> list[str]:
        place = self._place
        with place.changing("pruning snapshots in"):
            place.require(incarnation)
            whole = self.found_whole()
            doomed = [place.snapshots / f"{each}{WHOLE}" for each in superfluous(whole, retention, now_ms)]
            if whole:
                doomed += [
                    path for path, header in self._unfinished() if header is None or is_overtaken(header, whole[0])
                ]
            for path in doomed:
                path.unlink(missing_ok=True)
            if doomed:
                sync_folder(place.snapshots)
        return [path.stem for path in doomed]


class _Chunks:
    """The chunks of a file, verified one by one, and the whole at the end. To be iterated and closed."""

    def __init__(self, place: Place, snapshot_id: str, file: BinaryIO) -> None:
        self._place = place
        self._snapshot_id = snapshot_id
        self._file = file
        self._seen = ContentDigest()
        self._began = False

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._place.looking("reading a snapshot in"):
            if not self._began and _read_header(self._file) is None:
                raise SnapshotDamaged(self._snapshot_id, "its header is not what was written")
            self._began = True
            return self._next()

    def _next(self) -> bytes:
        number, seen = self._seen.chunks, self._seen
        head = self._file.read(_CHUNK.size)
        length, checksum = _CHUNK.unpack(head) if len(head) == _CHUNK.size else (CHUNK_BYTES_MAX + 1, b"")
        if length > CHUNK_BYTES_MAX:
            raise SnapshotDamaged(self._snapshot_id, "it is not what was written", number)
        if length == 0:
            if _read_end(self._file) != (seen.chunks, seen.size_bytes, seen.digest()):
                raise SnapshotDamaged(self._snapshot_id, "its chunks are not those that were written")
            raise StopIteration
        chunk = self._file.read(length)
        if len(chunk) < length or chunk_checksum(self._snapshot_id, number, chunk) != checksum:
            raise SnapshotDamaged(self._snapshot_id, "it is not what was written", number)
        seen.add(chunk)
        return chunk


def _read_header(file: BinaryIO) -> SnapshotHeader | None:
    head = file.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else HEADER_BYTES_MAX + 1
    if length > HEADER_BYTES_MAX:
        return None
    body, expected = file.read(length), file.read(_LENGTH.size)
    if len(body) < length or expected != _LENGTH.pack(crc32(body)):
        return None
    try:
        return msgspec.msgpack.decode(body, type=SnapshotHeader)
    except msgspec.MsgspecError:
        return None


def _read_end(file: BinaryIO) -> tuple[int, int, bytes] | None:
    body = file.read(_END.size)
    if len(body) < _END.size or file.read(_LENGTH.size + 1) != _LENGTH.pack(crc32(body)):
        return None
    chunks, size_bytes, digest = _END.unpack(body)
    return chunks, size_bytes, digest


def _describe(path: Path) -> StoredSnapshot | None:
    try:
        with path.open("rb") as file:
            header = _read_header(file)
            file.seek(max(0, path.stat().st_size - _END.size - _LENGTH.size))
            end = _read_end(file)
    except FileNotFoundError:
        return None  # deleted meanwhile
    if header is None or end is None or path.stem != header.snapshot_id:
        return None
    return StoredSnapshot(header, end[0], end[1])
