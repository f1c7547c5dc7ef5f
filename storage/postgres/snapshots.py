"""Snapshots in PostgreSQL: a row for each, and a row for each chunk.

Invariants: a snapshot is whole from the one statement on that gives it its content digest, in the transaction that wrote
its last chunks. Chunks go in groups, each a COPY and a transaction of its own, which counts them in the snapshot's row;
so memory and transactions are bounded by a group, and a chunk is there only if it is counted.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from typing_extensions import override

from garbagetruck.storage.checksums import ContentDigest, chunk_checksum
from garbagetruck.storage.errors import SnapshotDamaged, SnapshotTaken, SnapshotUnknown, StorageError
from garbagetruck.storage.postgres.connections import Connections, Session
from garbagetruck.storage.postgres.incarnations import require_for_snapshot
from garbagetruck.storage.protocol import SnapshotSink, SnapshotStorage
from garbagetruck.storage.records import (
    CHUNK_BYTES_MAX,
    Incarnation,
    SnapshotHeader,
    StoredSnapshot,
    check_header,
)
from garbagetruck.storage.retention import Retention, superfluous

GROUP_BYTES = 4 * 1024 * 1024
"""Chunks that are held back for one COPY; it is sent when it has reached this."""
PAGE_BYTES = 4 * 1024 * 1024
"""Chunks that are read at once, less the last of them."""
PAGE_CHUNKS_MAX = 1_000

_COLUMNS = ("cluster_id", "snapshot_id", "number", "checksum", "chunk")


class PostgresSink(SnapshotSink):
    def __init__(self, connections: Connections, cluster_id: str, header: SnapshotHeader) -> None:
        self._connections = connections
        self._cluster_id = cluster_id
        self._header = header
        self._digest = ContentDigest()
        self._group: list[tuple[object, ...]] = []
        self._group_bytes = 0
        self._over = False

    @override
    async def write(self, chunk: bytes) -> None:
        assert 0 < len(chunk) <= CHUNK_BYTES_MAX
        assert not self._over
        snapshot_id, number = self._header.snapshot_id, self._digest.chunks
        checksum = chunk_checksum(snapshot_id, number, chunk)
        self._digest.add(chunk)
        self._group.append((self._cluster_id, snapshot_id, number, checksum, chunk))
        self._group_bytes += len(chunk)
        if self._group_bytes >= GROUP_BYTES:
            async with self._connections.transaction("writing a snapshot") as session:
                await self._send(session)
            self._group, self._group_bytes = [], 0

    @override
    async def finish(self) -> StoredSnapshot:
        assert not self._over
        digest, header = self._digest, self._header
        async with self._connections.transaction("finishing a snapshot") as session:
            await self._send(session)
            finished = await session.change(
                "snapshot_finish", self._cluster_id, header.snapshot_id, digest.chunks, digest.digest()
            )
            if not finished:
                raise SnapshotUnknown(header.snapshot_id)
        self._over = True
        return StoredSnapshot(header, digest.chunks, digest.size_bytes)

    @override
    async def abandon(self) -> None:
        if self._over:
            return
        self._over = True
        self._group = []
        try:
            async with self._connections.transaction("abandoning a snapshot") as session:
                await session.change("snapshot_delete", self._cluster_id, self._header.snapshot_id)
        except StorageError:
            return  # a later `begin` or `prune` clears it

    async def _send(self, session: Session) -> None:
        """The group. The lock is taken, and the snapshot found to be there, before anything is copied."""
        await require_for_snapshot(session, self._cluster_id, self._header.incarnation)
        if not self._group:
            return
        before = self._digest.chunks - len(self._group)
        grown = await session.change(
            "snapshot_grow", self._cluster_id, self._header.snapshot_id, before, len(self._group), self._group_bytes
        )
        if not grown:
            raise SnapshotUnknown(self._header.snapshot_id)
        await session.copy("snapshot_chunks", _COLUMNS, self._group)


class PostgresSnapshots(SnapshotStorage):
    def __init__(self, connections: Connections, cluster_id: str) -> None:
        self._connections = connections
        self._cluster_id = cluster_id

    @override
    async def begin(self, header: SnapshotHeader) -> SnapshotSink:
        check_header(header)
        number = header.incarnation.number
        async with self._connections.transaction("beginning a snapshot") as session:
            await require_for_snapshot(session, self._cluster_id, header.incarnation)
            begun = await session.change(
                "snapshot_insert",
                self._cluster_id,
                header.snapshot_id,
                number,
                header.node_id,
                header.index,
                header.term,
                header.clock_ms,
                header.format,
                header.digest,
                header.taken_at_ms,
            )
            if not begun:
                raise SnapshotTaken(header.snapshot_id)
            await session.change(
                "snapshot_delete_unfinished_of_node", self._cluster_id, number, header.node_id, header.snapshot_id
            )
        return PostgresSink(self._connections, self._cluster_id, header)

    @override
    async def whole(self) -> Sequence[StoredSnapshot]:
        async with self._connections.transaction("listing snapshots") as session:
            return await list_in(session, self._cluster_id)

    @override
    async def read(self, snapshot_id: str) -> AsyncIterator[bytes]:
        known = await self._whole(snapshot_id)
        seen = ContentDigest()
        while seen.chunks < known["chunks"]:
            async with self._connections.transaction("reading a snapshot") as session:
                rows = await session.rows(
                    "snapshot_chunks", self._cluster_id, snapshot_id, seen.chunks, PAGE_CHUNKS_MAX, PAGE_BYTES
                )
            if not rows:
                await self._whole(snapshot_id)  # it may have been deleted
                raise SnapshotDamaged(snapshot_id, "it is not there", seen.chunks)
            for row in rows:
                number, chunk = seen.chunks, row["chunk"]
                if row["number"] != number:
                    await self._whole(snapshot_id)
                    raise SnapshotDamaged(snapshot_id, "it is not there", number)
                if chunk_checksum(snapshot_id, number, chunk) != row["checksum"]:
                    raise SnapshotDamaged(snapshot_id, "it is not what was written", number)
                seen.add(chunk)
                yield chunk
        if (seen.size_bytes, seen.digest()) != (known["size_bytes"], known["content_digest"]):
            raise SnapshotDamaged(snapshot_id, "its chunks are not those that were written")

    @override
    async def delete(self, snapshot_id: str) -> bool:
        async with self._connections.transaction("deleting a snapshot") as session:
            return await session.change("snapshot_delete", self._cluster_id, snapshot_id) > 0

    @override
    async def prune(self, incarnation: Incarnation, retention: Retention, now_ms: int) -> Sequence[str]:
        deleted: list[str] = []
        async with self._connections.transaction("pruning snapshots") as session:
            whole = await list_in(session, self._cluster_id)
        # One transaction for each: a large one is deleted by its chunks, and locks are not to be held for several.
        for snapshot_id in superfluous(whole, retention, now_ms):
            async with self._connections.transaction("pruning snapshots") as session:
                await require_for_snapshot(session, self._cluster_id, incarnation)
                if await session.change("snapshot_delete", self._cluster_id, snapshot_id):
                    deleted.append(snapshot_id)
        async with self._connections.transaction("pruning snapshots") as session:
            await require_for_snapshot(session, self._cluster_id, incarnation)
            if whole:
                number, index, _ = whole[0].age_key
                rows = await session.rows("snapshot_delete_overtaken", self._cluster_id, number, index)
                deleted += [row["snapshot_id"] for row in rows]
        return deleted

    async def _whole(self, snapshot_id: str) -> Any:
        """Raises SnapshotUnknown."""
        async with self._connections.transaction("reading a snapshot") as session:
            row = await session.row("snapshot_get", self._cluster_id, snapshot_id)
        if row is None:
            raise SnapshotUnknown(snapshot_id)
        return row


async def list_in(session: Session, cluster_id: str) -> list[StoredSnapshot]:
    """All whole ones, furthest first."""
    return [
        StoredSnapshot(
            SnapshotHeader(
                snapshot_id=row["snapshot_id"],
                incarnation=Incarnation(row["incarnation"], row["incarnation_id"]),
                node_id=row["node_id"],
                index=row["index"],
                term=row["term"],
                clock_ms=row["clock_ms"],
                format=row["format"],
                digest=row["digest"],
                taken_at_ms=row["taken_at_ms"],
            ),
            row["chunks"],
            row["size_bytes"],
        )
        for row in await session.rows("snapshot_list", cluster_id)
    ]
