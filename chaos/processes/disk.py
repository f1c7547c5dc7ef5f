"""A disk that fails when it is told to: what a chaos child gives its node instead of the operating system's.

Duty: full, failing and slow on order: `full`, `sync-fails`, or `slow SECONDS`. Whatever was refused or delayed is put down, one
line each, as the proof.
Invariants: without an order it is the real disk. A full disk refuses what would need more room, and nothing else; a sync that
fails has synced nothing.
Must not know: who writes the order. Threads: as of `RealDisk`.
"""

import errno
import os
import time
from pathlib import Path

from garbagetruck.chaos.processes.orders import Orders
from garbagetruck.cluster.raft.disk import REAL_DISK, DiskFile

FULL, SYNC_FAILS, SLOW = "full", "sync-fails", "slow"


class DiskOrders:
    """What they mean to a disk."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def room(self, path: Path) -> None:
        """Something would take room. Raises OSError (ENOSPC)."""
        if self.full():
            self._orders.bit(f"{FULL}: {path}")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def full(self) -> bool:
        return self._orders.words()[:1] == [FULL]

    def sync(self, path: Path) -> None:
        """Something is about to be made durable. Raises OSError (EIO); may take its time."""
        match self._orders.words():
            case [order] if order == SYNC_FAILS:
                self._orders.bit(f"{SYNC_FAILS}: {path}")
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            case [order, seconds] if order == SLOW:
                self._orders.bit(f"{SLOW}: {path}")
                time.sleep(float(seconds))
            case _:
                pass


class UnreliableFile:
    """A `DiskFile` under orders."""

    def __init__(self, file: DiskFile, orders: DiskOrders) -> None:
        self._file = file
        self._orders = orders

    @property
    def path(self) -> Path:
        return self._file.path

    def size(self) -> int:
        return self._file.size()

    def read(self, length: int, offset: int) -> bytes:
        return self._file.read(length, offset)

    def write(self, data: bytes, offset: int) -> None:
        self._grow(offset + len(data))
        self._file.write(data, offset)

    def write_durably(self, data: bytes, offset: int) -> None:
        self._grow(offset + len(data))
        self._orders.sync(self.path)
        self._file.write_durably(data, offset)

    def allocate(self, size: int) -> None:
        self._grow(size)
        self._file.allocate(size)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def sync(self) -> None:
        self._orders.sync(self.path)
        self._file.sync()

    def sync_all(self) -> None:
        self._orders.sync(self.path)
        self._file.sync_all()

    def close(self) -> None:
        self._file.close()

    def _grow(self, size: int) -> None:
        if self._orders.full() and size > self._file.size():
            self._orders.room(self.path)


class UnreliableDisk:
    """The `Disk` of the operating system, under orders."""

    def __init__(self, orders: Path) -> None:
        self._orders = DiskOrders(Orders(orders))

    def make_folder(self, path: Path) -> bool:
        return REAL_DISK.make_folder(path)

    def names(self, folder: Path) -> list[str]:
        return REAL_DISK.names(folder)

    def create(self, path: Path) -> DiskFile:
        return UnreliableFile(REAL_DISK.create(path), self._orders)

    def open(self, path: Path) -> DiskFile:
        return UnreliableFile(REAL_DISK.open(path), self._orders)

    def rename(self, source: Path, target: Path) -> None:
        REAL_DISK.rename(source, target)

    def unlink(self, path: Path) -> None:
        REAL_DISK.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        self._orders.sync(folder)
        REAL_DISK.sync_folder(folder)

    def free_bytes(self, folder: Path) -> int:
        return 0 if self._orders.full() else REAL_DISK.free_bytes(folder)
