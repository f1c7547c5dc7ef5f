"""Snapshots in the storage outside the nodes: taken on demand, listed, read back.

Duty: the calls of ClusterService about them, in Python's terms. Invariant: a repetition of a call that takes one names the
same node, so that it joins what that node is at, and takes no other.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from garbagetruck.client.caller import Caller, Listing, Page
from garbagetruck.client.errors import OutcomeUnknown
from garbagetruck.client.fitting import fit
from garbagetruck.v1 import cluster_pb2

PATIENCE_S_DEFAULT = 600.0
"""A snapshot of millions of leases takes its time."""
REPEAT_S = 0.05
SILENCE_S_MAX = 60.0
"""While a snapshot is read back there is a response for every few chunks; a storage may be slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that is whole in the storage."""

    id: str
    node_id: str
    """Who took it."""
    applied_index: int
    """The log up to this index is in it."""
    term: int
    clock_ms: int
    """Cluster time in it."""
    incarnation: int
    size_bytes: int
    chunks: int
    digest: bytes
    """Of its state."""
    format_version: int
    created_wall_ms: int
    """Milliseconds since 1970, by that node's clock; for people."""
    location: str
    """A folder or a database; for people."""


@dataclass(frozen=True, slots=True)
class SnapshotCheck:
    """How far a snapshot was read back."""

    snapshot: Snapshot
    chunks_verified: int
    bytes_verified: int
    done: bool
    """This is the last word."""
    damage: str
    """What is not as it was written; empty when nothing was found so far, or, with `done`, at all."""


class Snapshots:
    """The snapshots of the cluster."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(
        self,
        member_id: str = "",
        *,
        patience: float = PATIENCE_S_DEFAULT,
        request_id: str = "",
        timeout: float | None = None,
    ) -> Snapshot:
        """Have a node take a snapshot and copy it to the storage; empty: whichever answers first.

        Waits for as long as the node is at it, `patience` seconds at most; then `OutcomeUnknown`, and the node goes on.
        `timeout` is for each call. Raises `StorageAbsent`, `StorageRefused`, `MemberNotFound`, `FeatureNotEnabled`,
        `Unavailable`.
        """
        if not member_id:
            status = await self._caller.read(
                lambda stubs: stubs.cluster.GetStatus, timeout, cluster_pb2.GetStatusRequest
            )
            member_id = status.message.header.node_id
        request_id = request_id or self._caller.world.new_request_id()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            try:
                answer = await self._caller.mutate(
                    lambda stubs: stubs.cluster.CreateSnapshot,
                    timeout,
                    cluster_pb2.CreateSnapshotRequest,
                    request_id=request_id,
                    member_id=member_id,
                )
            except OutcomeUnknown:
                if loop.time() + REPEAT_S >= deadline:
                    raise
                await asyncio.sleep(REPEAT_S)
            else:
                return snapshot_record(answer.message.snapshot)

    def list(self, *, page_size: int = 0, timeout: float | None = None) -> Listing[Snapshot]:
        """Go through all of all nodes, those that go furthest first. `timeout` is for each page.

        Raises `StorageAbsent`, `StorageRefused`, `Unavailable`.
        """

        async def fetch(size: int, token: str) -> Page[Snapshot]:
            answer = await self._caller.read(
                lambda stubs: stubs.cluster.ListSnapshots,
                timeout,
                cluster_pb2.ListSnapshotsRequest,
                page_size=size,
                page_token=token,
            )
            return Page(tuple(map(snapshot_record, answer.message.snapshots)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    async def verify(self, snapshot_id: str) -> AsyncGenerator[SnapshotCheck, None]:
        """Have a node read one back, and compare every chunk with what was written; yields how far it is.

        It has been read when the iterator ends, and was whole if the last check has no `damage`. Nothing is repeated when
        it breaks off: begin anew. Raises `SnapshotNotFound`, `StorageAbsent`, `StorageRefused`, `Unavailable`.
        """
        request = fit("", cluster_pb2.VerifySnapshotRequest, snapshot_id=snapshot_id)
        responses = self._caller.connection.stream(
            lambda stubs: stubs.cluster.VerifySnapshot,
            request,
            first_s_max=SILENCE_S_MAX,
            silence_s_max=SILENCE_S_MAX,
        )
        async with aclosing(responses):
            async for each in responses:
                yield SnapshotCheck(
                    snapshot_record(each.snapshot), each.chunks_verified, each.bytes_verified, each.done, each.damage
                )
                if each.done:
                    return


def snapshot_record(message: cluster_pb2.Snapshot) -> Snapshot:
    return Snapshot(
        id=message.id,
        node_id=message.node_id,
        applied_index=message.applied_index,
        term=message.term,
        clock_ms=message.clock_ms,
        incarnation=message.incarnation,
        size_bytes=message.size_bytes,
        chunks=message.chunks,
        digest=message.digest,
        format_version=message.format_version,
        created_wall_ms=message.created_wall_ms,
        location=message.location,
    )
