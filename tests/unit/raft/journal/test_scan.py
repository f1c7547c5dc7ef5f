"""A segment is read through a window: where the window happens to end says nothing about what was written."""

import random

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.journal import scan
from garbagetruck.cluster.raft.journal.format import MARK_BYTES, RECORD_HEAD
from garbagetruck.cluster.raft.journal.log import Journal
from tests.unit.raft.journal.histories import site_on

ENTRIES = 30
WINDOWS = range(MARK_BYTES, MARK_BYTES + 400)
"""Every place of a record relative to the end of a window occurs: records are shorter than that."""


def written(sizes: list[int], *, group_of: int) -> tuple[SimulatedDisk, list[bytes]]:
    """A journal of entries of these sizes, so many in each group."""
    disk = SimulatedDisk(random.Random(0))
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(1, None)
    payloads = [bytes([number % 251 + 1]) * size for number, size in enumerate(sizes)]
    for index, payload in enumerate(payloads, 1):
        journal.add(payload, index, 1)
        if index % group_of == 0:
            journal.wait_durable()
    journal.close()
    return disk, payloads


def read_back(disk: SimulatedDisk) -> list[bytes]:
    journal = Journal(site_on(disk))
    journal.open()
    payloads = [command for command, _, _ in journal[:]]
    journal.close()
    return payloads


@pytest.mark.parametrize("group_of", [1, 2, 7])
def test_i2_every_record_is_read_wherever_the_window_ends(monkeypatch: pytest.MonkeyPatch, group_of: int) -> None:
    disk, payloads = written([100 + RECORD_HEAD.size] * ENTRIES, group_of=group_of)
    for window_bytes in WINDOWS:
        monkeypatch.setattr(scan, "WINDOW_BYTES", window_bytes)
        assert read_back(disk) == payloads, f"with windows of {window_bytes} bytes"


@pytest.mark.parametrize("seed", range(20))
def test_i2_records_of_any_length_are_read_through_any_window(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    disk, payloads = written([chance.randrange(0, 300) for _ in range(ENTRIES)], group_of=chance.randint(1, 5))
    for _ in range(40):
        window_bytes = chance.choice(WINDOWS)
        monkeypatch.setattr(scan, "WINDOW_BYTES", window_bytes)
        assert read_back(disk) == payloads, f"with windows of {window_bytes} bytes"
