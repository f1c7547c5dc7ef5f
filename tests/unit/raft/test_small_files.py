"""The small files in a replica's folder: a byte that has rotted is noticed, and what versions before wrote is believed."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.disk import REAL_DISK
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.founding import Founding, found, store
from garbagetruck.cluster.raft.peers import PeerDisks

FOUNDING = Founding(["n1", "n2", "n3"], is_founder=True, origin="5f0c")


def read_founding(folder: Path) -> object:
    return found(REAL_DISK, folder, node_id="n1", told=(), founders=("n1",), has_log=True)


def write_founding(folder: Path) -> None:
    store(REAL_DISK, folder, FOUNDING)


def read_peers(folder: Path) -> object:
    disks = PeerDisks(folder / "peers.json")
    return disks.load(), [each for each in ("d2", "d4") if disks.was_removed("n2", each)]


def write_peers(folder: Path) -> None:
    disks = PeerDisks(folder / "peers.json")
    for node_id, disk_id in (("n2", "d2"), ("n3", "d3")):
        assert disks.is_known_or_new(node_id, disk_id)
    disks.dismiss("n2", "d2")
    disks.dismiss("n2", "d4")


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("founding.json", write_founding, read_founding),
        ("peers.json", write_peers, read_peers),
        ("removed.json", write_peers, read_peers),
    ],
)
def test_a_flipped_bit_anywhere_is_refused_by_the_files_name_or_changes_nothing(
    tmp_path: Path, name: str, write: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    write(tmp_path)
    whole, path = read(tmp_path), tmp_path / name
    content = path.read_bytes()
    refused: list[Path] = []
    for offset in range(len(content)):
        bit = 1 << random.Random(offset).randrange(8)
        path.write_bytes(content[:offset] + bytes([content[offset] ^ bit]) + content[offset + 1 :])
        try:
            found_there = read(tmp_path)
        except JournalDamaged as error:
            refused.append(error.path)
        else:
            assert found_there == whole, f"bit {bit} of byte {offset}"
    assert {*refused} == {path}
    assert len(refused) > len(content) // 2


def test_what_a_version_wrote_that_knows_no_checksums_is_believed_and_so_is_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "founding.json").write_text('{"voters": ["n1", "n2"], "is_founder": true}')
    (tmp_path / "peers.json").write_text('{"n2": "d2"}')
    (tmp_path / "removed.json").write_text('[["n2", "d4"]]')
    assert read_founding(tmp_path) == Founding(["n1", "n2"], is_founder=True)
    assert read_peers(tmp_path) == ({"n2": "d2"}, ["d4"])
    (tmp_path / "removed.json").write_text('[["n2", "d4"], ["", "of another time"], ["n2", "d2"]]')
    assert read_peers(tmp_path) == ({"n2": "d2"}, ["d2", "d4"]), "it went on with a list that had one"
