"""Disks of the simulator that give back another byte than was written: what must be refused is refused, by name."""

import random
from pathlib import Path

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.chaos.simulator.raft.damage import damage
from garbagetruck.chaos.simulator.world import Chance
from garbagetruck.cluster.raft.errors import JournalDamaged, StorageRefused
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import Owner, Site

FOLDER = Path("/data/raft")
SEEDS = range(40)


def opened(disk: SimulatedDisk) -> Journal:
    site = Site(disk, FOLDER / "journal", Owner("c", "d"), 64 * 1024, lambda: b"0123456789abcdef")
    journal = Journal(site)
    journal.open()
    return journal


def a_folder() -> SimulatedDisk:
    """A journal of some segments."""
    disk = SimulatedDisk(random.Random(1))
    disk.make_folder(FOLDER)
    journal = opened(disk)
    journal.setCurrentTerm(1, None)
    for index in range(1, 120):
        journal.add(bytes(2_000), index, 1)
        journal.writer.write_waiting()
    journal.close()
    disk.lose_power()
    return disk


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_of_a_journal_is_refused_by_the_files_name_wherever_it_is(seed: int) -> None:
    disk = a_folder()
    done = damage(disk, Chance(seed), FOLDER)
    assert done is not None
    assert done.must_refuse
    with pytest.raises(JournalDamaged) as refused:
        opened(disk)
    assert refused.value.path in (done.path, done.path.parent), f"{done}: {refused.value}"


def test_an_empty_folder_has_nothing_to_be_damaged() -> None:
    disk = SimulatedDisk(random.Random(1))
    disk.make_folder(FOLDER)
    assert damage(disk, Chance(1), FOLDER) is None


def test_without_damage_the_same_folder_opens() -> None:
    try:
        assert opened(a_folder()).last_index == 119
    except StorageRefused as error:
        pytest.fail(str(error))
