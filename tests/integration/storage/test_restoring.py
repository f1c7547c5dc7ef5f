"""A cluster whose disks are all gone, restored from PostgreSQL: it has what was archived, and deletes nothing (I9)."""

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from typer.testing import CliRunner

import garbagetruck
from garbagetruck.cli.app import app
from garbagetruck.client import CleanupSettings, Lease, ResourceState, Truck
from garbagetruck.cluster.machine.model import TOKEN_COUNTER_BITS
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.recovery.errors import (
    IncarnationTaken,
    LevelTooLow,
    NothingToRestore,
    SourceAway,
    SourceDamaged,
    SourceStillWritten,
)
from garbagetruck.cluster.node.recovery.from_storage import Wanted, is_storage, restore_from_storage
from garbagetruck.cluster.node.recovery.restore import Restored
from garbagetruck.cluster.node.recovery.stored import Point, StoredSource
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.integration.storage.storing import Kept, beside, kept, until, until_archived

LEASES = 20
MOVED_TTL_S = 6.0
TO_THE_END = Point()
ResultT = TypeVar("ResultT")


@pytest.fixture
async def cluster(tmp_path: Path, server: EmbeddedPostgres) -> Kept:
    """Of a node that has ended: 20 leases of a minute, of which a snapshot was copied after ten, and an orphan."""
    found = kept(tmp_path / "cluster", server)
    async with found.running(bootstrap=True) as node, garbagetruck.connect(found.place.api) as truck:
        assert node.storage is not None
        await truck.namespaces.set(cleanup=CleanupSettings(grace_ms_min=0))
        await truck.cleanups.pause(all_namespaces=True, reason="before the disaster")
        (found.place.files / "orphan").write_text("nobody's")
        cleanup = garbagetruck.Cleanup("file", path="orphan")
        await truck.release((await truck.acquire("orphan", holder="tests", ttl=60.0, cleanup=cleanup)).id)
        for number in range(LEASES):
            await truck.acquire(f"kept/{number}", holder="tests", ttl=60.0)
            if number == LEASES // 2:
                await until_archived(node)  # before that its incarnation may not be reserved
                await node.storage.create_snapshot()
        await until_archived(node)
    return found


def restore(
    cluster: Kept, data_dir: Path, point: Point = TO_THE_END, *, dead: bool = True, incarnation: int | None = None
) -> Restored[StoredSource]:
    settings = load_settings(cluster.config, {}).settings
    wanted = Wanted(cluster.server.dsn, point, dead, incarnation)
    return restore_from_storage(settings, wanted, random=random.SystemRandom(), data_dir=data_dir)


def lose_everything(cluster: Kept, data_dir: Path) -> None:
    """All disks; the node is configured to begin anew."""
    former = cluster.place.folder / "n1"
    shutil.rmtree(former, ignore_errors=True)
    cluster.config.write_text(cluster.config.read_text().replace(str(former), str(data_dir)))


async def in_thread(call: Callable[[], ResultT]) -> ResultT:
    """A restore has a loop of its own."""
    return await asyncio.to_thread(call)


async def test_i2_i5_i9_all_disks_lost_and_everything_that_was_archived_is_back(cluster: Kept, tmp_path: Path) -> None:
    lose_everything(cluster, tmp_path / "new")
    restored = await in_thread(lambda: restore(cluster, tmp_path / "new", dead=False))
    assert (restored.incarnation, restored.holds.leases, restored.holds.resources) == (2, LEASES, LEASES + 1)
    source = restored.source
    assert source.snapshot is not None
    assert source.last_index == source.archive_last_index
    async with cluster.running() as node, garbagetruck.connect(cluster.place.api) as truck:
        machine = node.core.machine
        assert (machine.incarnation, machine.cleanups_paused) == (2, True)
        after = await truck.acquire("new", holder="tests", ttl=60.0)
        assert after.fencing_token > 2 << TOKEN_COUNTER_BITS
        await truck.cleanups.resume(all_namespaces=True)
        (waiting,) = [each async for each in truck.cleanups.list()]
        assert waiting.blocked_by == "restored"
        await until_archived(node)
        async with cluster.open() as storage:
            reserved = [each.incarnation for each in await storage.incarnations.reserved()]
            assert [each.number for each in reserved] == [1, 2]
            assert reserved[1].id == machine.incarnation_id
            (span,) = await storage.archive.spans(2)
            assert span.first_index > source.last_index
    assert (cluster.place.files / "orphan").exists()
    third = await in_thread(lambda: restore(cluster, tmp_path / "third"))
    assert (third.incarnation, third.holds.leases, third.source.incarnation) == (3, LEASES + 1, 2)


