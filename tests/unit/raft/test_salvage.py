"""A folder read after a disaster: what its next start would find is what there is, and nothing in it is changed."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.disk import READ_ONLY_DISK, REAL_DISK
from garbagetruck.cluster.raft.errors import JournalDamaged, JournalForeign, SnapshotDamaged
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import NONCE_BYTES, Owner, Site
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.salvage import SavedLog, read_log
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.opening import open_log
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, name_of

OWNER = Owner("c", "disk-1")
TERM = 3


def term_of(index: int) -> int:
    return 0 if index == 1 else TERM


class Folder:
    """One replica's folder, filled by the code that fills it in earnest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        chance = random.Random(0)
        self._site = Site(REAL_DISK, path / "journal", OWNER, 4_096 + 2_000, lambda: chance.randbytes(NONCE_BYTES))
        self.store = SnapshotStore(REAL_DISK, path / "snapshots", cluster_id="c")

    def write(self, upto: int, *, commit_index: int, since: int = 1, snapshot_index: int = 0) -> None:
        """Entries `since` to `upto`, durable; the first is Raft's own."""
        journal = Journal(self._site)
        journal.open(snapshot_index=snapshot_index)
        journal.setCurrentTerm(TERM + 1, "n2")
        for index in range(since, upto + 1):
            journal.add(b"\1" if index == 1 else b"\0%d " % index + bytes(100), index, term_of(index))
            if index % 5 == 0:
                journal.writer.write_waiting()  # in groups, so that there are several segments
        journal.setRaftCommitIndex(commit_index)
        journal.close()

    def snapshot(self, index: int, *, term: int = TERM) -> Path:
        self.store.open()
        header = SnapshotHeader("c", 1, f"id-{index}", index, term, term_of(index - 1))
        writer = self.store.begin(header)
        writer.write(b"state at %d" % index)
        writer.finish()
        return self.path / "snapshots" / name_of(header)

    def read(self) -> SavedLog[bytes]:
        """And prove that reading changed nothing."""
        before = fingerprint(self.path)
        try:
            return read_log(self.path, OWNER, b"".join)
        finally:
            assert fingerprint(self.path) == before, "reading changed the folder"


def fingerprint(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns, path.stat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def indexes(saved: SavedLog[bytes]) -> list[int]:
    assert all(entry.payload.startswith(b"%d " % entry.index) for entry in saved.entries)
    return [entry.index for entry in saved.entries]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "raft")


def test_i2_every_entry_is_read_and_what_is_known_to_be_committed_is_told(folder: Folder) -> None:
    """An acknowledged entry may lie beyond what this disk was told: leaders tell it later than they acknowledge."""
    folder.write(40, commit_index=7)
    saved = folder.read()
    assert (saved.state, saved.snapshot_index) == (None, 0)
    assert indexes(saved) == list(range(2, 41))
    assert (saved.last_index, saved.last_term, saved.term, saved.commit_index) == (40, TERM, TERM + 1, 7)


def test_a_snapshot_is_gone_on_from(folder: Folder) -> None:
    folder.write(40, commit_index=40)
    folder.snapshot(30)
    saved = folder.read()
    assert (saved.state, saved.snapshot_index) == (b"state at 30", 30)
    assert indexes(saved) == list(range(31, 41))


def test_a_snapshot_without_a_journal_is_all_there_is(folder: Folder) -> None:
    """As in the folder of a restored node that was never started."""
    folder.snapshot(30)
    saved = folder.read()
    assert (saved.state, saved.last_index, saved.last_term, saved.commit_index) == (b"state at 30", 30, TERM, 30)
    assert saved.entries == []


@pytest.mark.parametrize("upto", [10, 40])
def test_a_log_that_a_received_snapshot_replaced_is_left_out(folder: Folder, upto: int) -> None:
    """Shorter than it, or uncommitted entries of another term in its place: the node ended before it aligned them."""
    folder.write(upto, commit_index=5)
    folder.snapshot(30, term=TERM + 1)
    saved = folder.read()
    assert (saved.last_index, saved.last_term, saved.commit_index) == (30, TERM + 1, 30)
    assert saved.entries == []


def test_a_snapshot_that_contradicts_a_committed_entry_is_refused(folder: Folder) -> None:
    folder.write(40, commit_index=35)
    folder.snapshot(30, term=TERM + 1)
    with pytest.raises(JournalDamaged, match="a committed entry, 30, contradicts the snapshot"):
        folder.read()


