"""A node that keeps its copies in a folder: archived there, restored from there, and not held up when it is gone (I9, I10)."""

import asyncio
import random
import shutil
from pathlib import Path

import pytest
import tomlkit

import garbagetruck
from garbagetruck.client import Truck
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.recovery.errors import SourceStillWritten
from garbagetruck.cluster.node.recovery.from_storage import Wanted, is_storage, restore_from_storage
from garbagetruck.cluster.node.recovery.restore import Restored
from garbagetruck.cluster.node.recovery.stored import Point, StoredSource
from tests.integration.node.test_one_node import Place, prepared, running
from tests.integration.storage.storing import until, until_archived

LEASES = 20


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = prepared(tmp_path / "cluster")
    path = found.folder / "n1.toml"
    config = tomlkit.parse(path.read_text())
    config["storage"] = {"kind": "directory", "folder": str(tmp_path / "copies"), "archive_interval": "50ms"}
    path.write_text(tomlkit.dumps(config))
    return found


def restore(place: Place, copies: Path, data_dir: Path, *, dead: bool = False) -> Restored[StoredSource]:
    settings = load_settings(place.folder / "n1.toml", {}).settings
    wanted = Wanted(str(copies), Point(), dead)
    return restore_from_storage(settings, wanted, random=random.SystemRandom(), data_dir=data_dir)


async def acquire_some(truck: Truck, name: str, count: int = LEASES) -> None:
    for number in range(count):
        await truck.acquire(f"{name}/{number}", holder="tests", ttl=600.0)


async def leases_of(truck: Truck) -> set[str]:
    return {lease.resource async for lease in truck.list_leases()}


async def test_i2_i9_a_node_whose_disk_is_lost_comes_back_from_the_folder_and_deletes_nothing(
    place: Place, tmp_path: Path
) -> None:
    copies, new = tmp_path / "copies", tmp_path / "new"
    async with running(place, bootstrap=True) as node, garbagetruck.connect(place.api) as truck:
        await node.become_ready()
        assert node.storage is not None
        (place.files / "orphan").write_text("nobody's")
        cleanup = garbagetruck.Cleanup("file", path="orphan")
        await truck.acquire("orphan", holder="tests", ttl=600.0, cleanup=cleanup)
        await acquire_some(truck, "before")
        stored = await node.storage.create_snapshot()
        await acquire_some(truck, "after")
        await until_archived(node)
        with pytest.raises(SourceStillWritten):
            await asyncio.to_thread(restore, place, copies, new)
    shutil.rmtree(place.folder / "n1")
    assert is_storage(str(copies))
    restored = await asyncio.to_thread(restore, place, copies, new)
    assert (restored.incarnation, restored.holds.leases) == (2, 2 * LEASES + 1)
    assert restored.source.snapshot is not None
    assert restored.source.snapshot.header.index >= stored.header.index
    assert restored.source.last_index == restored.source.archive_last_index
    config = place.folder / "n1.toml"
    config.write_text(config.read_text().replace(str(place.folder / "n1"), str(new)))
    async with running(place, bootstrap=False) as node, garbagetruck.connect(place.api) as truck:
        await node.become_ready()
        assert (node.core.machine.incarnation, node.core.machine.cleanups_paused) == (2, True)
        assert len(await leases_of(truck)) == 2 * LEASES + 1
        await acquire_some(truck, "anew", 1)
        await until_archived(node)
    assert (place.files / "orphan").exists()
    again = await asyncio.to_thread(restore, place, copies, tmp_path / "third")
    assert (again.incarnation, again.source.incarnation, again.holds.leases) == (3, 2, 2 * LEASES + 2)
    assert place.died == []


async def test_i10_a_folder_that_is_gone_is_in_nobodys_way_and_is_caught_up_with(place: Place, tmp_path: Path) -> None:
    copies, elsewhere = tmp_path / "copies", tmp_path / "elsewhere"
    async with running(place, bootstrap=True) as node, garbagetruck.connect(place.api) as truck:
        await node.become_ready()
        storage, term = node.storage, node.core.log.status.term
        assert storage is not None
        await acquire_some(truck, "before")
        await until_archived(node)
        copies.rename(elsewhere)
        copies.write_text("no folder")
        async with asyncio.timeout(5):
            await acquire_some(truck, "during", 100)
        await until(lambda: storage.failure != "" and storage.lag_s > 0)
        copies.unlink()
        elsewhere.rename(copies)
        await until_archived(node)
        await until(lambda: storage.failure == "")
        assert (node.core.leadership.leading, node.core.log.status.term) == (True, term)
    restored = await asyncio.to_thread(restore, place, copies, tmp_path / "new")
    assert restored.holds.leases == LEASES + 100
    assert place.died == []