async def test_a_cluster_is_restored_to_an_earlier_entry_or_moment(cluster: Kept, tmp_path: Path) -> None:
    whole = (await in_thread(lambda: restore(cluster, tmp_path / "all"))).source
    earlier = await in_thread(lambda: restore(cluster, tmp_path / "earlier", Point(index=whole.last_index - 5)))
    assert earlier.source.last_index == whole.last_index - 5
    assert earlier.holds.leases < LEASES
    assert earlier.incarnation == 3
    assert whole.snapshot is not None
    before = Point(wall_ms=whole.snapshot.header.taken_at_ms - 1)
    first = (await in_thread(lambda: restore(cluster, tmp_path / "first", before))).source
    assert (first.snapshot, first.incarnation) == (None, 1)
    assert first.last_index <= whole.snapshot.header.index
    with pytest.raises(NothingToRestore):
        await in_thread(lambda: restore(cluster, tmp_path / "never", Point(index=0)))


async def test_i9_i10_a_cluster_that_lives_is_not_restored_and_pauses_when_it_is_called_dead(
    cluster: Kept, tmp_path: Path
) -> None:
    async with cluster.running() as node, garbagetruck.connect(cluster.place.api) as truck:
        await truck.cleanups.resume(all_namespaces=True, reason="a test")
        await until_archived(node)
        with pytest.raises(SourceStillWritten, match=r"it is alive.*--old-cluster-is-dead"):
            await in_thread(lambda: restore(cluster, tmp_path / "new", dead=False))
        assert not node.core.machine.cleanups_paused
        await in_thread(lambda: restore(cluster, tmp_path / "new", dead=True))
        await until(lambda: node.core.machine.cleanups_paused)
        await truck.acquire("goes on", holder="tests", ttl=60.0)


async def test_i1_i9_i10_files_of_holders_who_moved_outlive_their_leases_at_the_cluster_that_was_taken_for_dead(
    tmp_path: Path, server: EmbeddedPostgres
) -> None:
    """It lives on, with the same files in reach; even its own operator's word makes it delete none of them."""
    old = kept(tmp_path / "old", server)
    async with old.running(bootstrap=True) as first, garbagetruck.connect(old.place.api) as truck:
        machine = first.core.machine
        await truck.namespaces.set(cleanup=CleanupSettings(grace_ms_min=0))
        leases = {name: await _lease_a_file(old, truck, name) for name in ("moves-1", "moves-2", "left", "control")}
        await truck.release(leases.pop("control").id)
        await until(lambda: not (old.place.files / "control").exists())
        await until_archived(first)
        await in_thread(lambda: restore(old, tmp_path / "restored"))
        new = beside(old, tmp_path / "new", tmp_path / "restored")
        moved = [leases["moves-1"].id, leases["moves-2"].id]
        async with new.running(), garbagetruck.connect(new.place.api) as elsewhere, asyncio.TaskGroup() as holders:
            holding = holders.create_task(_hold(elsewhere, moved))
            await until(lambda: machine.cleanups_paused)
            while [each async for each in truck.list_leases()]:  # noqa: ASYNC110  # time ends them, and tells nobody
                await asyncio.sleep(0.1)
            await truck.cleanups.resume(all_namespaces=True)
            await until(lambda: machine.cleanups_paused)
            due = [each.resource async for each in truck.cleanups.list(states=[ResourceState.DUE])]
            assert sorted(due) == sorted(leases), "it would have deleted them"
            assert all((old.place.files / name).exists() for name in leases)
            assert all([(await elsewhere.get_lease(each)).remaining > 0 for each in moved])
            holding.cancel()


