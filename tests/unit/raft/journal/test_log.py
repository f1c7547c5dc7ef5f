"""The log as pysyncobj and the transport see it: what it holds, what it refuses, what it says is durable."""

import random
from collections.abc import Iterator

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.errors import LogDiverged
from garbagetruck.cluster.raft.journal.log import Journal
from tests.unit.raft.journal.histories import FOLDER, site_on


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk(random.Random(0))


def opened(disk: SimulatedDisk, *, snapshot_index: int = 0, segment_bytes: int = 6_000) -> Journal:
    journal = Journal(site_on(disk, segment_bytes=segment_bytes))
    journal.open(snapshot_index=snapshot_index)
    return journal


@pytest.fixture
def journal(disk: SimulatedDisk) -> Iterator[Journal]:
    """Entries 1 to 3, in term 2, with a vote for n2; committed up to 2; durable."""
    journal = opened(disk)
    journal.setCurrentTerm(2, "n2")
    for index, term in ((1, 0), (2, 1), (3, 2)):
        journal.add(b"\0%d" % index, index, term)
    journal.wait_durable()
    journal.setRaftCommitIndex(2)
    yield journal
    journal.close()


def write(journal: Journal) -> None:
    journal.writer.write_waiting()
    journal.advance()


def test_what_was_written_is_read_again(journal: Journal, disk: SimulatedDisk) -> None:
    journal.close()
    journal = opened(disk)
    assert journal[:] == [(b"\0001", 1, 0), (b"\0002", 2, 1), (b"\0003", 3, 2)]
    assert (len(journal), journal[-1], journal[1:2]) == (3, (b"\0003", 3, 2), [(b"\0002", 2, 1)])
    assert (journal.last_index, journal.term_at(3), journal.term_at(4), journal.term_at(0)) == (3, 2, None, None)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (2, "n2", 2)
    assert journal.durable_index == 3


def test_a_commit_index_past_what_is_durable_is_not_told(journal: Journal, disk: SimulatedDisk) -> None:
    """Hazard 5: a new leader acknowledged a write that no follower had."""
    journal.add(b"\0", 4, 2)
    journal.setRaftCommitIndex(4)
    journal.onOneSecondTimer()
    assert journal.getRaftCommitIndex() == 3
    write(journal)
    assert journal.getRaftCommitIndex() == 4
    journal.deleteEntriesTo(1)
    with pytest.raises(LogDiverged, match="entry 4 is committed"):
        journal.deleteEntriesFrom(2)


def test_an_entry_that_cannot_follow_is_not_written(journal: Journal) -> None:
    for index, term in ((3, 2), (5, 2), (4, 1), (4, 3)):
        with pytest.raises(LogDiverged, match="cannot follow"):
            journal.add(b"\0", index, term)
    assert journal.last_index == 3


def test_a_committed_entry_is_not_removed(journal: Journal) -> None:
    with pytest.raises(LogDiverged, match="entry 2 is committed"):
        journal.deleteEntriesFrom(1)
    with pytest.raises(LogDiverged, match="entry 3 is not known to be committed"):
        journal.deleteEntriesTo(3)
    with pytest.raises(LogDiverged, match="without a snapshot"):
        journal.clear()
    journal.deleteEntriesFrom(2)
    assert journal.last_index == 2


@pytest.mark.parametrize(("term", "vote"), [(1, "n2"), (2, "n3"), (2, None)])
def test_a_term_and_a_vote_are_not_taken_back(journal: Journal, term: int, vote: str | None) -> None:
    with pytest.raises(LogDiverged, match="contradicts one for n2 in term 2"):
        journal.setCurrentTerm(term, vote)


def test_an_entry_is_durable_when_its_write_was_synced_and_not_before(journal: Journal) -> None:
    journal.add(b"\0", 4, 2)
    journal.advance()
    assert journal.durable_index == 3
    journal.writer.write_waiting()
    assert journal.durable_index == 3, "nothing changes but between ticks"
    journal.advance()
    assert journal.durable_index == 4


