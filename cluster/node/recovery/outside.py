"""The snapshots in a cluster's storage, for somebody who looks at them without a cluster.

Duty: which there are, what each is of, and whether it is what was written: every chunk, all of them together, and the digest
of the state that they make.

Invariants: nothing is changed; the schema of a database is not brought up to date. One chunk is held beside the state. Must
not know: who asks, and any backend.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.node.archiving.opening import StorageNotInstalled, described, open_storage
from garbagetruck.cluster.node.config.storage_section import StorageSection
from garbagetruck.cluster.node.machine_snapshots import StateInPieces
from garbagetruck.cluster.node.recovery.errors import NothingToRestore, SourceAway, SourceDamaged
from garbagetruck.cluster.node.recovery.from_storage import section_of
from garbagetruck.cluster.raft.errors import SnapshotUnfit
from garbagetruck.storage import errors as storage_errors
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import StoredSnapshot, is_name

NO_CLUSTER = "-"
"""Under which a storage is asked which clusters it has."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Where:
    """A storage, and the cluster whose snapshots are meant; empty: the only one there is."""

    section: StorageSection
    cluster_id: str = ""


@dataclass(frozen=True, slots=True)
class OutsideSnapshot:
    """One in the storage. `damage` is why it cannot be believed, as far as was looked; empty for nothing found."""

    stored: StoredSnapshot
    cluster_id: str
    location: str
    """For people."""
    chunks_verified: int = 0
    bytes_verified: int = 0
    damage: str = ""
    leases: int | None = None
    """This and the next are known when all of it was read."""
    resources: int | None = None


def where(source: str, section: StorageSection | None, cluster_id: str) -> Where:
    """The storage at `source`: an address, or a folder. What is not in the address is as in `section`. Raises RecoveryError."""
    if cluster_id and not is_name(cluster_id):
        raise NothingToRestore(f"{cluster_id!r} is no id of a cluster: 1 to 64 letters, digits, '.', '_' and '-'")
    return Where(section_of(section or StorageSection(), source), cluster_id)


def look(place: Where) -> Sequence[OutsideSnapshot]:
    """All that are whole, those that go furthest first. Raises RecoveryError."""
    return _run(place, lambda storage: _look(storage, place))


def verify(
    place: Where, snapshot_ids: Sequence[str], on_step: Callable[[OutsideSnapshot], None]
) -> Sequence[OutsideSnapshot]:
    """Read those, or all, to their ends. `on_step` hears after each chunk how far it is. Raises RecoveryError."""

    async def work(storage: Storage) -> Sequence[OutsideSnapshot]:
        found = {each.stored.header.snapshot_id: each for each in await _look(storage, place)}
        unknown = [each for each in snapshot_ids if each not in found]
        if unknown:
            raise NothingToRestore(f"the storage has no snapshot {', '.join(unknown)}; list those that there are")
        return [await _verified(storage, found[each], on_step) for each in snapshot_ids or found]

    return _run(place, work)


async def _look(storage: Storage, place: Where) -> list[OutsideSnapshot]:
    location = described(place.section)
    return [OutsideSnapshot(each, storage.cluster_id, location) for each in await storage.snapshots.whole()]


async def _verified(
    storage: Storage, snapshot: OutsideSnapshot, on_step: Callable[[OutsideSnapshot], None]
) -> OutsideSnapshot:
    pieces, so_far = StateInPieces(), snapshot
    try:
        async for chunk in storage.snapshots.read(snapshot.stored.header.snapshot_id):
            pieces.add(chunk)
            so_far = replace(
                so_far,
                chunks_verified=so_far.chunks_verified + 1,
                bytes_verified=so_far.bytes_verified + len(chunk),
            )
            on_step(so_far)
        state = pieces.finish()
    except (storage_errors.SnapshotDamaged, storage_errors.SnapshotUnknown, SnapshotUnfit) as error:
        return replace(so_far, damage=str(error))
    if state.cluster_id != storage.cluster_id:
        return replace(so_far, damage=f"its state is that of cluster {state.cluster_id}")
    digest, said = f"{Queries(state).digest():016x}", snapshot.stored.header.digest
    if digest != said:
        return replace(so_far, damage=f"the digest of its state is not {said}, as it says, but {digest}")
    summary = Queries(state).summary()
    return replace(so_far, leases=summary.leases, resources=summary.resources)


def _run(place: Where, work: Callable[[Storage], Awaitable[ResultT]]) -> ResultT:
    async def opened(executor: ThreadPoolExecutor) -> ResultT:
        cluster_id = place.cluster_id or await _only_cluster(place.section, executor)
        async with _opened(place.section, cluster_id, executor) as storage:
            return await work(storage)

    with ThreadPoolExecutor(1, thread_name_prefix="storage") as executor:
        try:
            return asyncio.run(opened(executor))
        except storage_errors.StorageDamaged as error:
            raise SourceDamaged(str(error)) from error
        except (storage_errors.StorageError, StorageNotInstalled) as error:
            raise SourceAway(str(error)) from error


async def _only_cluster(section: StorageSection, executor: ThreadPoolExecutor) -> str:
    async with _opened(section, NO_CLUSTER, executor) as storage:
        found = await storage.cluster_ids()
    if len(found) != 1:
        others = f"clusters {', '.join(found)}: name one with --cluster" if found else "no cluster at all"
        raise NothingToRestore(f"the storage has {others}")
    return found[0]


@asynccontextmanager
async def _opened(section: StorageSection, cluster_id: str, executor: ThreadPoolExecutor) -> AsyncIterator[Storage]:
    storage = open_storage(replace(section, migrate=False), cluster_id, executor, who="snapshot")
    assert storage is not None, "a place was named"
    async with storage:
        yield storage
