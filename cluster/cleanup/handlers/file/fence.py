"""The lock of a root, and the tokens that have been seen under it.

Duty: let one attempt at a time compare and rename below a root, whichever process it runs in, and refuse an attempt
that was overtaken by a later claim on the same target.

Why a lock and not the tokens alone: between "is this still the file that was observed?" and the rename, a leader can be
stopped for an hour. It holds the lock then, so nobody can finish the cleanup, so nobody can create the file anew under
a lease: its rename still hits the old file. Stopped before it has the lock, it finds a higher token of the same target
when it wakes, and refuses itself. The lock is `flock`, so it ends with the process that holds it.

Why tokens by target and not one for the root: claims on different targets run at once and end in any order, so the
highest token seen in a root says nothing about the others. But a table of all targets ever cleaned would grow for ever.
So the table has a fixed size: each bucket remembers the latest token of up to `ENTRIES_PER_BUCKET` targets exactly, and
of all it has forgotten only the highest: its floor. A target that is not remembered may have been cleaned under any
token up to the floor, so a lower one is refused. That is safe, and costs liveness nothing: the refused attempt is
retried under a new token, which is higher than all. It takes more than a bucket's worth of later claims, at the same
moment in the same one of `BUCKETS`, to refuse an attempt that was not overtaken at all.

The table is not synced to disk. It protects against processes that are stopped and go on, and it survives their being
killed; when power is lost, no stopped process is left that could go on.

It belongs to one cluster: tokens of different clusters cannot be compared, and a new cluster begins with low ones.

Must not know: how things are removed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from garbagetruck.cluster.cleanup.handlers.file.places import RESERVED_PREFIX
from garbagetruck.cluster.cleanup.handlers.file.sighting import FINGERPRINT_BYTES

BUCKETS = 8_192
ENTRIES_PER_BUCKET = 5
LOCAL_WAIT_S_MAX = 1.0
"""How long an attempt waits for another of the same process: far longer than a few file system calls take."""

_MAGIC = b"garbagetruck fence 1\n".ljust(64, b"\0")
_TABLE_AT = 4_096
_BUCKET = struct.Struct("<Q" + "QQ8s" * ENTRIES_PER_BUCKET)
_NOTHING = b"\0" * FINGERPRINT_BYTES


class FenceBusyError(Exception):
    """Somebody else holds the lock. Try again soon; if it stays so, a process was stopped while it held it."""


class FenceUnusableError(OSError):
    """The fence's file is not one of ours, or damaged."""


class OvertakenError(Exception):
    """A later claim has been at this target, or may have been: the attempt must not touch it."""

    def __init__(self, token: int, seen: int) -> None:
        super().__init__(f"claim {token} was overtaken: token {seen} has been seen")


@dataclass(slots=True)
class _Entry:
    key: int
    token: int
    fingerprint: bytes


@dataclass(slots=True)
class _Bucket:
    offset: int
    floor: int
    entries: list[_Entry]


