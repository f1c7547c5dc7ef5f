"""A disk that forgets whatever was not synced, in the worst ways that a disk may.

Duty: be a `Disk` in memory that can lose power, or fail, at every single operation.

What a loss of power does: of the writes to a file since its last sync any subset of sectors survives, and of its changes
of size any subset; of the names created, renamed and removed in a folder since its last sync any subset survives. What
was synced stays. The death of a process (`kill`) loses nothing, and leaves what was not synced as it was: not durable.

After a sync has failed, what it should have written is never written any more, as on Linux since fsync errors are
reported once (https://wiki.postgresql.org/wiki/Fsync_Errors): the next sync succeeds, and has done nothing for it.

Must not know: what is stored.
"""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

from garbagetruck.cluster.raft.disk import DiskFile


class PowerLoss(BaseException):
    """The machine is dark. Raised by the operation that was under way, and by every later one until power is back."""


class _Inode:
    """A file's content: what is seen, and what would be left."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = bytearray()
        self.changes: list[tuple[int, bytes | None]] = []
        """Since the last sync: (offset, data) of a write, or (size, None)."""

    def change(self, at: int, data: bytes | None) -> None:
        _apply(self.seen, at, data)
        self.changes.append((at, data))

    def settle(self) -> None:
        """Everything since the last sync is durable."""
        for at, data in self.changes:
            _apply(self.durable, at, data)
        self.changes.clear()


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        if at < len(content):
            del content[at:]
        else:
            content.extend(bytes(at - len(content)))
    else:
        if at > len(content):
            content.extend(bytes(at - len(content)))
        content[at : at + len(data)] = data


class _Folder:
    """The names in a folder: those seen, those that would be left, and the changes since the last sync."""

    def __init__(self) -> None:
        self.seen: dict[str, _Inode] = {}
        self.durable: dict[str, _Inode] = {}
        self.changes: list[dict[str, _Inode | None]] = []
        """Each is one step: names that got an inode, or lost theirs."""

    def change(self, step: dict[str, _Inode | None]) -> None:
        _name(self.seen, step)
        self.changes.append(step)

    def settle(self) -> None:
        for step in self.changes:
            _name(self.durable, step)
        self.changes.clear()


def _name(names: dict[str, _Inode], step: dict[str, _Inode | None]) -> None:
    for name, inode in step.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


Fault = Callable[[str, Path], OSError | None]
"""(operation, path) -> how it fails, or None. Operations are the methods of `Disk` and `DiskFile`."""


class SimulatedDisk:
    """One disk. Folders are durable once made; everything else has to be synced.

    `lose_power_at` counts operations that change or sync something: at that one, counted from 1, power is lost, before
    it or after it, as chance has it.
    """

    def __init__(self, chance: random.Random, *, sector_bytes: int = 512, capacity_bytes: int = 1 << 40) -> None:
        self._chance = chance
        self._sector_bytes = sector_bytes
        self._capacity_bytes = capacity_bytes
        self._folders: dict[Path, _Folder] = {}
        self._life = 0
        self._dark = False
        self.steps = 0
        self.lose_power_at: int | None = None
        self.on_dark: Callable[[], None] = lambda: None
        """Called when power is lost at `lose_power_at`, before that operation says so."""
        self.fault: Fault = lambda _operation, _path: None
        self.lies_about: frozenset[str] = frozenset()
        """Operations that claim to be done, and do nothing: a disk, or a journal, with a bug planted in it."""

    # --- what a test does to it -------------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """Forget what was not synced, as much of it as chance has it; and be there again. Open files are gone."""
        share = self._chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))

        def survives() -> bool:
            return self._chance.random() < share

        for folder in self._folders.values():
            for step in folder.changes:
                if survives():
                    _name(folder.durable, step)
            folder.changes.clear()
            for inode in {id(each): each for each in [*folder.seen.values(), *folder.durable.values()]}.values():
                self._tear(inode, survives)
            folder.seen = dict(folder.durable)
        self.kill()

    def kill(self) -> None:
        """The process that used it is gone, and with it its open files. Nothing is lost."""
        self._life += 1
        self._dark = False
        self.lose_power_at = None

    def damage(self, path: Path, offset: int, data: bytes) -> None:
        """Have the disk hold something else than was written."""
        inode = self._inode(path)
        for content in (inode.seen, inode.durable):
            content[offset : offset + len(data)] = data

    def _tear(self, inode: _Inode, survives: Callable[[], bool]) -> None:
        for at, data in inode.changes:
            if data is None:
                if survives():
                    _apply(inode.durable, at, None)
                continue
            begin = at
            while begin < at + len(data):
                end = min((begin // self._sector_bytes + 1) * self._sector_bytes, at + len(data))
                if survives():
                    _apply(inode.durable, begin, data[begin - at : end - at])
                begin = end
        inode.changes.clear()
        inode.seen = bytearray(inode.durable)

    # --- Disk -------------------------------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> bool:
        if path in self._folders:
            return False
        self._folders[path] = _Folder()
        return True

    def names(self, folder: Path) -> list[str]:
        self._check("names", folder)
        return sorted(self._folder(folder).seen)

    def create(self, path: Path) -> DiskFile:
        folder = self._folder(path.parent)
        if path.name in folder.seen:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        inode = _Inode()
        self.step("create", path, lambda: folder.change({path.name: inode}))
        return SimulatedFile(self, path, inode, self._life)

    def open(self, path: Path) -> DiskFile:
        self._check("open", path)
        return SimulatedFile(self, path, self._inode(path), self._life)

    def rename(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        folder = self._folder(source.parent)
        assert target.parent == source.parent
        self.step("rename", source, lambda: folder.change({source.name: None, target.name: inode}))

    def unlink(self, path: Path) -> None:
        self._inode(path)
        self.step("unlink", path, lambda: self._folder(path.parent).change({path.name: None}))

    def sync_folder(self, folder: Path) -> None:
        if folder in self._folders:  # else it is one above those that this disk knows, which are durable
            self.step("sync_folder", folder, self._folder(folder).settle)

    def free_bytes(self, folder: Path) -> int:
        self._check("free_bytes", folder)
        used = sum(len(inode.seen) for each in self._folders.values() for inode in each.seen.values())
        return max(0, self._capacity_bytes - used)

    # --- for SimulatedFile ------------------------------------------------------------------------------------------

    def step(self, operation: str, path: Path, do: Callable[[], None], *, life: int | None = None) -> None:
        """Do something that power can be lost at."""
        self._check(operation, path, life=life)
        if operation in self.lies_about:
            return
        self.steps += 1
        if self.steps == self.lose_power_at:
            self._dark = True
            self.on_dark()
            if self._chance.choice((False, True)):
                do()
            raise PowerLoss
        do()

    def grow(self, path: Path, inode: _Inode, size: int) -> None:
        """Raise OSError when the file cannot be `size` bytes long."""
        if size - len(inode.seen) > self.free_bytes(path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _check(self, operation: str, path: Path, *, life: int | None = None) -> None:
        if self._dark:
            raise PowerLoss
        if life is not None and life != self._life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(path))
        error = self.fault(operation, path)
        if error is not None:
            raise error

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._folders[path]

    def _inode(self, path: Path) -> _Inode:
        inode = self._folder(path.parent).seen.get(path.name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return inode


class SimulatedFile:
    """An open file, until power is lost or the process dies."""

    def __init__(self, disk: SimulatedDisk, path: Path, inode: _Inode, life: int) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._life = life

    @property
    def path(self) -> Path:
        return self._path

    def size(self) -> int:
        return len(self._inode.seen)

    def read(self, length: int, offset: int) -> bytes:
        return bytes(self._inode.seen[offset : offset + length])

    def write(self, data: bytes, offset: int) -> None:
        self._disk.grow(self._path, self._inode, offset + len(data))
        self._step("write", lambda: self._inode.change(offset, bytes(data)))

    def write_durably(self, data: bytes, offset: int) -> None:
        self.write(data, offset)
        self.sync()

    def allocate(self, size: int) -> None:
        if size > len(self._inode.seen):
            self._disk.grow(self._path, self._inode, size)
            self._step("allocate", lambda: self._inode.change(size, None))

    def truncate(self, size: int) -> None:
        self._step("truncate", lambda: self._inode.change(size, None))

    def sync(self) -> None:
        self._sync("sync")

    def sync_all(self) -> None:
        self._sync("sync_all")

    def close(self) -> None:
        """Nothing is lost, and nothing becomes durable, by closing."""

    def _sync(self, operation: str) -> None:
        try:
            self._step(operation, self._inode.settle)
        except OSError:
            self._inode.changes.clear()
            raise

    def _step(self, operation: str, do: Callable[[], None]) -> None:
        self._disk.step(operation, self._path, do, life=self._life)