async def _hold(truck: Truck, lease_ids: list[str]) -> None:
    """Until cancelled."""
    while True:
        await truck.renew(lease_ids)
        await asyncio.sleep(MOVED_TTL_S / 10)


async def _lease_a_file(cluster: Kept, truck: Truck, name: str) -> Lease:
    (cluster.place.files / name).write_text("in use")
    return await truck.acquire(name, holder="mover", ttl=MOVED_TTL_S, cleanup=garbagetruck.Cleanup("file", path=name))


async def test_of_two_restores_at_once_one_wins_and_the_other_is_told(cluster: Kept, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(partial(restore, cluster, tmp_path / f"new-{number}", incarnation=2)) for number in range(2)
        ]
        failures = [each.exception() for each in both]
    assert sorted(type(each).__name__ for each in failures) == ["IncarnationTaken", "NoneType"]
    lost = next(number for number, each in enumerate(failures) if isinstance(each, IncarnationTaken))
    assert not (tmp_path / f"new-{lost}").exists()


async def test_a_damaged_snapshot_is_done_without_and_a_damaged_entry_is_told(cluster: Kept, tmp_path: Path) -> None:
    async with cluster.open() as storage:
        newest, *_ = await storage.snapshots.whole()
    connection = await asyncpg.connect(cluster.server.dsn, password=cluster.server.password_file.read_text())
    try:
        await connection.execute(
            f"UPDATE {cluster.schema}.snapshot_chunks SET chunk = set_byte(chunk, 40, get_byte(chunk, 40) # 1)"
            " WHERE snapshot_id = $1",
            newest.header.snapshot_id,
        )
        restored = await in_thread(lambda: restore(cluster, tmp_path / "new"))
        assert restored.source.snapshots_damaged == (newest.header.snapshot_id,)
        assert restored.holds.leases == LEASES
        bad = restored.source.last_index - 1
        await connection.execute(
            f"UPDATE {cluster.schema}.archive_entries SET term = term + 1 WHERE index = $1 AND incarnation = 1", bad
        )
    finally:
        await connection.close()
    with pytest.raises(SourceDamaged, match=f"--at {bad - 1}"):
        await in_thread(lambda: restore(cluster, tmp_path / "other"))
    assert (await in_thread(lambda: restore(cluster, tmp_path / "up to there", Point(index=bad - 1)))).holds.leases


async def test_what_is_in_the_way_is_told_without_a_password(cluster: Kept, tmp_path: Path) -> None:
    settings = load_settings(cluster.config, {}).settings
    for source, error, told in (
        ("postgresql://truck:opensesame@127.0.0.1:1/x", SourceAway, "password|connect|reach"),
        ("postgresql://truck:opensesame@[::1/x", SourceAway, "no address"),
        (str(tmp_path / "empty"), NothingToRestore, "nothing of cluster tests"),
    ):
        wanted = Wanted(source, Point())
        with pytest.raises(error, match=told) as caught:
            await in_thread(
                partial(restore_from_storage, settings, wanted, random=random.SystemRandom(), data_dir=tmp_path / "new")
            )
        assert "opensesame" not in str(caught.value)
    cluster.config.write_text(cluster.config.read_text().replace("[node]", "[node]\nfeature_level = 2"))
    with pytest.raises(LevelTooLow):
        restore(cluster, tmp_path / "new")
    assert is_storage(cluster.server.dsn)
    assert not is_storage(str(cluster.place.folder / "n1"))


async def test_the_command_restores_and_reports_truthfully(cluster: Kept, tmp_path: Path) -> None:
    arguments = ["snapshot", "restore", "--from", cluster.server.dsn, "--config", str(cluster.config)]
    arguments += ["--data-dir", str(tmp_path / "new"), "--old-cluster-is-dead", "--yes", "-o", "json"]
    result = await in_thread(lambda: CliRunner().invoke(app, arguments))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["incarnation"], told["leases"]) == (2, LEASES)
    assert told["source"]["last_index"] == told["source"]["archive_last_index"]
    assert "not archived yet" in told["may_be_missing"]
