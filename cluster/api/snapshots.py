"""Snapshots in the storage outside the nodes: taken on demand, listed, and read back.

Duty: the calls of ClusterService about them, over what a node keeps outside (`SnapshotDesk`). Must not know: any storage,
and how nodes ask each other.

Whoever asks for a snapshot may leave before it is there: the node goes on.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.gateway import Consistency, OperatingError, StorageAway
from garbagetruck.cluster.api.pages import next_page_token, page_after_name, page_size
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.machine.model import Member
from garbagetruck.v1 import cluster_pb2

TOLD_S = 0.5
"""How often a caller hears how far a snapshot was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A snapshot that is whole in the storage. Meanings and units as in cluster.proto."""

    id: str
    node_id: str
    applied_index: int
    term: int
    clock_ms: int
    incarnation: int
    size_bytes: int
    chunks: int
    digest: str
    """Of the state in it, in hexadecimal."""
    format: int
    taken_at_ms: int
    location: str

    @property
    def place(self) -> str:
        """Ascends with how far a snapshot goes, as text."""
        return f"{self.incarnation:019d}.{self.applied_index:019d}.{self.id}"


@dataclass(frozen=True, slots=True)
class Verified:
    """How far a snapshot was read back. `damage` ends it; so does the last chunk."""

    snapshot: SnapshotRecord
    chunks: int
    size_bytes: int
    is_done: bool = False
    damage: str = ""


class UnknownSnapshot(Exception):
    """The storage has no such snapshot, or none any more."""


class SnapshotDesk(Protocol):
    """What a node keeps outside, as far as snapshots go. Runs on the node's main loop.

    Each raises `StorageAbsent`, `StorageAway`, `StorageRefused`.
    """

    async def create(self, member: Member | None, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        """Have `member` take a snapshot and copy it; None is this node. Goes on when `timeout_s` is over.

        Raises `SnapshotNotTaken`, `MemberUnreachable`, `FeatureNotEnabled`, `Overloaded`, `OutcomeUnknown`.
        """
        ...

    async def list(self) -> Sequence[SnapshotRecord]:
        """All that are whole."""
        ...

    def verify(self, snapshot_id: str) -> AsyncGenerator[Verified, None]:
        """Read one to its end, or to its first damage. Raises `UnknownSnapshot`, and `Overloaded` while others are read."""
        ...


class SnapshotCalls:
    """Translates; see cluster.proto for what the methods promise."""

    def __init__(self, door: Door, desk: SnapshotDesk) -> None:
        self._door = door
        self._desk = desk

    async def create(
        self, request: cluster_pb2.CreateSnapshotRequest, context: Context
    ) -> cluster_pb2.CreateSnapshotResponse:
        door = self._door
        deadline = door.deadline_of(context)
        member = await self._member(request.member_id, deadline)
        timeout_s = deadline - asyncio.get_running_loop().time()
        try:
            taken = await self._desk.create(member, request.request_id, timeout_s=timeout_s)
        except OperatingError as error:
            raise door.told(error, repeatable=bool(request.request_id)) from error
        return cluster_pb2.CreateSnapshotResponse(
            header=header.mutation_header(door.header()), snapshot=snapshot_message(taken)
        )

    async def list(
        self, request: cluster_pb2.ListSnapshotsRequest, context: Context
    ) -> cluster_pb2.ListSnapshotsResponse:
        door = self._door
        size, after = page_size(request.page_size), page_after_name(request, request.page_token)
        try:
            async with asyncio.timeout_at(door.deadline_of(context)):
                found = await self._desk.list()
        except TimeoutError as error:
            raise door.told(StorageAway("the storage did not answer in time"), repeatable=True) from error
        except OperatingError as error:
            raise door.told(error, repeatable=True) from error
        found = sorted(found, key=lambda each: each.place, reverse=True)
        left = [each for each in found if not after or each.place < after]
        return cluster_pb2.ListSnapshotsResponse(
            header=header.mutation_header(door.header()),
            snapshots=map(snapshot_message, left[:size]),
            next_page_token=next_page_token(request, left[size - 1].place) if len(left) > size else "",
        )

    async def verify(
        self, request: cluster_pb2.VerifySnapshotRequest
    ) -> AsyncIterator[cluster_pb2.VerifySnapshotResponse]:
        door, loop = self._door, asyncio.get_running_loop()
        door.check_id("snapshot_id", request.snapshot_id)
        silent_until = loop.time()  # the first response comes at once
        try:
            async with aclosing(self._desk.verify(request.snapshot_id)) as steps:
                async for step in steps:
                    if step.is_done or loop.time() >= silent_until:
                        silent_until = loop.time() + TOLD_S
                        yield self._response(step)
        except UnknownSnapshot as error:
            raise errors.of_door("SNAPSHOT_NOT_FOUND", str(error), field="snapshot_id") from error
        except OperatingError as error:
            raise door.told(error, repeatable=True) from error

    def _response(self, step: Verified) -> cluster_pb2.VerifySnapshotResponse:
        return cluster_pb2.VerifySnapshotResponse(
            header=header.mutation_header(self._door.header()),
            snapshot=snapshot_message(step.snapshot),
            chunks_verified=step.chunks,
            bytes_verified=step.size_bytes,
            done=step.is_done,
            damage=step.damage,
        )

    async def _member(self, member_id: str, deadline: float) -> Member | None:
        """Whose snapshot is asked for; None is this node's. Raises `CallError`."""
        if member_id in ("", self._door.header().node_id):
            return None
        for consistency in Consistency.STALE, Consistency.LINEARIZABLE:  # it may have joined a moment ago
            view = await self._door.read(consistency, deadline)
            found = next((each for each in view.machine.members() if each.id == member_id), None)
            if found is not None:
                return found
        raise errors.of_door("MEMBER_NOT_FOUND", f"no member {member_id!r}", field="member_id")


def snapshot_message(record: SnapshotRecord) -> cluster_pb2.Snapshot:
    return cluster_pb2.Snapshot(
        id=record.id,
        node_id=record.node_id,
        applied_index=record.applied_index,
        term=record.term,
        clock_ms=record.clock_ms,
        incarnation=record.incarnation,
        size_bytes=record.size_bytes,
        digest=bytes.fromhex(record.digest),
        format_version=record.format,
        created_wall_ms=record.taken_at_ms,
        location=record.location,
        chunks=record.chunks,
    )
