"""Hazards 3 and 4: nothing reported durable is lost, whenever power is, and whatever of the rest survives.

Each guard is taken away once, to show that these histories would notice.
"""

import random
import zlib
from typing import Any

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.cluster.raft.journal import format as journal_format
from garbagetruck.cluster.raft.journal import recovery, scan, segments
from garbagetruck.cluster.raft.journal.format import HEADER_BYTES, MARK_BYTES, RECORD_HEAD, Metadata
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.replay import LogTuple
from tests.unit.raft.journal.histories import FOLDER, explore, site_on

WORKSHOPS = 8
"""Every seed belongs to one test, so that they can run beside each other."""


@pytest.mark.parametrize("first_seed", range(WORKSHOPS))
def test_i2_nothing_reported_durable_is_lost_wherever_power_is(first_seed: int) -> None:
    """Crashes at every write, sync, rename, creation and removal of random histories, and in the recoveries after."""
    runs = explore(range(first_seed, 64, WORKSHOPS))
    print(f"{runs} crashes")
    assert runs > 200


def notices(lies_about: str = "") -> bool:
    """Whether the histories find the bug that was planted."""
    try:
        explore(range(40), lies_about=frozenset(filter(None, [lies_about])))
    except (AssertionError, RaftError) as error:
        print(f"noticed: {error}")
        return True
    return False


@pytest.mark.parametrize("operation", ["sync", "sync_all", "sync_folder"])
def test_a_journal_that_leaves_out_a_sync_is_found_out(operation: str) -> None:
    assert notices(operation)


def test_a_journal_that_forgets_the_vote_with_its_segment_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "carried", lambda _metadata: Metadata().to_record())
    assert notices()


def test_a_recovery_that_believes_what_it_read_without_syncing_it_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_only(found: Any, end: Any, *_: object) -> None:
        found.file.truncate(end.offset)

    monkeypatch.setattr(recovery, "_cut", cut_only)
    assert notices()


def test_a_journal_that_is_cleared_for_a_snapshot_whatever_follows_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hazard 2, as pysyncobj has it."""
    whole = Journal.align

    def clear(journal: Journal, *last_two: LogTuple) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "term_at", lambda _self, _index: None)
            patch.setattr(journal, "_metadata", Metadata(journal.getCurrentTerm(), journal.getVotedForNodeId()))
            whole(journal, *last_two)

    monkeypatch.setattr(Journal, "align", clear)
    assert notices()


def stale_record_after_a_new_one() -> list[int]:
    """Have a record of a torn write lie exactly where the next record would, and say which entries are recovered.

    That takes a disk on which the torn end is still there after it was cut off.
    """
    disk = SimulatedDisk(random.Random(1))
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(5, None)
    journal.add(b"first", 1, 3)
    journal.wait_durable()
    head = RECORD_HEAD.size
    carried_end = HEADER_BYTES + MARK_BYTES + head
    torn_at = carried_end + MARK_BYTES + head + head + len(b"first") + MARK_BYTES
    new = b"new"
    lost = bytes(MARK_BYTES + head + len(new))  # so long that what follows it follows the new record, too
    journal.add(lost, 2, 4)
    journal.add(b"stale", 3, 4)
    journal.wait_durable()
    path = FOLDER / disk.names(FOLDER)[0]
    disk.damage(path, torn_at + head, b"?")
    disk.kill()
    disk.lies_about = frozenset({"truncate"})
    journal = Journal(site_on(disk))
    journal.open()
    assert journal.last_index == 1
    journal.setCurrentTerm(6, None)
    journal.add(new, 2, 3)
    journal.wait_durable()
    disk.kill()
    journal = Journal(site_on(disk))
    journal.open()
    return [index for _, index, _ in journal[:]]


def test_a_record_of_an_earlier_write_is_not_taken_for_one_of_this() -> None:
    assert stale_record_after_a_new_one() == [1, 2]


def test_a_checksum_that_is_not_chained_would_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unchained(data: bytes, begin: int = 0) -> int:
        return zlib.crc32(data, 0 if len(data) == RECORD_HEAD.size - 4 else begin)  # a record's head begins anew

    monkeypatch.setattr(journal_format, "crc32", unchained)
    monkeypatch.setattr(scan, "crc32", lambda data, _chain: zlib.crc32(data))
    assert stale_record_after_a_new_one() == [1, 2, 3]
