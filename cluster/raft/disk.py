"""The port to the disk, and the disk behind it.

Duty: the few operations whose durability can be reasoned about, so that a simulated disk can lose power between any two
of them (`garbagetruck.chaos.simulator.disk`).

What may be relied upon, and nothing else: what was written to a file is there after a loss of power once `sync` or
`sync_all` has returned; a name that was created, renamed or removed in a folder is so after `sync_folder` has returned.
Before that any part of it may be there, in any order, in units of a sector; what was durable in a sector stays when the
sector is written again (as SQLite's "powersafe overwrite" assumes).

Invariants: every failure is an OSError, and is never tried again here: after a failed sync the kernel may have dropped
what it could not write, and a second sync would succeed.

Threads: any, one at a time for each file.
"""

import errno
import os
from pathlib import Path
from typing import Protocol


class DiskFile(Protocol):
    """One open file. Offsets and lengths are bytes."""

    @property
    def path(self) -> Path:
        """Where it was opened; it keeps that when it is renamed."""

    def size(self) -> int: ...

    def read(self, length: int, offset: int) -> bytes:
        """What is there; shorter only at the end of the file."""

    def write(self, data: bytes, offset: int) -> None:
        """All of `data`; the file grows as needed."""

    def write_durably(self, data: bytes, offset: int) -> None:
        """`write`, then `sync`: what was written before is durable too. One call, for it waits for one thing."""

    def allocate(self, size: int) -> None:
        """Reserve room up to `size`, so that writing there cannot fail for lack of it. New bytes read as zeros."""

    def truncate(self, size: int) -> None:
        """Cut the file off behind `size`. The bytes behind read as zeros should it ever grow again."""

    def sync(self) -> None:
        """Make what was written durable, and as much about the file as is needed to read it."""

    def sync_all(self) -> None:
        """`sync`, and the size after a `truncate`."""

    def close(self) -> None: ...


class Disk(Protocol):
    """One file system."""

    def make_folder(self, path: Path) -> bool:
        """Make `path` and what is missing above it; False when it was there. Raises FileExistsError when it is a file."""

    def names(self, folder: Path) -> list[str]:
        """The names in `folder`, sorted."""

    def create(self, path: Path) -> DiskFile:
        """A new, empty file. Raises FileExistsError."""

    def open(self, path: Path) -> DiskFile:
        """An existing file, to read and to write. Raises FileNotFoundError."""

    def rename(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, in place of whatever had it, in one step."""

    def unlink(self, path: Path) -> None: ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable."""

    def free_bytes(self, folder: Path) -> int:
        """How much can still be written on the file system of `folder`, without the superuser's reserve."""


class RealFile:
    """A `DiskFile` of the operating system."""

    def __init__(self, path: Path, flags: int, *, access: int = os.O_RDWR) -> None:
        self._path = path
        self._fd = os.open(path, flags | access | os.O_CLOEXEC, 0o600)

    @property
    def path(self) -> Path:
        return self._path

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, length: int, offset: int) -> bytes:
        parts = []
        while length > 0 and (part := os.pread(self._fd, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes, offset: int) -> None:
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def write_durably(self, data: bytes, offset: int) -> None:
        # One system call, and so one wait for the interpreter's lock instead of two.
        if os.pwritev(self._fd, [data], offset, os.RWF_DSYNC) < len(data):
            self.write(data, offset)
            self.sync()

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def sync_all(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class RealDisk:
    """The `Disk` of the operating system."""

    def make_folder(self, path: Path) -> bool:
        if path.is_dir():
            return False
        path.mkdir(mode=0o700, parents=True)
        return True

    def names(self, folder: Path) -> list[str]:
        return sorted(entry.name for entry in folder.iterdir())

    def create(self, path: Path) -> DiskFile:
        return RealFile(path, os.O_CREAT | os.O_EXCL)

    def open(self, path: Path) -> DiskFile:
        return RealFile(path, 0)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, folder: Path) -> int:
        state = os.statvfs(folder)
        return state.f_bavail * state.f_frsize


class ReadOnlyDisk:
    """The operating system's, for whoever must not change anything: what would, raises OSError (EROFS or EBADF)."""

    def make_folder(self, path: Path) -> bool:
        if path.is_dir():
            return False
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def names(self, folder: Path) -> list[str]:
        return REAL_DISK.names(folder)

    def create(self, path: Path) -> DiskFile:
        raise _read_only(path)

    def open(self, path: Path) -> DiskFile:
        return RealFile(path, 0, access=os.O_RDONLY)

    def rename(self, source: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), source, None, target)

    def unlink(self, path: Path) -> None:
        raise _read_only(path)

    def sync_folder(self, folder: Path) -> None:
        raise _read_only(folder)

    def free_bytes(self, folder: Path) -> int:
        return REAL_DISK.free_bytes(folder)


def _read_only(path: Path) -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS), path)


REAL_DISK = RealDisk()
READ_ONLY_DISK = ReadOnlyDisk()
