"""The leader's archiver, over a storage in memory that fails when it is told to."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from typing_extensions import override

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.archiving.archiver import Archiver, ArchiverSettings
from garbagetruck.cluster.node.archiving.copier import SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.raft.cursor import CommittedEntry, LogCursor, Run
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.storage.errors import StorageUnreachable
from garbagetruck.storage.memory import MemoryArchive, MemoryStorage, Vault
from garbagetruck.storage.records import Incarnation, Span, StoredSnapshot
from garbagetruck.storage.records import SnapshotHeader as StoredHeader
from tests.unit.node.rig import turns

FIRST = Incarnation(1, "first")


@dataclass
class Log(LogCursor):
    """What is committed, of which the beginning may be gone."""

    applied: int = 0
    first: int = 1
    term: int = 1
    kept_from: list[int] = field(default_factory=list)

    @override
    async def read(self, from_index: int) -> Run:
        if from_index < self.first:
            return Run((), self.first, self.applied)
        last = min(self.applied, from_index + 4)
        entries = [CommittedEntry(n, self.term, b"%d" % n) for n in range(from_index, last + 1)]
        return Run(entries, from_index, self.applied)

    @override
    async def take_snapshot(self) -> SnapshotHeader | None:
        return None

    @override
    def keep_from(self, index: int, journal_bytes_max: int) -> None:
        self.kept_from.append(index)

    @property
    @override
    def newest_snapshot(self) -> SnapshotHeader | None:
        return None


class Copier:
    """Stores a snapshot of what is applied."""

    def __init__(self, storage: MemoryStorage, log: Log) -> None:
        self._storage, self._log = storage, log

    async def copy(self, incarnation: Incarnation, *, fresh: bool) -> StoredSnapshot:
        header = StoredHeader(
            snapshot_id=f"s{self._log.applied}",
            incarnation=incarnation,
            node_id="n1",
            index=self._log.applied,
            term=1,
            clock_ms=0,
            format=1,
            digest="0",
            taken_at_ms=0,
        )
        sink = await self._storage.snapshots.begin(header)
        await sink.write(b"x")
        return await sink.finish()


class Flaky(MemoryStorage):
    """Refuses connections while it is `away`."""

    away = False

    @property
    @override
    def archive(self) -> MemoryArchive:
        if self.away:
            raise StorageUnreachable("away, as the test wants it")
        return super().archive


@dataclass
class Stage:
    storage: Flaky
    log: Log
    life: Life
    archiver: Archiver
    progress: ArchiveProgress

    async def spans(self) -> list[Span]:
        return list(await self.storage.archive.spans(1))

    async def until_archived(self) -> None:
        await until(lambda: self.progress.archived_index >= self.log.applied)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the archiver tells nobody when it is done
            await asyncio.sleep(0.001)


def stage(vault: Vault) -> Stage:
    storage, log, machine, progress = Flaky(vault, "c"), Log(), Machine(), ArchiveProgress()
    machine._state.incarnation, machine._state.incarnation_id = FIRST.number, FIRST.id
    life = Life(
        node_id="n1",
        machine=machine,
        queue=cast("object", None),  # type: ignore[arg-type]  # the incarnation has its id
        storage=storage,
        random=random.Random(1),
        now_ms=lambda: 0,
    )
    archiver = Archiver(
        storage=storage,
        life=life,
        cursor=log,
        copier=cast("SnapshotCopier", Copier(storage, log)),
        progress=progress,
        settings=ArchiverSettings(interval_s=0.005, backlog_bytes_max=1),
        monotonic_ns=lambda: 0,
        wall_ms=lambda: 7,
    )
    return Stage(storage, log, life, archiver, progress)


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.archiver.run())
    try:
        yield
        assert not task.done(), "it ends with its node, and not before"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def vault() -> Vault:
    return Vault()


async def test_a_leader_archives_all_in_bounded_runs_and_the_log_is_kept_from_there_on(vault: Vault) -> None:
    one = stage(vault)
    one.log.applied = 23
    async with running(one):
        await turns(20)
        assert one.progress.archived_index == 0, "who does not lead writes nothing"
        one.archiver.started_leading(1)
        await one.until_archived()
        one.log.applied = 40
        await one.until_archived()
    assert await one.spans() == [Span(1, 40, 1)]
    assert (one.log.kept_from[0], one.log.kept_from[-1]) == (0, 41)
    assert [each.payload async for each in one.storage.archive.read(1, 39)] == [b"39", b"40"]


async def test_i10_while_the_storage_is_away_it_waits_and_then_catches_up(vault: Vault) -> None:
    one = stage(vault)
    one.log.applied = 3
    async with running(one):
        one.archiver.started_leading(1)
        await one.until_archived()
        one.storage.away = True
        one.log.applied = 9
        await until(lambda: one.progress.failure != "")
        assert "away" in one.progress.failure
        one.storage.away = False
        await one.until_archived()
        await turns(20)
        assert one.progress.failure == ""
    assert await one.spans() == [Span(1, 9, 1)]


async def test_a_new_leader_goes_on_where_the_archive_ends_and_the_deposed_one_writes_no_more(vault: Vault) -> None:
    old, new = stage(vault), stage(vault)
    old.log.applied = 5
    async with running(old), running(new):
        old.archiver.started_leading(1)
        await old.until_archived()
        new.log.applied, new.log.term = 12, 2
        new.archiver.started_leading(2)
        await new.until_archived()
        old.log.applied = 30  # what it says is nothing that a majority has
        await until(lambda: old.progress.failure != "")
        assert "a leader of term 2 has resumed it" in old.progress.failure
    # The entries of this log all have the term of who reads them: so the archive shows who wrote which.
    assert [each.term async for each in new.storage.archive.read(1, 1)] == [1] * 5 + [2] * 7


async def test_what_the_log_has_let_go_of_is_a_gap_that_a_snapshot_covers(vault: Vault) -> None:
    one = stage(vault)
    one.log.applied = 5
    async with running(one):
        one.archiver.started_leading(1)
        await one.until_archived()
        one.archiver.stopped_leading(1)
        one.log.applied, one.log.first = 30, 21
        one.archiver.started_leading(1)
        await one.until_archived()
    assert await one.spans() == [Span(1, 5, 1), Span(21, 30, 1)]
    (stored,) = await one.storage.snapshots.whole()
    assert stored.header.index == 30


async def test_what_a_later_leader_wrote_is_left_to_that_one() -> None:
    """Found by the simulator: cluster world, seed 47. The log may be in a later term before its node has heard that it leads no more."""
    archiving = stage(Vault())
    async with running(archiving):
        archiving.log.applied = 3
        archiving.archiver.started_leading(1)
        await archiving.until_archived()
        archiving.log.term, archiving.log.applied = 2, 6
        await until(lambda: archiving.progress.lag_s(1_000_000_000) > 0)
        assert (archiving.progress.archived_index, archiving.progress.failure) == (3, "")
        archiving.archiver.stopped_leading(1)
        archiving.archiver.started_leading(2)
        await archiving.until_archived()
    assert await archiving.spans() == [Span(1, 6, 2)]
