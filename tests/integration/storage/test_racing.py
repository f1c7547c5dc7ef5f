"""Who writes to one database at the same time, and whose rows never mix (I5, I9, I10)."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from typing_extensions import override

import garbagetruck
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.archiving.archiver import Archiver, ArchiverSettings
from garbagetruck.cluster.node.archiving.copier import SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.recovery.from_storage import Wanted, restore_from_storage
from garbagetruck.cluster.node.recovery.restore import Restored
from garbagetruck.cluster.node.recovery.stored import Point, StoredSource
from garbagetruck.cluster.raft.cursor import CommittedEntry, LogCursor, Run
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Incarnation
from tests.integration.storage.storing import Kept, beside, kept, until, until_archived

FIRST = Incarnation(1, "first")
ENTRIES = 600
LEADERS = 3
RUN_MAX = 7
COMMAND = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()")


@dataclass
class Committed:
    """What a majority has, in order; the same for everybody, who may be behind."""

    entries: list[CommittedEntry] = field(default_factory=list)

    def commit(self, term: int, what: str = "") -> None:
        index = len(self.entries) + 1
        self.entries.append(CommittedEntry(index, term, f"{index} of term {term} {what}".encode()))


class Behind(LogCursor):
    """A node's log: a part of what is committed, from its beginning."""

    def __init__(self, committed: Committed, chance: random.Random) -> None:
        self._committed, self._chance = committed, chance
        self._applied = 0

    @override
    async def read(self, from_index: int) -> Run:
        await asyncio.sleep(self._chance.random() * 0.003)
        self._applied = self._chance.randint(self._applied, len(self._committed.entries))
        last = min(self._applied, from_index + RUN_MAX)
        return Run(self._committed.entries[from_index - 1 : last], from_index, self._applied)

    @override
    async def take_snapshot(self) -> SnapshotHeader | None:
        return None

    @override
    def keep_from(self, index: int, journal_bytes_max: int) -> None:
        """It keeps all."""

    @property
    @override
    def newest_snapshot(self) -> SnapshotHeader | None:
        return None


def archiver_of(number: int, storage: Storage, committed: Committed, chance: random.Random) -> Archiver:
    machine = Machine()
    machine._state.incarnation, machine._state.incarnation_id = FIRST.number, FIRST.id
    life = Life(
        node_id=f"n{number}",
        machine=machine,
        queue=cast("object", None),  # type: ignore[arg-type]  # the incarnation has its id
        storage=storage,
        random=chance,
        now_ms=lambda: 0,
    )
    return Archiver(
        storage=storage,
        life=life,
        cursor=Behind(committed, chance),
        copier=cast("SnapshotCopier", None),
        progress=ArchiveProgress(),
        settings=ArchiverSettings(interval_s=0.002, backlog_bytes_max=1),
        monotonic_ns=lambda: 0,
        wall_ms=lambda: 7,
    )


async def test_i5_archivers_of_deposed_leaders_that_go_on_write_nothing_over_nor_past_their_successors(
    tmp_path: Path, server: EmbeddedPostgres, seed: int
) -> None:
    """Each of them leads in turn, and most are told late, or never, that they do no more."""
    chance, committed, cluster = random.Random(seed), Committed(), kept(tmp_path / "cluster", server)
    storages = [cluster.open() for _ in range(LEADERS)]
    async with storages[0], storages[1], storages[2]:
        archivers = [archiver_of(number, each, committed, chance) for number, each in enumerate(storages)]
        running = [asyncio.create_task(each.run()) for each in archivers]
        told_late: list[tuple[int, Archiver]] = []
        term = 0
        while len(committed.entries) < ENTRIES:
            term += 1
            leader = archivers[term % LEADERS]
            leader.started_leading(term)
            for _ in range(chance.randint(5, 60)):
                committed.commit(term)
                await asyncio.sleep(0.001)
            told_late.append((term, leader))
            while len(told_late) > 2:
                over, deposed = told_late.pop(0)
                if deposed._epoch == over:
                    deposed.stopped_leading(over)
        await until_archived_to(storages[0], len(committed.entries))
        for each in running:
            assert not each.done()
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert [each.first_index for each in await storages[0].archive.spans(1)] == [1]
        archived = [(each.index, each.term, each.payload) async for each in storages[0].archive.read(1, 1)]
    assert archived == [(each.index, each.term, each.payload) for each in committed.entries]


async def test_archivers_of_two_clusters_in_one_schema_archive_each_its_own(
    tmp_path: Path, server: EmbeddedPostgres, seed: int
) -> None:
    """Under the same incarnation, terms and indexes."""
    chance, cluster = random.Random(seed), kept(tmp_path / "cluster", server)
    logs = {"a": Committed(), "b": Committed()}
    async with cluster.open_as("a") as a, cluster.open_as("b") as b:
        running = []
        for name, storage in (("a", a), ("b", b)):
            archiver = archiver_of(1, storage, logs[name], chance)
            running.append(asyncio.create_task(archiver.run()))
            archiver.started_leading(1)
        for _ in range(ENTRIES // 2):
            for name, log in logs.items():
                log.commit(1, f"of {name}")
            await asyncio.sleep(0.001)
        await until_archived_to(a, ENTRIES // 2)
        await until_archived_to(b, ENTRIES // 2)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for name, storage in (("a", a), ("b", b)):
            archived = [(each.index, each.payload) async for each in storage.archive.read(1, 1)]
            assert archived == [(each.index, each.payload) for each in logs[name].entries]
        assert list(await a.cluster_ids()) == ["a", "b"]


async def until_archived_to(storage: Storage, index: int) -> None:
    async with asyncio.timeout(30.0):
        while not any(each.last_index >= index for each in await storage.archive.spans(1)):  # noqa: ASYNC110  # others write
            await asyncio.sleep(0.01)


# --- clusters of real nodes -----------------------------------------------------------------------------------------


async def acquire_some(cluster: Kept, name: str, count: int = 40) -> None:
    async with garbagetruck.connect(cluster.place.api) as truck:
        for number in range(count):
            await truck.acquire(f"{name}/{number}", holder=name, ttl=600.0)


def names(machine: Machine) -> set[str]:
    return {lease.resource for lease in machine._state.leases.values()}


@asynccontextmanager
async def both(one: Kept, other: Kept) -> AsyncIterator[None]:
    """Two clusters of one node each, at work at the same time until what they did is archived, if it can be."""
    async with one.running(bootstrap=True) as first, other.running(bootstrap=True, disk_id="disk-2") as second:
        await asyncio.gather(acquire_some(one, "one"), acquire_some(other, "other"))
        yield
        await asyncio.gather(until_archived(first), until_archived(second))


async def test_clusters_in_one_database_each_have_their_own_schema_and_only_their_own_rows(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    """They even have the same name."""
    one, other = kept(tmp_path / "one", server), kept(tmp_path / "other", server)
    async with both(one, other):
        pass
    assert names(await one.replayed()) == {f"one/{number}" for number in range(40)}
    assert names(await other.replayed()) == {f"other/{number}" for number in range(40)}


async def test_i10_a_cluster_that_has_anothers_name_in_the_same_schema_writes_nothing_and_pauses_its_cleanups(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    """Whoever reserved the first life is that cluster; the other one is told, and goes on without an archive."""
    one, other = kept(tmp_path / "one", server), kept(tmp_path / "other", server)
    other.schema = one.schema
    other.configure()
    async with one.running(bootstrap=True) as first:
        await acquire_some(one, "one", 5)
        await until_archived(first)
        async with other.running(bootstrap=True, disk_id="disk-2") as second:
            await asyncio.gather(acquire_some(one, "one", 20), acquire_some(other, "other", 20))
            await until(lambda: second.core.machine.cleanups_paused)
            assert "another id" in second.core.machine.cleanups_pause_reason
            assert second.storage is not None
            assert second.storage.archived_index == 0
            assert second.storage.holds_cleanups
            await until_archived(first)
            assert not first.core.machine.cleanups_paused
    assert names(await one.replayed()) == {f"one/{number}" for number in range(20)}


async def test_i9_a_life_that_goes_on_beside_the_next_one_adds_nothing_to_either(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    """The old node is at work while it is restored, and while the restored one is."""
    old = kept(tmp_path / "old", server)
    async with old.running(bootstrap=True) as first, old.open() as storage:
        working = asyncio.create_task(acquire_some(old, "before", 300))
        await until(lambda: first.core.applier.applied_index > 40)
        restored = await asyncio.to_thread(restore, old, tmp_path / "restored")
        taken = restored.source.archive_last_index
        await until(lambda: first.core.machine.cleanups_paused and first.core.applier.applied_index > taken + 20)
        assert [each.last_index for each in await storage.archive.spans(1)] == [taken]
        replayed = await old.replayed(1)
        new = beside(old, tmp_path / "new", tmp_path / "restored")
        async with new.running() as second:
            await asyncio.gather(working, acquire_some(new, "after"))
            await until_archived(second)
            assert second.storage is not None
            assert second.storage.archived_index > taken
            found = names(second.core.machine)
        # The new life lets go of the old one's entries when it has a snapshot of its own.
        assert [each.last_index for each in await storage.archive.spans(1)] in ([], [taken])
        (begun,) = await storage.archive.spans(2)
        read = [each.index async for each in storage.archive.read(2, begun.first_index)]
        assert read == list(range(begun.first_index, begun.last_index + 1))
    assert names(replayed) == {each for each in found if each.startswith("before/")}
    assert {each for each in found if each not in names(replayed)} == {f"after/{number}" for number in range(40)}
    again = await asyncio.to_thread(restore, old, tmp_path / "again")
    assert (again.incarnation, again.source.incarnation) == (3, 2)
    assert names(Machine(again.source.state)) == found


def restore(cluster: Kept, data_dir: Path) -> Restored[StoredSource]:
    settings = load_settings(cluster.config, {}).settings
    wanted = Wanted(cluster.server.dsn, Point(), old_cluster_is_dead=True)
    return restore_from_storage(settings, wanted, random=random.SystemRandom(), data_dir=data_dir)


# --- processes that restore -----------------------------------------------------------------------------------------


async def _restoring(cluster: Kept, folders: Sequence[Path], *more: str) -> list[subprocess.CompletedProcess[str]]:
    """As many processes of the command line at once."""

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["snapshot", "restore", "--from", cluster.server.dsn, "--config", str(cluster.config), "--yes"]
        command += ["--data-dir", str(folder), "--old-cluster-is-dead", *more]
        return subprocess.run([*COMMAND, *command], capture_output=True, text=True, timeout=90, check=False)

    return await asyncio.gather(*(asyncio.to_thread(run, each) for each in folders))


@pytest.mark.parametrize("number", ["2", ""])
async def test_i9_processes_that_restore_at_once_make_lives_of_different_numbers_or_are_told_of_the_other(
    tmp_path: Path, server: EmbeddedPostgres, number: str
) -> None:
    """With a number that is named, one of them makes it. Without, whoever comes later may take the next."""
    cluster = kept(tmp_path / "cluster", server)
    async with cluster.running(bootstrap=True) as node:
        await acquire_some(cluster, "kept", 10)
        await until_archived(node)
    folders = [tmp_path / f"new-{each}" for each in range(2)]
    ended = await _restoring(cluster, folders, *(["--incarnation", number] if number else []))
    won = [folder for folder, each in zip(folders, ended, strict=True) if each.returncode == 0]
    assert {each.returncode for each in ended} <= {0, 5}, [each.stderr for each in ended]
    told = ("cannot be reserved", "is not above")
    assert all(any(each in loser.stderr for each in told) for loser in ended if loser.returncode), [
        each.stderr for each in ended
    ]
    assert len(won) == 1 if number else won
    lives = [json.loads((each / "node.json").read_text())["incarnation"] for each in won]
    assert len(set(lives)) == len(won), "no two are the same life"
    assert not any(each.exists() for each in folders if each not in won), "who was told has made nothing"
    async with cluster.open() as storage:
        reserved = [each.incarnation for each in await storage.incarnations.reserved()]
    assert len(reserved) == 1 + len(won)
    assert [each.number for each in reserved] == list(range(1, len(reserved) + 1))