def test_a_damaged_snapshot_is_done_without_when_the_log_has_everything(folder: Folder) -> None:
    folder.write(40, commit_index=40)
    folder.snapshot(20)
    newest = folder.snapshot(30)
    newest.write_bytes(newest.read_bytes()[:-3])
    saved = folder.read()
    assert (saved.state, saved.last_index) == (b"state at 20", 40)
    assert indexes(saved) == list(range(21, 41))


def test_a_damaged_snapshot_that_the_log_does_not_cover_is_refused_by_file_and_offset(folder: Folder) -> None:
    folder.write(40, commit_index=40)
    newest = folder.snapshot(50)
    newest.write_bytes(newest.read_bytes()[:-3])
    with pytest.raises(SnapshotDamaged) as caught:
        folder.read()
    assert caught.value.path == newest
    assert caught.value.offset is not None


def test_a_log_that_does_not_reach_back_to_the_snapshot_is_refused(folder: Folder) -> None:
    folder.write(60, commit_index=60)
    segments = sorted((folder.path / "journal").glob("*.seg"))
    assert len(segments) > 3
    segments[0].unlink()
    with pytest.raises(JournalDamaged, match="what comes before is in no snapshot"):
        folder.read()
    folder.snapshot(2)
    with pytest.raises(JournalDamaged, match="in no snapshot after entry 2"):
        folder.read()


def test_a_torn_end_is_left_out_and_left_there(folder: Folder) -> None:
    folder.write(20, commit_index=20)
    last = max((folder.path / "journal").glob("*.seg"))
    content = last.read_bytes().rstrip(b"\0")
    last.write_bytes(content + b"torn by a loss of power")
    assert folder.read().last_index == 20


def test_a_damaged_record_is_refused_by_file_and_offset(folder: Folder) -> None:
    folder.write(60, commit_index=60)
    segment = sorted((folder.path / "journal").glob("*.seg"))[1]
    content = bytearray(segment.read_bytes())
    content[4_300] ^= 1
    segment.write_bytes(content)
    with pytest.raises(JournalDamaged) as caught:
        folder.read()
    assert caught.value.path == segment
    assert caught.value.offset is not None
    assert 4_096 <= caught.value.offset <= 4_300


def test_the_journal_of_another_disk_is_refused(folder: Folder) -> None:
    folder.write(5, commit_index=5)
    with pytest.raises(JournalForeign):
        read_log(folder.path, Owner("c", "disk-2"), b"".join)


@pytest.mark.parametrize("name", ["make_folder", "create", "rename", "unlink", "sync_folder"])
def test_a_disk_for_reading_changes_nothing(tmp_path: Path, name: str) -> None:
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.write_bytes(b"x")
    before = fingerprint(tmp_path)
    arguments = {"rename": (there, absent), "unlink": (there,), "sync_folder": (tmp_path,)}.get(name, (absent,))
    with pytest.raises(OSError, match=r"Read-only|No such"):
        getattr(READ_ONLY_DISK, name)(*arguments)
    with pytest.raises(OSError, match="Bad file descriptor"):
        READ_ONLY_DISK.open(there).write(b"y", 0)
    assert fingerprint(tmp_path) == before


def starts(path: Path) -> tuple[object, list[Entry], int]:
    """What the next start of the replica would begin with."""
    journal = Journal(Site(REAL_DISK, path / "journal", OWNER, 6_096, lambda: os.urandom(NONCE_BYTES)))
    store = SnapshotStore(REAL_DISK, path / "snapshots", cluster_id="c")
    beginning = open_log(store, journal, b"".join)
    state, index = (None, 0) if beginning is None else (beginning.restored.state, beginning.restored.index)
    entries = [Entry(each, command[1:]) for command, each, _ in journal[:] if command[:1] == b"\0" and each > index]
    journal.close()
    return state, entries, journal.last_index


def histories(chance: random.Random, folder: Folder) -> Iterator[None]:
    """A few folders as they come about: longer logs, snapshots within them, torn ends."""
    last_index = snapshot_index = 0
    for _ in range(6):
        grown = last_index + chance.randrange(1, 30)
        folder.write(grown, since=last_index + 1, commit_index=chance.randint(snapshot_index + 1, grown))
        last_index = grown
        if chance.random() < 0.5 and last_index - 1 > snapshot_index + 1:
            snapshot_index = chance.randint(snapshot_index + 2, last_index)
            folder.snapshot(snapshot_index)
        yield


def test_it_reads_what_the_next_start_would_find(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    for number in range(8):
        folder = Folder(tmp_path / f"raft-{number}")
        for step, _ in enumerate(histories(chance, folder)):
            saved = folder.read()
            copy = tmp_path / f"copy-{number}-{step}"
            shutil.copytree(folder.path, copy)
            assert starts(copy) == (saved.state, list(saved.entries), saved.last_index)
