"""When a snapshot is due: after growth, or after less of it when the last is old, so that restarts stay short."""

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest

from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.snapshots.taking import INTERVAL_SPREAD, SETTLED_SHARE, SPREAD, Taking
from garbagetruck.cluster.raft.voters import Voters

SETTINGS = RaftSettings(snapshot_entries=1_000, snapshot_log_bytes=1_000_000, snapshot_interval_ms=60_000)


@dataclass
class Node:
    """What a `Taking` looks at."""

    taking: Taking
    clock: SimpleNamespace
    journal: SimpleNamespace
    asked: list[int]

    def pass_ms(self, time_ms: int) -> None:
        self.clock.now_ns += time_ms * 1_000_000


@pytest.fixture
def node() -> Node:
    clock, journal, asked = SimpleNamespace(now_ns=7), SimpleNamespace(payload_bytes=0), list[int]()
    taking = Taking(
        identity=Identity("c", "n1", "d"),
        settings=SETTINGS,
        store=cast("SnapshotStore", SimpleNamespace(newest=None)),
        journal=cast("Journal", journal),
        compaction=cast("Compaction", None),
        voters=cast("Voters", SimpleNamespace(is_certain=True)),
        random=random.Random(1),
        monotonic_ns=lambda: int(clock.now_ns),
        begin=lambda: asked.append(1),
    )
    return Node(taking, clock, journal, asked)


def test_one_is_due_when_the_log_has_grown_by_its_bounds_and_no_sooner_than_a_quarter_before(node: Node) -> None:
    node.taking.turn(int(SETTINGS.snapshot_entries * (1 - SPREAD)) - 1)
    assert not node.asked
    node.taking.turn(SETTINGS.snapshot_entries)
    assert node.asked
    node.taking.turn(2 * SETTINGS.snapshot_entries)
    assert len(node.asked) == 1, "one at a time"


def test_bytes_count_as_entries_do(node: Node) -> None:
    node.journal.payload_bytes = SETTINGS.snapshot_log_bytes
    node.taking.turn(1)
    assert node.asked


def test_a_smaller_growth_is_enough_once_the_last_is_old(node: Node) -> None:
    node.journal.payload_bytes = int(SETTINGS.snapshot_log_bytes * SETTLED_SHARE)
    node.pass_ms(SETTINGS.snapshot_interval_ms - 1)
    node.taking.turn(10)
    assert not node.asked
    node.pass_ms(1 + int(SETTINGS.snapshot_interval_ms * INTERVAL_SPREAD))
    node.taking.turn(10)
    assert node.asked


def test_next_to_nothing_is_never_worth_one_however_old_the_last(node: Node) -> None:
    node.pass_ms(100 * SETTINGS.snapshot_interval_ms)
    node.journal.payload_bytes = int(SETTINGS.snapshot_log_bytes * SETTLED_SHARE * (1 - SPREAD)) - 1
    node.taking.turn(10)
    assert not node.asked


def test_after_one_that_came_to_nothing_the_age_counts_anew(node: Node) -> None:
    node.journal.payload_bytes = int(SETTINGS.snapshot_log_bytes * SETTLED_SHARE)
    node.pass_ms(int(SETTINGS.snapshot_interval_ms * (1 + INTERVAL_SPREAD)))
    node.taking.turn(10)
    node.taking.dropped()
    node.taking.turn(10)
    assert len(node.asked) == 1
    node.pass_ms(int(SETTINGS.snapshot_interval_ms * (1 + INTERVAL_SPREAD)))
    node.taking.turn(10)
    assert len(node.asked) == 2


def test_a_wanted_one_is_due_at_the_next_entry(node: Node) -> None:
    node.taking.want()
    node.taking.turn(0)
    assert not node.asked
    node.taking.turn(1)
    assert node.asked
