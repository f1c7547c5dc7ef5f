"""Snapshots on a node's own disk: one file each, whole or not there.

Duty: write a snapshot in slices, make it durable, find the newest at start, and prove that it is what was written before
anybody believes it (hazards 4, 6, 7 and 18).

Invariants: a file has its name only when all of it is durable; a snapshot never takes the place of a newer one. The last
two are kept, and older ones go only when the newest is durable. What was damaged is never believed.

Must not know: what a snapshot holds. Threads: any, one at a time, but for `newest` and `keep_from`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from garbagetruck.cluster.raft.disk import Disk, DiskFile
from garbagetruck.cluster.raft.errors import (
    JournalForeign,
    SnapshotDamaged,
    SnapshotTooNew,
    SnapshotUnfit,
    StateTooNew,
    StorageRefused,
)
from garbagetruck.cluster.raft.journal.segments import telling
from garbagetruck.cluster.raft.snapshots.format import (
    CHUNK_BYTES_MAX,
    HEADER_BYTES,
    Framing,
    SnapshotHeader,
    decode_header,
    read_chunks,
)

SUFFIX, UNFINISHED, SET_ASIDE = ".snap", ".tmp", ".damaged"
RECEIVED = "received-"

_NAME = re.compile(r"\d{20}" + re.escape(SUFFIX))

StateT = TypeVar("StateT")


class SnapshotStore:
    """The snapshots in one folder: the newest, and the one before it. `open` it first, or `find`, `load` and `settle`.

    Everything raises DiskFailed, too.
    """

    def __init__(self, disk: Disk, folder: Path, *, cluster_id: str) -> None:
        self._disk = disk
        self._folder = folder
        self._cluster_id = cluster_id
        self._newest: SnapshotHeader | None = None
        self._previous: SnapshotHeader | None = None

    @property
    def newest(self) -> SnapshotHeader | None:
        return self._newest

    @property
    def keep_from(self) -> int:
        """The first index that a log must hold so that either snapshot can be gone on from; 1 for the whole log."""
        return 1 if self._newest is None or self._previous is None else max(1, self._previous.index - 1)

    def open(self) -> SnapshotHeader | None:
        """Find the newest snapshot, read all of it, and clear away what was not finished.

        Raises StorageRefused (SnapshotDamaged and its siblings), and has then changed nothing.
        """
        found = self.find()
        newest = self.load(found[0], _exhaust)[0] if found else None
        self.settle(newest)
        return newest

    def find(self) -> list[Path]:
        """All snapshots, the newest first, as far as their names tell."""
        with telling("reading", self._folder):
            if self._disk.make_folder(self._folder):
                self._disk.sync_folder(self._folder.parent)
            names = self._disk.names(self._folder)
        return [self._folder / name for name in reversed(names) if _NAME.fullmatch(name)]

    def load(self, path: Path, decode: Callable[[Iterator[bytes]], StateT]) -> tuple[SnapshotHeader, StateT]:
        """Read and verify all of a snapshot. `decode` raises SnapshotUnfit for what is no state of a machine.

        Raises StorageRefused, of which SnapshotTooNew is no damage.
        """
        with telling("reading", path):
            header, chunks = self._read(path)
            if path.name != name_of(header):
                raise SnapshotDamaged(path, f"by its header its name is {name_of(header)}")
            return header, _decoded(path, chunks, decode)

    def settle(self, newest: SnapshotHeader | None) -> None:
        """Go on with `newest`, which was loaded. What is newer is damaged: it is set aside, and never looked at again."""
        with telling("clearing", self._folder):
            found = self.find()
            self._disk.sync_folder(self._folder)  # the newest may have its name in the kernel's memory only
            older = [path for path in found if newest is not None and path.name < name_of(newest)]
            self._newest, self._previous = newest, self._header_of(older)
            for path in found:
                if newest is None or path.name > name_of(newest):
                    self._disk.rename(path, path.with_name(path.name + SET_ASIDE))
            for path in older[1:]:
                self._disk.unlink(path)
            for name in self._disk.names(self._folder):
                if name.endswith(UNFINISHED):
                    self._disk.unlink(self._folder / name)

    def read(self) -> Iterator[bytes]:
        """The newest snapshot's chunks, verified one by one. Raises SnapshotDamaged."""
        assert self._newest is not None
        with telling("reading", self._folder):
            _, chunks = self._read(self._folder / name_of(self._newest))
            yield from chunks

    def begin_unless_newer(self, header: SnapshotHeader) -> "SnapshotWriter | None":
        """`begin`; None when a newer one is there."""
        return None if self._newest is not None and header.index <= self._newest.index else self.begin(header)

    def open_newest(self) -> tuple[SnapshotHeader, DiskFile]:
        """The newest snapshot as a file, to be read and closed; it can be read even when it is deleted meanwhile."""
        newest = self._newest
        assert newest is not None
        path = self._folder / name_of(newest)
        with telling("opening", path):
            return newest, self._disk.open(path)

    def begin(self, header: SnapshotHeader) -> "SnapshotWriter":
        """Begin a file for a snapshot newer than the newest."""
        assert header.cluster_id == self._cluster_id
        assert self._newest is None or header.index > self._newest.index, "an older snapshot in the place of a newer"
        path = self._folder / (name_of(header) + UNFINISHED)
        with telling("beginning", path):
            return SnapshotWriter(self, header, self._disk.create(path))

    def receive(self, snapshot_id: str) -> "SnapshotReceipt":
        """Begin a file for a snapshot that comes from another node."""
        path = self._folder / f"{RECEIVED}{snapshot_id}{UNFINISHED}"
        with telling("beginning", path):
            return SnapshotReceipt(self, self._disk.create(path))

    def verify(self, file: DiskFile, decode: Callable[[Iterator[bytes]], StateT]) -> tuple[SnapshotHeader, StateT]:
        """As `load`, for a file that has no name yet."""
        header, seed = self._open_header(file)
        return header, _decoded(file.path, read_chunks(file, seed), decode)

    def adopt(self, header: SnapshotHeader, unfinished: Path) -> bool:
        """For writers: all of it is durable, so let it be the newest, and delete all but the one before it.

        False, and nothing happened, when it is not newer than the newest.
        """
        former = self._newest
        if former is not None and header.index <= former.index:
            return False
        with telling("finishing", unfinished):
            self._disk.rename(unfinished, self._folder / name_of(header))
            self._disk.sync_folder(self._folder)
            self._newest, self._previous = header, former
            kept = {name_of(each) for each in (header, former) if each is not None}
            for name in self._disk.names(self._folder):
                if name.endswith((SUFFIX, SET_ASIDE)) and name not in kept:
                    self._disk.unlink(self._folder / name)
        return True

    def discard(self, unfinished: Path) -> None:
        with telling("deleting", unfinished):
            self._disk.unlink(unfinished)

    def _header_of(self, older: Sequence[Path]) -> SnapshotHeader | None:
        """What the first of these is of; None when there is none, or when it cannot be told."""
        if not older:
            return None
        file = self._disk.open(older[0])
        try:
            return self._open_header(file)[0]
        except StorageRefused:
            return None
        finally:
            file.close()

    def _read(self, path: Path) -> tuple[SnapshotHeader, Iterator[bytes]]:
        file = self._disk.open(path)
        try:
            header, seed = self._open_header(file)
        except BaseException:
            file.close()
            raise
        return header, _closing(file, read_chunks(file, seed))

    def _open_header(self, file: DiskFile) -> tuple[SnapshotHeader, int]:
        header, seed = decode_header(file.path, file.read(HEADER_BYTES, 0))
        if header.cluster_id != self._cluster_id:
            raise JournalForeign(
                file.path, found=f"cluster {header.cluster_id}", expected=f"cluster {self._cluster_id}"
            )
        return header, seed


