"""What pysyncobj is told of snapshots, and what it may not do about them (hazard 19)."""

import os
import random
from pathlib import Path

import pytest
from pysyncobj import SERIALIZER_STATE

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.errors import LogDiverged
from tests.unit.raft.links import VirtualTime
from tests.unit.raft.snapshots.follower import FOLDER, Follower


@pytest.fixture
def node(tmp_path: Path) -> Follower:
    return Follower(SimulatedDisk(random.Random(0)), tmp_path, VirtualTime())


def compaction_of(node: Follower) -> Compaction:
    assert node.engine._consensus is not None
    return node.engine._consensus.compaction


def test_hazard_19_it_is_busy_but_once_for_each_snapshot(node: Follower) -> None:
    compaction = compaction_of(node)
    assert compaction.checkSerializing() == (SERIALIZER_STATE.SERIALIZING, None)
    compaction.forget_before(5)
    assert compaction.checkSerializing() == (SERIALIZER_STATE.SUCCESS, 5)
    assert compaction.checkSerializing() == (SERIALIZER_STATE.SERIALIZING, None)


def test_hazard_19_pysyncobj_neither_forks_nor_writes_whatever_the_log_grows_to(
    node: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forks"))
    before = sorted(tmp_path.rglob("*"))
    for first in range(2, 102, 5):
        node.append(first, first + 4)
    assert node.taken > 50
    assert sorted(tmp_path.rglob("*")) == before, "everything is on the simulated disk"


def test_the_log_goes_up_to_the_snapshot_before_the_newest(node: Follower) -> None:
    for first in range(2, 102, 5):
        node.append(first, first + 4)
    journal, store = node.engine._journal, node.engine.snapshots.store
    assert journal is not None
    assert store.newest is not None
    assert journal[0][1] == store.keep_from > 50
    assert journal.term_at(store.newest.index) == store.newest.term


def test_hazard_2_pysyncobj_cannot_empty_a_log_that_was_not_aligned(node: Follower) -> None:
    assert node.engine._journal is not None
    with pytest.raises(LogDiverged):
        node.engine._journal.clear()


def test_hazard_2_what_follows_a_snapshot_stays_when_pysyncobj_loads_it(node: Follower, tmp_path: Path) -> None:
    for first in range(2, 52, 5):
        node.append(first, first + 4)
    journal, store = node.engine._journal, node.engine.snapshots.store
    assert journal is not None
    assert store.newest is not None
    again = Follower(node.disk, tmp_path, VirtualTime())
    assert again.restored == [store.newest.index]
    assert again.last_index == journal.last_index == 51


def test_a_header_that_nobody_waits_for_any_more_is_no_bug() -> None:
    """A node that is stopped while it takes a snapshot ends in peace."""
    follower = Follower(SimulatedDisk(random.Random(0)), FOLDER, VirtualTime())
    follower.append(2, 5)
    assert follower.engine.snapshots.describe(5).cancel()
    follower.turn()
