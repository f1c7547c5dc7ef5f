"""The disk refuses: the node ends with a word that helps, and nothing was acknowledged that is not there."""

import errno
import os
import random
import threading
from pathlib import Path

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.disk import RealDisk
from garbagetruck.cluster.raft.errors import DiskFailed
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import Owner, Site
from tests.unit.raft.journal.histories import History, site_on


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_at_any_operation_ends_the_journal_and_loses_nothing(seed: int, number: int) -> None:
    """One life each, with an error at one operation; then power is lost, too."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    disk = SimulatedDisk(random.Random(seed))
    history = History(disk, chance)
    history.start()
    countdown = chance.randint(1, 40)

    def fault(operation: str, _path: Path) -> OSError | None:
        nonlocal countdown
        countdown -= 1
        return error(number) if countdown == 0 else None

    disk.fault = fault
    with pytest.raises(DiskFailed) as caught:
        history.live(400)
    assert caught.value.errno == number
    before = disk.steps
    with pytest.raises(DiskFailed):
        history.journal.setCurrentTerm(99, None)
    with pytest.raises(DiskFailed):
        history.journal.advance()
    with pytest.raises(DiskFailed):
        history.journal.close()
    assert disk.steps == before, "nothing is tried again"
    disk.fault = lambda _operation, _path: None
    disk.lose_power()
    history.start()


def test_a_full_disk_says_what_to_do() -> None:
    disk = SimulatedDisk(random.Random(0), capacity_bytes=20_000)
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(1, "n1")

    def fill() -> None:
        for index in range(1, 100):
            journal.add(b"\0" * 500, index, 1)
            journal.wait_durable()

    with pytest.raises(DiskFailed, match=r"No space left on device.*Free some space") as caught:
        fill()
    assert caught.value.path.name.endswith(".seg")
    durable = journal.durable_index
    assert 0 < durable < 99
    disk.lose_power()
    again = Journal(site_on(disk))
    again.open()
    assert again.last_index >= durable


@pytest.mark.parametrize("seed", range(20))
def test_what_a_failed_sync_left_in_memory_is_written_again_before_it_is_believed(seed: int) -> None:
    """The process starts again on the same machine, reads what the disk never got, and only then power is lost."""
    disk = SimulatedDisk(random.Random(seed))
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(1, "n1")
    journal.add(b"durable", 1, 1)
    journal.wait_durable()
    disk.fault = lambda operation, _path: error(errno.EIO) if operation == "sync" else None
    journal.add(b"\0" * 2_000, 2, 1)
    with pytest.raises(DiskFailed):
        journal.wait_durable()
    disk.fault = lambda _operation, _path: None
    disk.kill()
    again = Journal(site_on(disk))
    again.open()
    believed = again.durable_index
    assert believed == 2
    disk.lose_power()
    at_last = Journal(site_on(disk))
    at_last.open()
    assert at_last.last_index >= believed


def test_a_failed_sync_is_not_believed_the_second_time() -> None:
    """Linux reports it once, and forgets the pages."""
    disk = SimulatedDisk(random.Random(0))
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(1, "n1")
    journal.wait_durable()
    journal.add(b"\0", 1, 1)
    failures = [error(errno.EIO)]
    disk.fault = lambda operation, _path: failures.pop() if operation == "sync" and failures else None
    for _ in range(2):
        with pytest.raises(DiskFailed, match="the kernel's log names it"):
            journal.wait_durable()
    assert (journal.durable_index, journal.writer.durable) == (0, 1)


def test_an_error_on_the_writers_thread_wakes_the_raft_thread_and_is_raised_there(tmp_path: Path) -> None:
    woken = threading.Event()

    class FailingDisk(RealDisk):
        def free_bytes(self, folder: Path) -> int:  # type: ignore[explicit-override]
            raise error(errno.EIO)

    site = Site(FailingDisk(), tmp_path / "journal", Owner("c", "d"), 1 << 20, lambda: b"nonce")
    journal = Journal(site, on_progress=woken.set)
    journal.open()
    journal.start(lambda run, name: threading.Thread(target=run, name=name), "journal")
    assert woken.wait(20)
    with pytest.raises(DiskFailed):
        journal.advance()
    with pytest.raises(DiskFailed):
        journal.wait_durable()
    with pytest.raises(DiskFailed):
        journal.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]