class FenceTable:
    """The tokens of a root, to be used while its lock is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._admitted: tuple[str, _Bucket, _Entry] | None = None

    def admit(self, target: str, token: int) -> bytes | None:
        """Remember that `token` came to `target`; return the fingerprint that an attempt before it has noted, if any.

        Raises `OvertakenError` when a higher token has been here, or may have been.
        """
        key = int.from_bytes(hashlib.blake2b(target.encode(), digest_size=8).digest(), "little") or 1
        bucket = self._read(key)
        entry = next((each for each in bucket.entries if each.key == key), None)
        seen = bucket.floor if entry is None else entry.token
        if token < seen:
            raise OvertakenError(token, seen)
        if entry is None:
            entry = _Entry(key, token, _NOTHING)
            if len(bucket.entries) == ENTRIES_PER_BUCKET:
                oldest = min(bucket.entries, key=lambda each: each.token)
                bucket.entries.remove(oldest)
                bucket.floor = max(bucket.floor, oldest.token)
            bucket.entries.append(entry)
            self._write(bucket)
        elif token > entry.token:
            entry.token = token
            self._write(bucket)
        self._admitted = (target, bucket, entry)
        return entry.fingerprint if entry.fingerprint != _NOTHING else None

    def note(self, target: str, fingerprint: bytes) -> None:
        """Remember what is about to be renamed, for the attempt that finds it renamed."""
        assert self._admitted is not None, "a target is noted after it was admitted, under the same lock"
        admitted, bucket, entry = self._admitted
        assert admitted == target, "what was admitted last is noted"
        entry.fingerprint = fingerprint
        self._write(bucket)

    def _read(self, key: int) -> _Bucket:
        offset = _TABLE_AT + (key % BUCKETS) * _BUCKET.size
        raw = os.pread(self._descriptor, _BUCKET.size, offset).ljust(_BUCKET.size, b"\0")
        floor, *fields = _BUCKET.unpack(raw)
        entries = [_Entry(*fields[at : at + 3]) for at in range(0, len(fields), 3) if fields[at] != 0]
        return _Bucket(offset, floor, entries)

    def _write(self, bucket: _Bucket) -> None:
        fields: list[int | bytes] = [bucket.floor]
        for entry in bucket.entries:
            fields += (entry.key, entry.token, entry.fingerprint)
        fields += (0, 0, _NOTHING) * (ENTRIES_PER_BUCKET - len(bucket.entries))
        written = os.pwrite(self._descriptor, _BUCKET.pack(*fields), bucket.offset)
        if written != _BUCKET.size:
            raise OSError(errno.ENOSPC, "the fence's table could not be written in full")


class Fence:
    """One root's lock and table, for one cluster. Used from any thread; made without touching the disk."""

    def __init__(self, root: str, cluster_id: str) -> None:
        name = hashlib.blake2b(cluster_id.encode(), digest_size=6).hexdigest()
        self._path = Path(root, f"{RESERVED_PREFIX}fence-{name}")
        self._mutex = threading.Lock()
        self._descriptor = -1
        self._file = (0, 0)
        """(device, inode) of what the descriptor was opened on."""
        self._checked = False
        """Whether the format has been checked since then: what passed once is not written by others."""
        self._closed = False

    @contextlib.contextmanager
    def held(self) -> Iterator[FenceTable]:
        """Hold the lock for a few file system calls. Raises `FenceBusyError`, `FenceUnusableError`, `OSError`."""
        if not self._mutex.acquire(timeout=LOCAL_WAIT_S_MAX):
            message = "another attempt of this process holds the lock of the root"
            raise FenceBusyError(message)
        try:
            self._lock()
            try:
                yield FenceTable(self._descriptor)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Wait for whoever holds the lock in this process, and close. `held` raises from then on."""
        with self._mutex:
            self._closed = True
            self._drop()

    def _lock(self) -> None:
        if self._closed:
            message = "the handler has been stopped"
            raise FenceBusyError(message)
        while True:
            if self._descriptor < 0:
                self._open()
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another process holds the lock {self._path}"
                raise FenceBusyError(message) from None
            # Whoever removes the file under a running node must not leave two processes with a lock each.
            if self._is_current():
                break
            self._drop()
        if not self._checked:
            try:
                self._check_format()
            except BaseException:
                self._drop()
                raise
            self._checked = True

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._descriptor)
        self._file = (status.st_dev, status.st_ino)
        self._checked = False

    def _is_current(self) -> bool:
        try:
            named = self._path.lstat()
        except FileNotFoundError:
            return False
        return self._file == (named.st_dev, named.st_ino)

    def _check_format(self) -> None:
        found = os.pread(self._descriptor, len(_MAGIC), 0)
        if found == _MAGIC:
            return
        if found.strip(b"\0"):
            message = f"{self._path} was not written by this version; stop all nodes, look at it, and move it away"
            raise FenceUnusableError(errno.EINVAL, message)
        # New, or emptied by a loss of power, when the table is of no use any more.
        os.ftruncate(self._descriptor, 0)
        # All of it now: cleaning must go on when the disk is full.
        os.posix_fallocate(self._descriptor, 0, _TABLE_AT + BUCKETS * _BUCKET.size)
        os.pwrite(self._descriptor, _MAGIC, 0)

    def _drop(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
