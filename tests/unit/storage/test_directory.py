"""The folder's files, when the disk or a crash leaves them as nobody meant to."""

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from garbagetruck.storage.directory import segments
from garbagetruck.storage.directory.files import locked
from garbagetruck.storage.directory.storage import DirectoryStorage
from garbagetruck.storage.errors import (
    ArchiveDamaged,
    RecordDamaged,
    StorageError,
    StorageFailed,
    StorageFull,
    StorageMisconfigured,
    StorageTimedOut,
)
from garbagetruck.storage.records import ArchivedEntry, Incarnation, SnapshotHeader, Span, Writer

FIRST = Incarnation(1, "first")
LEADER = Writer(FIRST, 3)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def storage(tmp_path: Path, executor: ThreadPoolExecutor) -> DirectoryStorage:
    return DirectoryStorage(tmp_path, "c-1", executor, lock_timeout_ms=100)


def entries(first: int, last: int) -> list[ArchivedEntry]:
    return [ArchivedEntry(index, 3, b"payload %d" % index, 0) for index in range(first, last + 1)]


def header(index: int) -> SnapshotHeader:
    return SnapshotHeader(
        snapshot_id=f"s-{index}",
        incarnation=FIRST,
        node_id="n1",
        index=index,
        term=3,
        clock_ms=0,
        format=1,
        digest="d",
        taken_at_ms=0,
    )


async def begun(storage: DirectoryStorage, last: int = 4) -> Path:
    """The folder of an archive up to `last`."""
    await storage.incarnations.reserve(FIRST, by="n1")
    await storage.archive.resume(LEADER)
    await storage.archive.begin_span(LEADER, 1)
    await storage.archive.append(LEADER, entries(1, last))
    return storage._place.archive(1)


async def read(storage: DirectoryStorage, first: int = 1) -> list[ArchivedEntry]:
    return [entry async for entry in storage.archive.read(1, first)]


async def test_what_a_crash_left_behind_the_end_is_not_read_and_written_over(storage: DirectoryStorage) -> None:
    folder = await begun(storage)
    (segment,) = folder.glob("*.seg")
    with segment.open("ab") as file:
        file.write(b"an append that was never acknowledged")
    (folder / "head.0123.tmp").write_bytes(b"nor was this")
    assert await read(storage) == entries(1, 4)
    assert await storage.archive.resume(LEADER) == Span(1, 4, 3)
    await storage.archive.append(LEADER, entries(5, 6))
    assert await read(storage) == entries(1, 6)
    assert list(folder.glob("*.tmp")) == []


async def test_a_file_that_was_cut_off_is_found_by_reading_and_by_appending(storage: DirectoryStorage) -> None:
    folder = await begun(storage)
    (segment,) = folder.glob("*.seg")
    os.truncate(segment, segment.stat().st_size - 1)
    with pytest.raises(ArchiveDamaged):
        await read(storage)
    with pytest.raises(ArchiveDamaged):
        await storage.archive.append(LEADER, entries(5, 6))


@pytest.mark.parametrize("content", [b"", b"not a record at all", b"\xf3GTsto1\n\x00\x00\x00\x00\x00"])
async def test_a_damaged_head_is_refused(storage: DirectoryStorage, content: bytes) -> None:
    folder = await begun(storage)
    (folder / "head").write_bytes(content)
    with pytest.raises(RecordDamaged):
        await storage.archive.spans(1)
    with pytest.raises(RecordDamaged):
        await storage.archive.append(LEADER, entries(5, 6))


async def test_files_are_begun_anew_when_large_and_deleted_when_trimmed(
    storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 200)
    folder = await begun(storage)
    for first in range(5, 25, 2):
        await storage.archive.append(LEADER, entries(first, first + 1))
    before = len(list(folder.glob("*.seg")))
    sink = await storage.snapshots.begin(header(20))
    await sink.finish()
    (span,) = await storage.archive.trim(LEADER, 100)
    assert 1 < span.first_index <= 21
    assert len(list(folder.glob("*.seg"))) < before
    assert await read(storage, span.first_index) == entries(span.first_index, 24)
    assert await read(storage, 21) == entries(21, 24)


async def test_who_holds_the_lock_is_waited_for_within_a_bound(storage: DirectoryStorage) -> None:
    await begun(storage)
    with locked(storage._place.folder, 0), pytest.raises(StorageTimedOut):
        await storage.archive.append(LEADER, entries(5, 6))
    await storage.archive.append(LEADER, entries(5, 6))


async def test_a_full_disk_is_said_and_nothing_is_half_done(
    storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(storage)

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(StorageFull):
            await storage.archive.append(LEADER, entries(5, 6))
    assert await read(storage) == entries(1, 4)
    await storage.archive.append(LEADER, entries(5, 9))
    assert await read(storage) == entries(1, 9)


async def test_a_root_that_is_a_file_is_misconfigured(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = DirectoryStorage(tmp_path / "file", "c-1", executor)
    with pytest.raises(StorageMisconfigured):
        await storage.incarnations.reserve(FIRST, by="n1")


async def test_a_disk_that_fails_at_any_operation_leaves_what_was_or_what_was_to_be(
    tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sync, write and rename of an append, a snapshot and a trim fails once; another process goes on from there."""
    for failing in range(40):
        root = tmp_path / str(failing)
        storage = DirectoryStorage(root, "c-1", executor)
        await begun(storage)
        survived = False
        with monkeypatch.context() as patched:
            failures = _failing_at(patched, failing)
            try:
                await storage.archive.append(LEADER, entries(5, 6))
                sink = await storage.snapshots.begin(header(4))
                await sink.write(b"chunk")
                await sink.finish()
                await storage.archive.trim(LEADER, 5)
                survived = True
            except StorageFailed:
                pass
        other = DirectoryStorage(root, "c-1", executor)
        span = await other.archive.resume(Writer(FIRST, 4))
        assert span is not None
        assert span.last_index in (4, 6)
        assert await read(other, span.first_index) == entries(span.first_index, span.last_index)
        for stored in await other.snapshots.whole():
            assert [chunk async for chunk in other.snapshots.read(stored.header.snapshot_id)] == [b"chunk"]
        await other.archive.append(Writer(FIRST, 4), entries(span.next_index, span.next_index))
        if survived:
            assert failures() <= failing, "there was nothing left to fail"
            return
    raise AssertionError("it never came to the end")


def _failing_at(patched: pytest.MonkeyPatch, failing: int) -> Callable[[], int]:
    """Have the operation of that number fail; how many there were."""
    count = 0

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 == failing:
                raise OSError(errno.EIO, "Input/output error")
            return real(*arguments)

        return operation

    for name in ("fsync", "fdatasync", "pwrite", "ftruncate"):
        patched.setattr(os, name, guarded(getattr(os, name)))
    patched.setattr(Path, "rename", guarded(Path.rename))
    return lambda: count


def test_every_error_has_one_root() -> None:
    assert issubclass(StorageFailed, StorageError)
