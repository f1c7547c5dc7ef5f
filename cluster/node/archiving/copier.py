"""Copies this node's snapshots to the storage.

Duty: on schedule, on demand, and when the archive needs one to begin anew behind a gap. What goes there is the snapshot that
the log itself keeps, piece by piece, as it is on the disk.

Invariants: one at a time; one piece is held at most, and what the storage holds back. A copy is whole or not there. The log
and the machine never wait for it. Must not know: what is in a snapshot, but for its machine's header.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path
from random import Random
from typing import TypeVar

import structlog

from garbagetruck.cluster.node.machine_snapshots import header_in
from garbagetruck.cluster.raft.cursor import LogCursor
from garbagetruck.cluster.raft.disk import READ_ONLY_DISK, Disk, DiskFile
from garbagetruck.cluster.raft.snapshots.format import HEADER_BYTES, SnapshotHeader, decode_header, read_chunks
from garbagetruck.cluster.raft.snapshots.store import name_of
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Incarnation, StoredSnapshot
from garbagetruck.storage.records import SnapshotHeader as StoredHeader
from garbagetruck.storage.retention import Retention

ID_BYTES = 16
TAKE_TIMEOUT_S = 60.0
"""How long a snapshot may take to be taken here before it is copied."""

ResultT = TypeVar("ResultT")
_log = structlog.get_logger(__name__)


class NothingToCopy(Exception):
    """This node has no snapshot, and could not take one now."""


class SnapshotCopier:
    """Runs on the node's main loop; `executor` reads the disk."""

    def __init__(
        self,
        *,
        node_id: str,
        storage: Storage,
        cursor: LogCursor,
        folder: Path,
        executor: Executor,
        retention: Retention,
        random: Random,
        wall_ms: Callable[[], int],
        disk: Disk = READ_ONLY_DISK,
    ) -> None:
        """`folder` is where this node's snapshots are. `disk` is for simulators."""
        self._disk = disk
        self._node_id = node_id
        self._storage = storage
        self._cursor = cursor
        self._folder = folder
        self._executor = executor
        self._retention = retention
        self._random = random
        self._wall_ms = wall_ms
        self._alone = asyncio.Lock()
        self._latest: StoredSnapshot | None = None
        self._latest_local = ""

    async def copy(self, incarnation: Incarnation, *, fresh: bool) -> StoredSnapshot:
        """Copy the newest snapshot, or take one first; the copy, which may be an earlier one of the very same.

        Raises NothingToCopy, StorageError, and what reading the disk raises.
        """
        async with self._alone:
            header = await self._newest(fresh=fresh)
            if self._latest is not None and self._latest_local == header.snapshot_id:
                return self._latest
            self._latest = stored = await self._copy(incarnation, header)
            self._latest_local = header.snapshot_id
            _log.info("snapshot_copied", index=header.index, size_bytes=stored.size_bytes)
            await self._storage.snapshots.prune(incarnation, self._retention, self._wall_ms())
            return stored

    async def _newest(self, *, fresh: bool) -> SnapshotHeader:
        header = self._cursor.newest_snapshot
        if fresh or header is None:
            try:
                async with asyncio.timeout(TAKE_TIMEOUT_S):
                    header = await self._cursor.take_snapshot()
            except TimeoutError as error:
                raise NothingToCopy("this node could not take a snapshot in time") from error
        if header is None:
            raise NothingToCopy("this node has no snapshot yet")
        return header

    async def _copy(self, incarnation: Incarnation, header: SnapshotHeader) -> StoredSnapshot:
        file = await self._run(lambda: self._disk.open(self._folder / name_of(header)))
        try:
            pieces = self._pieces(file, header)
            first = await anext(pieces)
            state = header_in(first)
            sink = await self._storage.snapshots.begin(
                StoredHeader(
                    snapshot_id=self._random.randbytes(ID_BYTES).hex(),
                    incarnation=incarnation,
                    node_id=self._node_id,
                    index=header.index,
                    term=header.term,
                    clock_ms=state.clock_ms,
                    format=state.format,
                    digest=f"{state.digest:016x}",
                    taken_at_ms=self._wall_ms(),
                )
            )
            try:
                await sink.write(first)
                async for piece in pieces:
                    await sink.write(piece)
                return await sink.finish()
            finally:
                await sink.abandon()  # without effect when it was finished
        finally:
            await self._run(file.close)

    async def _pieces(self, file: DiskFile, header: SnapshotHeader) -> AsyncIterator[bytes]:
        """The file's pieces, each verified by the file's own checksums. Raises raft's SnapshotDamaged."""

        def begin() -> tuple[SnapshotHeader, int]:
            return decode_header(file.path, file.read(HEADER_BYTES, 0))

        found, chain = await self._run(begin)
        assert found.snapshot_id == header.snapshot_id, "a snapshot keeps its name"
        pieces = read_chunks(file, chain)
        while (piece := await self._run(lambda: next(pieces, None))) is not None:
            yield piece

    async def _run(self, job: Callable[[], ResultT]) -> ResultT:
        return await asyncio.wrap_future(self._executor.submit(job))
