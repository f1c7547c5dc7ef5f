"""Records to store."""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import ArchivedEntry, Incarnation, SnapshotHeader, Span, StoredSnapshot, Writer

T = TypeVar("T")

FIRST = Incarnation(1, "first")
SECOND = Incarnation(2, "second")
LEADER = Writer(FIRST, 3)
SUCCESSOR = Writer(FIRST, 4)


def header(index: int = 10, **changes: Any) -> SnapshotHeader:
    given: dict[str, Any] = {
        "snapshot_id": secrets.token_hex(8),
        "incarnation": FIRST,
        "node_id": "n1",
        "index": index,
        "term": 3,
        "clock_ms": 1_000 * index,
        "format": 1,
        "digest": "d1g357",
        "taken_at_ms": 1_000_000 + index,
    }
    return SnapshotHeader(**(given | changes))


def entries(first: int, last: int, term: int = 3) -> list[ArchivedEntry]:
    return [ArchivedEntry(index, term, f"{index}/{term}".encode(), 7_000 + index) for index in range(first, last + 1)]


def chunks_of(snapshot_id: str, count: int = 5, size_bytes: int = 100) -> list[bytes]:
    return [f"{snapshot_id}:{number}:".encode().ljust(size_bytes, b"x") for number in range(count)]


async def store(storage: Storage, of: SnapshotHeader, chunks: Sequence[bytes] | None = None) -> StoredSnapshot:
    """A whole snapshot."""
    sink = await storage.snapshots.begin(of)
    for chunk in chunks_of(of.snapshot_id) if chunks is None else chunks:
        await sink.write(chunk)
    return await sink.finish()


async def archive(storage: Storage, last: int, writer: Writer = LEADER) -> Span:
    """An archive from the first entry on."""
    await storage.archive.resume(writer)
    await storage.archive.begin_span(writer, 1)
    return await storage.archive.append(writer, entries(1, last, writer.term))


async def collect(found: AsyncIterator[T], into: list[T]) -> None:
    """What comes before it ends, however it ends."""
    async for each in found:
        into.append(each)  # noqa: PERF401  # what came before an error is to be seen


async def content(storage: Storage, snapshot_id: str) -> list[bytes]:
    return [chunk async for chunk in storage.snapshots.read(snapshot_id)]


async def archived(storage: Storage, first: int, last: int | None = None, incarnation: int = 1) -> list[ArchivedEntry]:
    return [entry async for entry in storage.archive.read(incarnation, first, last)]