class SnapshotWriter:
    """One unfinished snapshot: `write` its slices in order, then `finish` it or `abandon` it."""

    def __init__(self, store: SnapshotStore, header: SnapshotHeader, file: DiskFile) -> None:
        self._store = store
        self._header = header
        self._file = file
        self._framing = Framing(header)
        self._end = 0
        self._put(self._framing.page)

    def write(self, chunk: bytes) -> None:
        """Append a slice, of at most CHUNK_BYTES_MAX bytes and at least one. It is synced by and by."""
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX
        self._put(self._framing.frame(chunk))
        with telling("writing to", self._file.path):
            self._file.sync()  # so that no sync has much to do, and the journal's do not wait behind one that has

    def finish(self) -> bool:
        """Make it durable, and the newest. False, and it is gone, when a newer one came in between."""
        self._put(self._framing.frame(b""))
        with telling("finishing", self._file.path):
            self._file.sync_all()
            self._file.close()
        if self._store.adopt(self._header, self._file.path):
            return True
        self._store.discard(self._file.path)
        return False

    def abandon(self) -> None:
        self._file.close()
        self._store.discard(self._file.path)

    def _put(self, data: bytes) -> None:
        with telling("writing to", self._file.path):
            self._file.write(data, self._end)
        self._end += len(data)


class SnapshotReceipt:
    """A snapshot as another node sends it: `write` its bytes, then `finish` it or `abandon` it."""

    def __init__(self, store: SnapshotStore, file: DiskFile) -> None:
        self._store = store
        self._file = file

    def write(self, data: bytes, offset: int) -> None:
        """`data` follows what was written before, which ends at `offset`. It is synced by and by."""
        with telling("writing to", self._file.path):
            self._file.write(data, offset)
            self._file.sync()

    def finish(
        self, decode: Callable[[Iterator[bytes]], StateT], *, expected: tuple[str, int]
    ) -> tuple[SnapshotHeader, StateT] | None:
        """Verify all of it, make it durable, and the newest; None when it is not newer than the newest (hazard 18).

        `expected` is its id and its index. Raises StorageRefused, and it is gone (hazard 7).
        """
        try:
            header, state = self._store.verify(self._file, decode)
            if (header.snapshot_id, header.index) != expected:
                raise SnapshotDamaged(self._file.path, f"it is {header.snapshot_id} of entry {header.index}", 0)
        except StorageRefused:
            self.abandon()
            raise
        with telling("finishing", self._file.path):
            self._file.sync_all()
            self._file.close()
        if self._store.adopt(header, self._file.path):
            return header, state
        self._store.discard(self._file.path)
        return None

    def abandon(self) -> None:
        self._file.close()
        self._store.discard(self._file.path)


def name_of(header: SnapshotHeader) -> str:
    return f"{header.index:020d}{SUFFIX}"


def index_of(path: Path) -> int:
    """What a snapshot of that name is of."""
    return int(path.name.removesuffix(SUFFIX))


def _closing(file: DiskFile, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    finally:
        file.close()


def _decoded(path: Path, chunks: Iterator[bytes], decode: Callable[[Iterator[bytes]], StateT]) -> StateT:
    """What all `chunks` say; whatever `decode` did not read is read, so that it is verified, too."""
    try:
        state = decode(chunks)
    except StateTooNew as error:
        raise SnapshotTooNew(path, str(error)) from error
    except SnapshotUnfit as error:
        raise SnapshotDamaged(path, str(error)) from error
    _exhaust(chunks)
    return state


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass
