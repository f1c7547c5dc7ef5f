"""The storage outside the nodes, as one of them meets it: the memory backend, at the far end of a network.

Duty: bring each call there and its answer back. A call may find nobody, come late, come after its caller has given up, or be
done without an answer: then its caller does not know. The backend itself keeps its promises.

Must not know: what is stored, and what is right.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from typing_extensions import override

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.world import NS_PER_MS, Chance, Process
from garbagetruck.storage.errors import StorageError, StorageTimedOut, StorageUnreachable
from garbagetruck.storage.memory import MemoryStorage
from garbagetruck.storage.protocol import ArchiveStorage, IncarnationStorage, SnapshotSink, SnapshotStorage, Storage
from garbagetruck.storage.records import (
    Activity,
    ArchivedEntry,
    Incarnation,
    Reservation,
    SnapshotHeader,
    Span,
    StoredSnapshot,
    Writer,
)
from garbagetruck.storage.retention import Retention

DEPOT = "depot"
CALL_S_MAX = 1.0
LATE, UNANSWERED = 0.05, 0.05
"""In that share of the calls the effect comes late, up to long after the caller has given up; or the answer is lost."""
DELAY_MS, LATE_MS = (0.2, 3.0), (500.0, 6_000.0)

ResultT = TypeVar("ResultT")


def at_once(call: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What a call of the memory backend gives: it never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        result: ResultT = done.value
        return result
    raise AssertionError("the memory backend waits for something")


class Way:
    """From one node's process to the storage and back."""

    def __init__(self, network: Network, process: Process, chance: Chance) -> None:
        self._network = network
        self._process = process
        self._chance = chance

    async def go(self, call: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Have the storage do it. Raises StorageError."""
        process, world, name = self._process, self._process.world, self._process.name
        answered: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            try:
                answer: Callable[[], None] = partial(answered.set_result, at_once(call()))
            except StorageError as error:
                answer = partial(answered.set_exception, error)
            if self._network.passes(DEPOT, name) and not self._chance.happens(UNANSWERED):
                process.post(NS_PER_MS, lambda: process.loop.call_soon(hear, answer))

        def hear(answer: Callable[[], None]) -> None:
            if not answered.done():
                answer()

        if not self._network.passes(name, DEPOT):
            await asyncio.sleep(CALL_S_MAX)
            raise StorageUnreachable("nobody is there")
        delay_ms = self._chance.uniform(*(LATE_MS if self._chance.happens(LATE) else DELAY_MS))
        world.after(int(delay_ms * NS_PER_MS), arrive)
        try:
            async with asyncio.timeout(CALL_S_MAX):
                return await answered
        except TimeoutError as error:
            raise StorageTimedOut("there was no answer") from error


class DistantSink(SnapshotSink):
    def __init__(self, way: Way, sink: SnapshotSink) -> None:
        self._way = way
        self._sink = sink

    @override
    async def write(self, chunk: bytes) -> None:
        await self._way.go(lambda: self._sink.write(chunk))

    @override
    async def finish(self) -> StoredSnapshot:
        return await self._way.go(self._sink.finish)

    @override
    async def abandon(self) -> None:
        """A broken connection leaves what was begun where it is; a later one clears it away."""


class DistantSnapshots(SnapshotStorage):
    def __init__(self, way: Way, snapshots: SnapshotStorage) -> None:
        self._way = way
        self._snapshots = snapshots

    @override
    async def begin(self, header: SnapshotHeader) -> SnapshotSink:
        return DistantSink(self._way, await self._way.go(lambda: self._snapshots.begin(header)))

    @override
    async def whole(self) -> Sequence[StoredSnapshot]:
        return await self._way.go(self._snapshots.whole)

    @override
    def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        raise NotImplementedError("a node that serves reads no snapshot")

    @override
    async def delete(self, snapshot_id: str) -> bool:
        return await self._way.go(lambda: self._snapshots.delete(snapshot_id))

    @override
    async def prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> Sequence[str]:
        return await self._way.go(lambda: self._snapshots.prune(incarnation, retention, now_ms))


class DistantArchive(ArchiveStorage):
    def __init__(self, way: Way, archive: ArchiveStorage) -> None:
        self._way = way
        self._archive = archive

    @override
    async def resume(self, writer: Writer) -> Span | None:
        return await self._way.go(lambda: self._archive.resume(writer))

    @override
    async def begin_span(self, writer: Writer, first_index: int) -> Span:
        return await self._way.go(lambda: self._archive.begin_span(writer, first_index))

    @override
    async def append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        return await self._way.go(lambda: self._archive.append(writer, entries))

    @override
    async def spans(self, incarnation: int) -> Sequence[Span]:
        return await self._way.go(lambda: self._archive.spans(incarnation))

    @override
    def read(self, incarnation: int, from_index: int, to_index: int | None = None) -> AsyncIterator[ArchivedEntry]:
        raise NotImplementedError("a node that serves reads no archive")

    @override
    async def trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        return await self._way.go(lambda: self._archive.trim(writer, below_index))


class DistantIncarnations(IncarnationStorage):
    def __init__(self, way: Way, incarnations: IncarnationStorage) -> None:
        self._way = way
        self._incarnations = incarnations

    @override
    async def reserve(self, incarnation: Incarnation, *, by: str) -> None:
        await self._way.go(lambda: self._incarnations.reserve(incarnation, by=by))

    @override
    async def reserved(self) -> Sequence[Reservation]:
        return await self._way.go(self._incarnations.reserved)

    @override
    async def activity(self) -> Activity:
        return await self._way.go(self._incarnations.activity)


class DistantStorage(Storage):
    """`storage`, from one node's process."""

    def __init__(self, storage: MemoryStorage, network: Network, process: Process, chance: Chance) -> None:
        way = Way(network, process, chance)
        self._storage = storage
        self._way = way
        self._snapshots = DistantSnapshots(way, storage.snapshots)
        self._archive = DistantArchive(way, storage.archive)
        self._incarnations = DistantIncarnations(way, storage.incarnations)

    @property
    @override
    def cluster_id(self) -> str:
        return self._storage.cluster_id

    @property
    @override
    def snapshots(self) -> DistantSnapshots:
        return self._snapshots

    @property
    @override
    def archive(self) -> DistantArchive:
        return self._archive

    @property
    @override
    def incarnations(self) -> DistantIncarnations:
        return self._incarnations

    @override
    async def cluster_ids(self) -> Sequence[str]:
        return await self._way.go(self._storage.cluster_ids)

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
