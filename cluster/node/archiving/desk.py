"""What the API, and the other nodes, get of the snapshots outside the nodes.

Duty: this node's own, or those of a peer, who is asked for them; what goes wrong with them in the API's words. Also for a
node that keeps nothing outside, of which it says so.

Invariants: a peer is asked only when its record says that it can read the question. What is read back is bounded by
VERIFIED_AT_ONCE_MAX. Must not know: gRPC, any backend.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Protocol

from typing_extensions import override

from garbagetruck.cluster.api import gateway
from garbagetruck.cluster.api.gateway import FeatureNotEnabled, Overloaded
from garbagetruck.cluster.api.snapshots import SnapshotDesk, SnapshotRecord, UnknownSnapshot, Verified
from garbagetruck.cluster.machine.features import SNAPSHOT_OF_A_PEER_LEVEL
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.archiving.copier import NothingToCopy
from garbagetruck.cluster.node.archiving.service import StorageService
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.storage.errors import (
    SnapshotDamaged,
    SnapshotUnknown,
    StorageDamaged,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageRefused,
)
from garbagetruck.storage.records import StoredSnapshot

VERIFIED_AT_ONCE_MAX = 2
LASTING = (StorageRefused, StorageMisconfigured, StorageFull, StorageDamaged)
"""What repeating does not help against."""


class Peers(Protocol):
    """The way to the other nodes."""

    async def create_snapshot(self, node_id: str, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        """Raises `OperatingError`s; `MemberUnreachable` when it was not asked."""


class NodeSnapshots(SnapshotDesk):
    """Runs on the node's main loop."""

    def __init__(self, *, node_id: str, service: StorageService | None, peers: Peers) -> None:
        self._node_id = node_id
        self._service = service
        self._peers = peers
        self._verifying = 0

    @override
    async def create(self, member: Member | None, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        if member is None:
            return await self.create_own(request_id, timeout_s)
        if member.feature_level < SNAPSHOT_OF_A_PEER_LEVEL:
            raise FeatureNotEnabled(
                f"{member.id} reads feature level {member.feature_level}, and can be asked by others from level"
                f" {SNAPSHOT_OF_A_PEER_LEVEL} on: ask that node itself, at {member.api}"
            )
        return await self._peers.create_snapshot(member.id, request_id, timeout_s=timeout_s)

    async def create_own(self, request_id: str, timeout_s: float) -> SnapshotRecord:
        """This node's; for a peer that asks, too. Raises as `create`."""
        service = self._required()
        with _told():
            return self._record(await service.on_demand.snapshot(request_id, timeout_s))

    @override
    async def list(self) -> Sequence[SnapshotRecord]:
        service = self._required()
        with _told():
            return [self._record(each) for each in await service.list_snapshots()]

    @override
    async def verify(self, snapshot_id: str) -> AsyncGenerator[Verified, None]:
        service = self._required()
        if self._verifying >= VERIFIED_AT_ONCE_MAX:
            raise Overloaded(
                f"{VERIFIED_AT_ONCE_MAX} snapshots are being read back by this node; ask another one, or later"
            )
        self._verifying += 1
        try:
            with _told():
                found = next((each for each in await self.list() if each.id == snapshot_id), None)
                if found is None:
                    raise UnknownSnapshot(f"the storage has no snapshot {snapshot_id!r}")
                async with aclosing(_steps(service, found)) as steps:
                    async for step in steps:
                        yield step
        except SnapshotUnknown as error:
            raise UnknownSnapshot(str(error)) from error
        finally:
            self._verifying -= 1

    def _required(self) -> StorageService:
        if self._service is None:
            raise gateway.StorageAbsent(
                f"{self._node_id} keeps no copies outside the nodes: its configuration names no storage"
            )
        return self._service

    def _record(self, stored: StoredSnapshot) -> SnapshotRecord:
        assert self._service is not None, "it came from there"
        header = stored.header
        return SnapshotRecord(
            id=header.snapshot_id,
            node_id=header.node_id,
            applied_index=header.index,
            term=header.term,
            clock_ms=header.clock_ms,
            incarnation=header.incarnation.number,
            size_bytes=stored.size_bytes,
            chunks=stored.chunks,
            digest=header.digest,
            format=header.format,
            taken_at_ms=header.taken_at_ms,
            location=self._service.location,
        )


async def _steps(service: StorageService, snapshot: SnapshotRecord) -> AsyncGenerator[Verified, None]:
    so_far = Verified(snapshot, 0, 0)
    yield so_far
    try:
        async with aclosing(service.read_snapshot(snapshot.id)) as chunks:
            async for chunk in chunks:
                so_far = replace(so_far, chunks=so_far.chunks + 1, size_bytes=so_far.size_bytes + len(chunk))
                yield so_far
    except SnapshotDamaged as error:
        yield replace(so_far, is_done=True, damage=str(error))
    else:
        yield replace(so_far, is_done=True)


@contextmanager
def _told() -> Iterator[None]:
    """Have what goes wrong with the storage raised in the API's words."""
    try:
        yield
    except SnapshotUnknown:
        raise
    except LASTING as error:
        raise gateway.StorageRefused(str(error)) from error
    except StorageError as error:
        raise gateway.StorageAway(str(error)) from error
    except (NothingToCopy, RaftError) as error:
        raise gateway.SnapshotNotTaken(str(error)) from error
