"""All that a node keeps outside the nodes, put together: opened, run, asked, drained and closed.

Duty: the order of things, the schedule of snapshots, and what is told of it. Built for a node without storage, too, of which
it says so.

Invariants: nothing here keeps a node from starting, serving or ending; what is waited for is bounded.
Must not know: any backend.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from garbagetruck.cluster.node.archiving.archiver import RETRY_S_MAX, Archiver
from garbagetruck.cluster.node.archiving.copier import NothingToCopy, SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life
from garbagetruck.cluster.node.archiving.on_demand import SnapshotsOnDemand
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.observe.facts import ArchiveFacts
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.storage.errors import StorageError, StorageUnreachable
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import StoredSnapshot

TOLD_S = 5.0
"""A lag that is shorter is nothing to warn of."""
SPREAD = 0.25
"""Each node draws its interval anew, up to this much shorter: so that not all copy at once."""
FIRST_S_MAX = 60.0
"""The first copy of a node comes within this, or within its interval if that is shorter."""
STOP_S_MAX = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Archiving:
    """The parts."""

    storage: Storage
    life: Life
    archiver: Archiver
    copier: SnapshotCopier
    progress: ArchiveProgress
    location: str
    """For people."""


class StorageService:
    """`start` it once the log has started; `stop` in any case. On the node's main loop."""

    def __init__(
        self, parts: Archiving, *, snapshot_interval_s: float, random: Random, monotonic_ns: Callable[[], int]
    ) -> None:
        self._parts = parts
        self._snapshot_interval_s = snapshot_interval_s
        self._random = random
        self._monotonic_ns = monotonic_ns
        self._tasks: list[asyncio.Task[None]] = []
        self._open = False
        self.on_demand = SnapshotsOnDemand(self.create_snapshot)
        """Snapshots for those who ask."""

    async def start(self) -> None:
        """Begin; nothing is waited for."""
        self._tasks = [asyncio.get_running_loop().create_task(self._run(), name="storage")]

    async def stop(self) -> None:
        """Idempotent. A storage that does not let go is left behind: the process ends next."""
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *self.on_demand.under_way]
        self._tasks = []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S_MAX)

    async def drain(self, timeout_s: float) -> None:
        """Have a fresh snapshot copied and the log archived, as far as that can be done in time; then go on without."""
        if not self._open:
            return
        task = asyncio.get_running_loop().create_task(self._leave_all(), name="storage-drain")
        self._tasks.append(task)
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            task.cancel()  # a storage that hangs may take its time over that, too
            _log.warning("not_archived_at_the_end", reason=f"it took longer than {timeout_s:g} s")

    async def _leave_all(self) -> None:
        try:
            await self.create_snapshot()
            await self._parts.archiver.catch_up()
        except (StorageError, NothingToCopy, RaftError) as error:
            _log.warning("not_archived_at_the_end", reason=str(error))

    async def create_snapshot(self) -> StoredSnapshot:
        """Take one now and copy it. Raises NothingToCopy, StorageError, RaftError."""
        incarnation = self._parts.life.present
        if not self._open or incarnation is None:
            raise StorageUnreachable("the storage has not been reached yet")
        return await self._parts.copier.copy(incarnation, fresh=True)

    async def list_snapshots(self) -> Sequence[StoredSnapshot]:
        """All of all nodes, those that go furthest first. Raises StorageError."""
        if not self._open:
            raise StorageUnreachable("the storage has not been reached yet")
        return await self._parts.storage.snapshots.whole()

    async def read_snapshot(self, snapshot_id: str) -> AsyncGenerator[bytes, None]:
        """Its chunks, as `SnapshotStorage.read` gives them. Raises as that does."""
        if not self._open:
            raise StorageUnreachable("the storage has not been reached yet")
        async with aclosing(self._parts.storage.snapshots.read(snapshot_id)) as chunks:  # type: ignore[type-var]  # a generator
            async for chunk in chunks:
                yield chunk

    @property
    def holds_cleanups(self) -> bool:
        """Whether this node must start no cleanup, since the cluster was restored elsewhere. Any thread may ask."""
        return self._parts.life.followed

    @property
    def location(self) -> str:
        """Where they are, for people."""
        return self._parts.location

    def facts(self) -> ArchiveFacts:
        """For metrics and the status page."""
        return ArchiveFacts(archived_index=self.archived_index, lag_s=self.lag_s, failing=bool(self.failure))

    def waits(self) -> str:
        """What an operator should know of a lag, as a sentence; empty when there is none to speak of."""
        if self.lag_s < TOLD_S:
            return ""
        why = f": {self.failure}" if self.failure else ""
        return f"nothing was archived for {self.lag_s:.0f} s, and the loss of every disk would cost as much{why}"

    @property
    def lag_s(self) -> float:
        """How long the first entry that is not archived has been applied here; 0 without one."""
        return self._parts.progress.lag_s(self._monotonic_ns())

    @property
    def archived_index(self) -> int:
        """The end of the archive, as this node last heard."""
        return self._parts.progress.archived_index

    @property
    def failure(self) -> str:
        """Why nothing is archived at present, as a clause; empty when it is."""
        return self._parts.progress.failure

    async def _run(self) -> None:
        while True:
            try:
                async with self._parts.storage:
                    self._open = True
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._parts.archiver.run(), name="archiver")
                        group.create_task(self._copy_on_schedule(), name="snapshot-copier")
            except (StorageError, OSError, ValueError) as error:
                self._parts.progress.failure = f"the storage cannot be opened: {error}"
                _log.error("storage_not_opened", reason=str(error))  # settings that only an operator can correct
            finally:
                self._open = False
            await asyncio.sleep(RETRY_S_MAX)

    async def _copy_on_schedule(self) -> None:
        await asyncio.sleep(self._random.random() * min(FIRST_S_MAX, self._snapshot_interval_s))
        while True:
            delay_s = self._snapshot_interval_s * (1.0 - SPREAD * self._random.random())
            try:
                await self.create_snapshot()
            except (StorageError, NothingToCopy, RaftError) as error:
                _log.warning("snapshot_not_copied", reason=str(error))
                delay_s = min(delay_s, FIRST_S_MAX)
            except Exception:  # noqa: BLE001  # as for the archiver: it ends no node
                _log.exception("snapshot_copier_bug")
            await asyncio.sleep(delay_s)
