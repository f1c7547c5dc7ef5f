"""What `snapshot create|list|verify` print: the JSON of snapshots on a node's disk and outside the nodes, and their tables."""

import datetime as dt
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from garbagetruck.cli.render import Column, Fields, note
from garbagetruck.client import Snapshot, SnapshotCheck

if TYPE_CHECKING:
    from garbagetruck.cluster.node.recovery.outside import OutsideSnapshot
    from garbagetruck.cluster.node.recovery.snapshots import LocalSnapshot

TOLD_S = 2.0
"""How often somebody who waits is told how far it is."""

LOCAL = (
    Column("INDEX", lambda row: row["index"]),
    Column("TERM", lambda row: row["term"]),
    Column("INCARNATION", lambda row: row["incarnation"]),
    Column("WRITTEN AT", lambda row: row["written_at"]),
    Column("BYTES", lambda row: row["size_bytes"]),
    Column("DAMAGE", lambda row: row["damage"]),
    Column("CLUSTER", lambda row: row["cluster_id"], wide=True),
    Column("FILE", lambda row: row["file"], wide=True),
)
LOCAL_VERIFIED = (
    Column("FILE", lambda row: row["file"]),
    Column("INDEX", lambda row: row["index"]),
    Column("LEASES", lambda row: row["leases"]),
    Column("RESOURCES", lambda row: row["resources"]),
    Column("DAMAGE", lambda row: row["damage"]),
    Column("AT OFFSET", lambda row: row["offset"]),
)
OUTSIDE = (
    Column("ID", lambda row: row["snapshot_id"]),
    Column("NODE", lambda row: row["node_id"]),
    Column("INDEX", lambda row: row["index"]),
    Column("INCARNATION", lambda row: row["incarnation"]),
    Column("TAKEN AT", lambda row: row["taken_at"]),
    Column("BYTES", lambda row: row["size_bytes"]),
    Column("TERM", lambda row: row["term"], wide=True),
    Column("CHUNKS", lambda row: row["chunks"], wide=True),
    Column("DIGEST", lambda row: row["digest"], wide=True),
    Column("WHERE", lambda row: row["location"], wide=True),
)
OUTSIDE_VERIFIED = (
    Column("ID", lambda row: row["snapshot_id"]),
    Column("NODE", lambda row: row["node_id"]),
    Column("INDEX", lambda row: row["index"]),
    Column("CHUNKS", lambda row: f"{row['chunks_verified']}/{row['chunks']}"),
    Column("LEASES", lambda row: row["leases"]),
    Column("RESOURCES", lambda row: row["resources"]),
    Column("DAMAGE", lambda row: row["damage"]),
)


def local(snapshot: "LocalSnapshot") -> Fields:
    header = snapshot.header
    return {
        "file": str(snapshot.path),
        "index": header and header.index,
        "term": header and header.term,
        "incarnation": header and header.incarnation,
        "cluster_id": header and header.cluster_id,
        "snapshot_id": header and header.snapshot_id,
        "size_bytes": snapshot.size_bytes,
        "written_at": time_of(snapshot.written_s),
        "clock_ms": snapshot.clock_ms,
        "leases": snapshot.leases,
        "resources": snapshot.resources,
        "damage": snapshot.damage,
        "offset": snapshot.offset,
    }


def outside(snapshot: Snapshot) -> Fields:
    """One in the storage, as the cluster tells it."""
    return {
        "snapshot_id": snapshot.id,
        "node_id": snapshot.node_id,
        "index": snapshot.applied_index,
        "term": snapshot.term,
        "incarnation": snapshot.incarnation,
        "clock_ms": snapshot.clock_ms,
        "size_bytes": snapshot.size_bytes,
        "chunks": snapshot.chunks,
        "digest": snapshot.digest.hex(),
        "format": snapshot.format_version,
        "taken_at": time_of(snapshot.created_wall_ms / 1_000),
        "location": snapshot.location,
    }


def outside_read(snapshot: "OutsideSnapshot") -> Fields:
    """The same, read from the storage itself."""
    header = snapshot.stored.header
    return {
        "snapshot_id": header.snapshot_id,
        "node_id": header.node_id,
        "index": header.index,
        "term": header.term,
        "incarnation": header.incarnation.number,
        "clock_ms": header.clock_ms,
        "size_bytes": snapshot.stored.size_bytes,
        "chunks": snapshot.stored.chunks,
        "digest": header.digest,
        "format": header.format,
        "taken_at": time_of(header.taken_at_ms / 1_000),
        "location": snapshot.location,
    }


def checked(check: SnapshotCheck) -> Fields:
    """One that a node has read back. What is in it, it did not look at."""
    return {
        **outside(check.snapshot),
        "chunks_verified": check.chunks_verified,
        "bytes_verified": check.bytes_verified,
        "leases": None,
        "resources": None,
        "damage": check.damage,
    }


def checked_read(snapshot: "OutsideSnapshot") -> Fields:
    """One that was read back here, and decoded."""
    return {
        **outside_read(snapshot),
        "chunks_verified": snapshot.chunks_verified,
        "bytes_verified": snapshot.bytes_verified,
        "leases": snapshot.leases,
        "resources": snapshot.resources,
        "damage": snapshot.damage,
    }


class Progress:
    """Tells somebody who waits, now and then, and not at all of what is done soon."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._told_s = monotonic_s()

    def told(self, snapshot_id: str, chunks_verified: int, chunks: int, bytes_verified: int, size_bytes: int) -> None:
        """How far a snapshot was read."""
        now_s = self._monotonic_s()
        if now_s - self._told_s >= TOLD_S:
            self._told_s = now_s
            note(f"{snapshot_id}: {chunks_verified} of {chunks} chunks, {bytes_verified:,} of {size_bytes:,} bytes")


def time_of(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