def test_a_cut_takes_back_what_was_durable_until_its_successors_are(journal: Journal) -> None:
    journal.add(b"\0", 4, 2)
    write(journal)
    journal.deleteEntriesFrom(2)
    assert journal.durable_index == 2
    journal.setCurrentTerm(3, None)
    journal.add(b"\0new", 3, 3)
    journal.advance()
    assert (journal.last_index, journal.durable_index) == (3, 2)
    write(journal)
    assert journal.durable_index == 3


def test_an_entry_that_was_cut_before_it_was_durable_never_counts(journal: Journal) -> None:
    journal.add(b"\0a", 4, 2)
    journal.add(b"\0b", 5, 2)
    journal.deleteEntriesFrom(3)
    journal.add(b"\0c", 4, 2)
    write(journal)
    assert (journal.last_index, journal.durable_index) == (4, 4)


def test_a_vote_is_durable_when_its_write_was_synced_and_not_before(journal: Journal) -> None:
    seen = [journal.vows_durable]
    journal.setCurrentTerm(3, "n1")
    seen.append(journal.vows_durable)
    write(journal)
    seen.append(journal.vows_durable)
    assert seen == [True, False, True]


def test_a_commit_index_that_is_being_stored_makes_no_vow_undone(journal: Journal) -> None:
    """It is stored every second: who waited for it would never speak while a disk takes longer than that."""
    journal.setCurrentTerm(3, "n1")
    write(journal)
    journal.setRaftCommitIndex(3)
    journal.onOneSecondTimer()
    assert (journal.vows_durable, journal.metadata_durable) == (True, False)
    journal.setCurrentTerm(4, None)
    assert (journal.vows_durable, journal.metadata_durable) == (False, False)
    write(journal)
    assert (journal.vows_durable, journal.metadata_durable) == (True, True)


def test_who_waits_is_called_in_order_once_what_was_written_before_is_durable(journal: Journal) -> None:
    called: list[str] = []
    journal.when_durable(lambda: called.append("at once"))
    assert called == ["at once"]
    journal.setCurrentTerm(3, "n1")
    journal.when_durable(lambda: called.append("vote"))
    journal.add(b"\0", 4, 3)
    journal.when_durable(lambda: called.append("entry"))
    journal.advance()
    assert called == ["at once"]
    write(journal)
    assert called == ["at once", "vote", "entry"]


def test_compaction_deletes_whole_segments_and_forgets_no_vote(journal: Journal, disk: SimulatedDisk) -> None:
    for index in range(4, 40):
        journal.add(b"\0" * 300, index, 2)
        write(journal)
    journal.setRaftCommitIndex(39)
    journal.onOneSecondTimer()
    write(journal)
    before = disk.names(FOLDER)
    journal.deleteEntriesTo(30)
    assert (journal[0][1], len(journal)) == (31, 9)
    write(journal)
    after = disk.names(FOLDER)
    assert 0 < len(after) < len(before)
    assert before[-len(after) :] == after
    disk.lose_power()
    again = opened(disk, snapshot_index=32)
    assert (again[0][1], again.last_index) == (31, 39)
    assert (again.getCurrentTerm(), again.getVotedForNodeId(), again.getRaftCommitIndex()) == (2, "n2", 39)
    assert again.size_bytes < 6 * 6_000


def test_a_log_that_was_cut_back_over_several_segments_is_read_again(journal: Journal, disk: SimulatedDisk) -> None:
    for index in range(4, 40):
        journal.add(b"\0" * 300, index, 2)
        write(journal)
    journal.deleteEntriesFrom(5)
    for index in range(6, 30):
        journal.add(b"\1" * 300, index, 2)
        write(journal)
    firsts = [int(name[11:31]) for name in disk.names(FOLDER)]
    assert firsts != sorted(firsts)
    journal.close()
    again = opened(disk)
    assert (again.last_index, again[5][0][:1], again[4][0][:1]) == (29, b"\1", b"\0")


