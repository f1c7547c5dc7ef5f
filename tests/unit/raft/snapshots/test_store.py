"""Snapshots on disk: whole or not there, whenever power is lost; and never believed when damaged."""

import contextlib
import random
from pathlib import Path

import pytest

from garbagetruck.chaos.simulator.disk import PowerLoss, SimulatedDisk
from garbagetruck.cluster.raft.errors import JournalForeign, JournalTooNew, SnapshotDamaged
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, name_of

ROOT = Path("/node")
FOLDER = ROOT / "snapshots"


def header(index: int, *, cluster_id: str = "c") -> SnapshotHeader:
    return SnapshotHeader(cluster_id, 1, f"id-{index}", index, 3, 2)


def chunks(index: int) -> list[bytes]:
    chance = random.Random(index)
    return [chance.randbytes(chance.choice((1, 100, 3_000))) for _ in range(chance.randint(0, 6))]


def store_on(disk: SimulatedDisk, *, cluster_id: str = "c") -> SnapshotStore:
    disk.make_folder(ROOT)
    return SnapshotStore(disk, FOLDER, cluster_id=cluster_id)


def write(store: SnapshotStore, index: int) -> None:
    writer = store.begin(header(index))
    for chunk in chunks(index):
        writer.write(chunk)
    writer.finish()


def test_the_newest_is_read_again_and_the_last_two_are_kept() -> None:
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    assert store.open() is None
    assert store.keep_from == 1
    for index in (5, 7, 9):
        write(store, index)
    assert list(store.read()) == chunks(9)
    again = store_on(disk)
    assert again.open() == again.newest == header(9)
    assert list(again.read()) == chunks(9)
    assert [int(name.partition(".")[0]) for name in disk.names(FOLDER)] == [7, 9]
    assert (store.keep_from, again.keep_from) == (6, 6)


def test_hazard_18_an_older_snapshot_never_takes_the_place_of_a_newer() -> None:
    store = store_on(SimulatedDisk(random.Random(0)))
    store.open()
    write(store, 9)
    for index in (8, 9):
        with pytest.raises(AssertionError, match="older snapshot"):
            store.begin(header(index))


def test_hazard_18_one_that_was_under_way_when_a_newer_came_is_given_up() -> None:
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    store.open()
    slow = store.begin(header(8))
    write(store, 9)
    slow.write(b"x")
    assert slow.finish() is False
    assert store.newest == header(9)
    assert disk.names(FOLDER) == [name_of(header(9))]


def test_an_abandoned_snapshot_leaves_nothing() -> None:
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    store.open()
    writer = store.begin(header(5))
    writer.write(b"x")
    writer.abandon()
    assert disk.names(FOLDER) == []
    write(store, 5)


def crash_at(step: int, seed: int, lies_about: frozenset[str]) -> bool:
    """One life with two snapshots, power lost at one operation; whether it came to that."""
    chance = random.Random(seed * 1_000 + step)
    disk = SimulatedDisk(chance, sector_bytes=chance.choice((512, 4_096)))
    disk.lies_about = lies_about
    disk.lose_power_at = step
    finished = 0
    came = True
    with contextlib.suppress(PowerLoss):
        store = store_on(disk)
        store.open()
        for index in (seed + 1, seed + 50):
            write(store, index)
            finished = index
        came = False
    disk.lose_power()
    for _ in range(2):  # the second after a crash in the first
        disk.lose_power_at = disk.steps + chance.randint(1, 4)
        with contextlib.suppress(PowerLoss):
            store_on(disk).open()
        disk.lose_power()
    store = store_on(disk)
    newest = store.open()
    assert (newest.index if newest else 0) >= finished, f"seed {seed}, step {step}: a finished snapshot is gone"
    if newest is not None:
        assert list(store.read()) == chunks(newest.index)
    return came


def explore(lies_about: str = "") -> int:
    runs = 0
    for seed in range(25):
        step = 1
        while crash_at(step, seed, frozenset(filter(None, [lies_about]))):
            step += 1
        runs += step
    return runs


def test_a_snapshot_is_whole_or_not_there_wherever_power_is_lost() -> None:
    """Hazards 2 and 4."""
    assert explore() > 400


def test_a_snapshot_that_is_not_synced_before_it_is_named_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((SnapshotDamaged, AssertionError)):
        explore("sync_folder")
    monkeypatch.setattr("garbagetruck.chaos.simulator.disk.SimulatedFile.sync", lambda _self: None)
    with pytest.raises((SnapshotDamaged, AssertionError)):
        explore("sync_all")


@pytest.mark.parametrize("seed", range(60))
def test_hazard_6_a_damaged_snapshot_is_refused(seed: int) -> None:
    chance = random.Random(seed)
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    store.open()
    write(store, 4)
    (name,) = disk.names(FOLDER)
    file = disk.open(FOLDER / name)
    offset = chance.choice((chance.randrange(30), chance.randrange(4_096, file.size())))
    disk.damage(FOLDER / name, offset, bytes([file.read(1, offset)[0] ^ chance.randint(1, 255)]))
    with pytest.raises((SnapshotDamaged, JournalTooNew), match="does not start"):
        store_on(disk).open()


@pytest.mark.parametrize("kept", [0, 100, 4_096, 4_100, -8, -1])
def test_a_snapshot_that_was_cut_off_is_refused(kept: int) -> None:
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    store.open()
    write(store, 4)
    (name,) = disk.names(FOLDER)
    file = disk.open(FOLDER / name)
    file.truncate(kept if kept >= 0 else file.size() + kept)
    with pytest.raises(SnapshotDamaged, match="Keep a copy of the folder"):
        store_on(disk).open()


def test_another_clusters_snapshot_is_refused() -> None:
    disk = SimulatedDisk(random.Random(0))
    store = store_on(disk)
    store.open()
    write(store, 4)
    with pytest.raises(JournalForeign, match="cluster c"):
        store_on(disk, cluster_id="other").open()
