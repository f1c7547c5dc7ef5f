"""What damages a disk: one byte, in the middle of what was written, and only where it was asked for."""

from pathlib import Path

import pytest

from garbagetruck.chaos.faults.damage import flip, log_begins_late, newest_segment, newest_snapshot, snapshots


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ("raft/journal", "raft/snapshots"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_one_byte_turns_over_in_the_middle_of_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abcdef" + bytes(100))
    assert flip(path) == 3
    assert path.read_bytes() == b"abc" + bytes([ord("d") ^ 0xFF]) + b"ef" + bytes(100)


def test_the_newest_files_are_chosen_and_the_beginning_of_the_log_is_known_by_name(data_dir: Path) -> None:
    journal, shots = data_dir / "raft/journal", data_dir / "raft/snapshots"
    for number in (1, 2):
        (journal / f"{number:010}-{number * 7:020}.seg").touch()
        (shots / f"{number * 7:020}.snap").touch()
    (shots / f"{21:020}.snap.tmp").touch()
    assert newest_segment(data_dir) == [journal / f"{2:010}-{14:020}.seg"]
    assert snapshots(data_dir) == [shots / f"{7:020}.snap", shots / f"{14:020}.snap"]
    assert newest_snapshot(data_dir) == [shots / f"{14:020}.snap"]
    assert not log_begins_late(data_dir)
    (journal / f"{1:010}-{7:020}.seg").unlink()
    assert log_begins_late(data_dir)