def test_a_large_group_has_room_and_is_cut_into_several(journal: Journal, disk: SimulatedDisk) -> None:
    for index in range(4, 14):
        journal.add(b"\0" * 1_000_000, index, 2)
    assert journal.writer.write_waiting()
    journal.advance()
    assert 4 <= journal.durable_index < 13
    journal.wait_durable()
    assert journal.durable_index == 13
    journal.close()
    assert opened(disk).last_index == 13


def test_what_waits_for_the_disk_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garbagetruck.cluster.raft.journal.writer.WAITING_BYTES_MAX", 1_000)
    for index in range(4, 40):
        journal.add(b"\0" * 300, index, 2)
    journal.advance()
    assert journal.durable_index > 30


def test_low_space_is_known_before_there_is_none(disk: SimulatedDisk) -> None:
    disk = SimulatedDisk(random.Random(0), capacity_bytes=100_000)
    journal = Journal(site_on(disk), free_bytes_alarm=50_000)
    journal.open()
    write(journal)
    seen = [journal.is_space_low]
    journal.setCurrentTerm(1, None)
    for index in range(1, 21):
        journal.add(b"\0" * 1_500, index, 1)
        write(journal)
    journal.onOneSecondTimer()
    write(journal)
    seen.append(journal.is_space_low)
    journal.setRaftCommitIndex(20)
    journal.deleteEntriesTo(19)
    write(journal)
    journal.onOneSecondTimer()
    write(journal)
    seen.append(journal.is_space_low)
    assert seen == [False, True, False]


class TestAligningToASnapshot:
    """Hazard 2: pysyncobj would clear the whole journal, acknowledged entries included."""

    def test_i2_what_follows_the_snapshot_stays(self, journal: Journal, disk: SimulatedDisk) -> None:
        for index in range(4, 8):
            journal.add(b"\0%d" % index, index, 2)
        journal.close()
        again = opened(disk, snapshot_index=5)
        again.align((b"\0004", 4, 2), (b"\0005", 5, 2))
        assert [index for _, index, _ in again[:]] == [4, 5, 6, 7]
        assert (again.durable_index, again.getRaftCommitIndex()) == (7, 5)

    def test_a_log_that_ends_before_the_snapshot_begins_anew_with_it(self, journal: Journal) -> None:
        journal.align((b"\1", 8, 2), (b"\1", 9, 2))
        assert journal[:] == [(b"\1", 8, 2), (b"\1", 9, 2)]
        assert (journal.durable_index, journal.getRaftCommitIndex()) == (9, 9)
        journal.add(b"\0", 10, 2)
        write(journal)
        assert journal.durable_index == 10

    def test_a_log_of_another_history_gives_way(self, journal: Journal, disk: SimulatedDisk) -> None:
        journal.align((b"\1", 2, 1), (b"\1", 3, 3))
        assert (journal[:], journal.getCurrentTerm()) == ([(b"\1", 2, 1), (b"\1", 3, 3)], 3)
        journal.close()
        again = opened(disk, snapshot_index=3)
        assert again[:] == [(b"\1", 2, 1), (b"\1", 3, 3)]
        assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (3, None)

    def test_a_snapshot_that_contradicts_what_is_committed_is_refused(self, journal: Journal) -> None:
        with pytest.raises(LogDiverged, match="contradicts a committed one"):
            journal.align((b"\1", 1, 0), (b"\1", 2, 2))

    def test_a_snapshot_of_all_that_the_log_has_leaves_its_last_two_entries(self, journal: Journal) -> None:
        journal.align((b"\0002", 2, 1), (b"\0003", 3, 2))
        assert [index for _, index, _ in journal[:]] == [2, 3]
