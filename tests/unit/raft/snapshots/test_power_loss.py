"""Power is lost at every operation of the disk, while a node takes snapshots of its own and gets one from the leader."""

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from garbagetruck.chaos.simulator.disk import PowerLoss, SimulatedDisk, SimulatedFile
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.snapshots.taking import Taking
from tests.unit.raft.links import VirtualTime
from tests.unit.raft.snapshots.follower import Follower, entry, leaders_snapshot

SNAPSHOT_AT, END = 60, 80


def script(node: Follower) -> None:
    """From wherever the node's log ends: entries, a snapshot, entries."""
    while node.last_index < 30:
        node.append(node.last_index + 1, min(30, node.last_index + 5))
    if node.last_index < SNAPSHOT_AT:
        node.install(SNAPSHOT_AT)
    while node.last_index < END:
        node.append(node.last_index + 1, min(END, node.last_index + 5))
    node.append(END + 1, END)  # a heartbeat


def check(node: Follower, *, acknowledged: int, taken: int) -> None:
    journal = node.engine._journal
    assert journal is not None
    assert journal.last_index >= acknowledged, f"acknowledged {acknowledged}, has {journal.last_index}"
    assert max(node.restored, default=0) >= taken, f"a snapshot of {taken} was durable"
    for _, index, term in journal[:]:
        assert term == entry(index)[2]


def lives(folder: Path, seed: int, step: int) -> None:
    """A life that ends at that operation, one that ends by chance, and one that comes to the script's end."""
    chance = random.Random(seed * 10_000 + step)
    disk, clock = SimulatedDisk(chance, sector_bytes=chance.choice((512, 4_096))), VirtualTime()
    acknowledged = taken = 0
    for lose_power_at in (step, chance.randint(1, 150), None):
        disk.lose_power_at = None if lose_power_at is None else disk.steps + lose_power_at
        node: Follower | None = None
        with contextlib.suppress(PowerLoss):
            node = Follower(disk, folder, clock)
            check(node, acknowledged=acknowledged, taken=taken)
            script(node)
            assert node.applied_index == END
        if node is not None:
            acknowledged, taken = max(acknowledged, node.acknowledged), max(taken, node.taken)
        if chance.random() < 0.2:
            disk.kill()
        else:
            disk.lose_power()
    check(Follower(disk, folder, clock), acknowledged=END, taken=taken)


def explore(folder: Path, seeds: int) -> int:
    """Every operation of a life that comes to its end, a share of them with each seed."""
    disk = SimulatedDisk(random.Random(0))
    script(Follower(disk, folder, VirtualTime()))
    for step in range(1, disk.steps + 1):
        print(f"power lost at operation {step}")
        for seed in range(seeds):
            lives(folder, seed, step)
    return disk.steps * seeds


def test_i2_nothing_acknowledged_is_lost_wherever_power_is_lost(tmp_path: Path) -> None:
    """Hazards 2, 4, 7, 18 and 19."""
    assert explore(tmp_path, 2) > 100


FOUND = (AssertionError, RaftError)


def test_a_snapshot_that_is_not_synced_before_it_has_its_name_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = SimulatedFile._sync

    def forgetful(self: SimulatedFile, operation: str) -> None:
        if self.path.parent.name != "snapshots":
            sync(self, operation)

    monkeypatch.setattr(SimulatedFile, "_sync", forgetful)
    with pytest.raises(FOUND, match=r"damaged|is not what was written"):
        explore(tmp_path, 2)


def test_hazard_7_an_acknowledgement_before_the_snapshot_is_durable_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt(self: SnapshotStore, header: SnapshotHeader, _unfinished: Path) -> bool:
        self._newest, self._previous = header, self._newest
        return True

    leaders_snapshot(SNAPSHOT_AT)  # is made as it should be
    monkeypatch.setattr(SnapshotStore, "adopt", adopt)
    with pytest.raises(FOUND, match="in no snapshot"):
        explore(tmp_path, 2)


def test_hazard_2_compaction_before_the_snapshot_is_durable_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = Taking.describe

    def hasty(self: Taking, index: int) -> Any:
        header = describe(self, index)
        if header is not None:
            self._journal.writer._segments._roll()  # so that there is something to delete
            self._journal.deleteEntriesTo(index - 1 - self._journal[0][1])
            self._journal.writer.write_waiting()
        return header

    monkeypatch.setattr(Taking, "describe", hasty)
    with pytest.raises(FOUND, match=r"acknowledged|in no snapshot"):
        explore(tmp_path, 2)
