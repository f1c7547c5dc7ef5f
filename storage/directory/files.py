"""Durable files, whole or not there, and a lock for the folder they are in.

Duty: the few ways in which this backend touches a disk. Invariants: a name is given to what is durable, and is durable
when the call returns; a record is what was written, or RecordDamaged. The lock is waited for within a bound.

Must not know: what is written. Threads: any; all calls block.
"""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import msgspec

from garbagetruck.storage.errors import (
    RecordDamaged,
    StorageFull,
    StorageMisconfigured,
    StorageTimedOut,
    StorageUnreachable,
)

UNFINISHED = ".tmp"
RECORD_BYTES_MAX = 16 * 1024 * 1024
LOCK_LOOK_S = 0.005
"""Between two looks whether the lock is free."""

_MAGIC = b"\xf3GTsto1\n"
_CRC_BYTES = 4

RecordT = TypeVar("RecordT")


@contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """Turns what the system refuses into StorageFailed."""
    try:
        yield
    except OSError as error:
        said = f"{doing} {path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(said) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise StorageMisconfigured(said) from error
        raise StorageUnreachable(said) from error


@contextmanager
def locked(folder: Path, timeout_ms: int) -> Iterator[None]:
    """Nobody else, in this process or another one on this machine, is in here at once. Raises StorageTimedOut."""
    make_folder(folder)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline_s = time.monotonic() + timeout_ms / 1_000
        while not _try_lock(fd):
            if time.monotonic() > deadline_s:
                raise StorageTimedOut(f"{folder} was locked by another writer for {timeout_ms} ms")
            time.sleep(LOCK_LOOK_S)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make it, and what is missing above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_record(path: Path, record: object) -> None:
    """Put a record in the place of what was there, in one step. What a crash leaves beside it is `UNFINISHED`."""
    body = msgspec.msgpack.encode(record)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    with beside.open("xb") as file:
        file.write(_MAGIC + body + crc32(body).to_bytes(_CRC_BYTES, "little"))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    sync_folder(path.parent)


def read_record(path: Path, kind: type[RecordT]) -> RecordT | None:
    """None when there is none. Raises RecordDamaged."""
    try:
        with path.open("rb") as file:
            content = file.read(RECORD_BYTES_MAX)
    except FileNotFoundError:
        return None
    return decode_record(path, content, kind)


def decode_record(path: Path, content: bytes, kind: type[RecordT]) -> RecordT:
    body = content[len(_MAGIC) : -_CRC_BYTES]
    if not content.startswith(_MAGIC) or crc32(body).to_bytes(_CRC_BYTES, "little") != content[-_CRC_BYTES:]:
        raise RecordDamaged(f"{path} is not what was written")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise RecordDamaged(f"{path} says nothing: {error}") from error


def clear_unfinished(folder: Path) -> None:
    """Delete what crashes have left. To be called under the lock."""
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)
