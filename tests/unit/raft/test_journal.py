"""The log on disk: what it refuses to read, to write and to remove."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.errors import JournalDamaged, JournalFull, LogDiverged
from garbagetruck.cluster.raft.journal import Journal
from garbagetruck.cluster.raft.journal import stock as journal_module


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder / "journal")
    try:
        yield journal
    finally:
        journal.close()


def filled(folder: Path) -> None:
    with opened(folder) as journal:
        journal.setCurrentTerm(2, "n2")
        for index, term in ((1, 0), (2, 1), (3, 2)):
            journal.add(b"\0%d" % index, index, term)
        journal.setRaftCommitIndex(2)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        assert journal[:] == [(b"\0001", 1, 0), (b"\0002", 2, 1), (b"\0003", 3, 2)]
        assert (journal.last_index, journal.term_at(3), journal.term_at(4), journal.term_at(0)) == (3, 2, None, None)
        assert journal.size_bytes == 40 + 3 * (24 + 2)
        assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (2, "n2", 2)


def test_a_commit_index_past_the_end_of_the_log_is_not_believed(tmp_path: Path) -> None:
    """Hazard 5, as far as pysyncobj's own journal goes."""
    filled(tmp_path)
    (tmp_path / "journal.meta").write_text('{"raftCommitIndex": 9, "currentTerm": 2, "votedForNodeId": "n2"}')
    with opened(tmp_path) as journal:
        assert journal.getRaftCommitIndex() == 3


@pytest.mark.parametrize("content", [b"", b'{"currentTerm": 2', b"[2]", pickle.dumps({})])
def test_a_damaged_vote_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    """Hazard 4, in part: pysyncobj would start again in term 0, and could vote twice."""
    filled(tmp_path)
    (tmp_path / "journal.meta").write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"journal\.meta is damaged"):
        Journal(tmp_path / "journal")


def test_a_lost_vote_is_not_taken_for_none(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "journal.meta").unlink()
    with pytest.raises(JournalDamaged, match="it is missing"), opened(tmp_path):
        pass


def test_a_log_with_a_gap_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "journal"
    content = bytearray(path.read_bytes())
    content[40 + 4] = 7  # the index of the first entry
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="follows entry"), opened(tmp_path):
        pass


def test_an_entry_that_cannot_follow_is_not_written(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        for index, term in ((3, 2), (5, 2), (4, 1)):
            with pytest.raises(LogDiverged):
                journal.add(b"\0", index, term)
        assert journal.last_index == 3


def test_a_committed_entry_is_not_removed(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as journal:
        with pytest.raises(LogDiverged, match="entry 2 is committed"):
            journal.deleteEntriesFrom(1)
        journal.deleteEntriesFrom(2)
        assert journal.last_index == 2


def test_a_full_journal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr(journal_module, "JOURNAL_BYTES_MAX", 200)
    with opened(tmp_path) as journal:
        with pytest.raises(JournalFull, match="limit of 200 bytes"):
            journal.add(b"\0" * 100, 4, 2)
        journal.deleteEntriesFrom(2)
        journal.add(b"\0" * 50, 3, 2)
        assert journal.last_index == 3
