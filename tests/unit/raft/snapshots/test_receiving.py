"""What a follower takes for a snapshot, what it says about it, and when it goes on from it."""

import random
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from msgspec.structs import replace

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.disk import DiskFile
from garbagetruck.cluster.raft.errors import SnapshotTooNew, StateTooNew
from garbagetruck.cluster.raft.snapshots.format import decode_header
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from tests.unit.raft.links import VirtualTime
from tests.unit.raft.snapshots.follower import LEADER, TERM, Follower, leaders_snapshot, state_at

INDEX = 60
ID, CONTENT = leaders_snapshot(INDEX)
OFFER = wire.SnapshotOffer(TERM, ID, INDEX, len(CONTENT))


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk(random.Random(0))


@pytest.fixture
def node(disk: SimulatedDisk, tmp_path: Path) -> Follower:
    node = Follower(disk, tmp_path, VirtualTime())
    node.append(2, 7)
    return node


def part(offset: int, length: int = 4_000, content: bytes = CONTENT, snapshot_id: str = ID) -> wire.SnapshotChunk:
    piece = content[offset : offset + length]
    return wire.SnapshotChunk(TERM, snapshot_id, offset, crc32(piece), piece)


def wanted(offset: int, snapshot_id: str = ID) -> wire.SnapshotWanted:
    return wire.SnapshotWanted(TERM, snapshot_id, offset)


def send_all(node: Follower, content: bytes, snapshot_id: str = ID) -> None:
    for offset in range(0, len(content), 4_000):
        node.hear(part(offset, content=content, snapshot_id=snapshot_id))


def test_a_snapshot_is_installed_acknowledged_and_gone_on_from(node: Follower) -> None:
    node.install(INDEX)
    assert (node.restored, node.applied_index, node.acknowledged) == ([INDEX], INDEX, INDEX)
    node.append(INDEX + 1, INDEX + 5)
    assert (node.applied_index, node.acknowledged) == (INDEX + 5, INDEX + 5)


def test_nothing_is_acknowledged_before_all_of_it_is_there(node: Follower) -> None:
    assert node.answers(OFFER) == [wanted(0)]
    assert node.answers(part(0)) == [wanted(4_000)]
    assert node.answers(OFFER) == [wanted(4_000)]
    assert (node.acknowledged, node.restored, node.applied_index) == (7, [], 7)


def test_hazard_18_parts_of_another_snapshot_or_another_place_are_refused(node: Follower) -> None:
    node.answers(OFFER, part(0))
    for stale in (part(0), part(8_000), part(4_000, snapshot_id="another")):
        assert node.answers(stale) == []
    assert node.engine.refusals["stale part of a snapshot"] == 3
    assert node.answers(OFFER) == [wanted(4_000)]


def test_hazard_18_another_snapshot_begins_at_its_beginning(node: Follower) -> None:
    node.answers(OFFER, part(0))
    other_id, other = leaders_snapshot(INDEX + 4)
    assert node.answers(replace(OFFER, snapshot_id=other_id, index=INDEX + 4, size_bytes=len(other))) == [
        wanted(0, other_id)
    ]
    send_all(node, other, other_id)
    assert (node.restored, node.acknowledged) == ([INDEX + 4], INDEX + 4)


def test_a_damaged_part_is_refused_and_asked_for_again(node: Follower) -> None:
    node.answers(OFFER)
    assert node.answers(replace(part(0), checksum=1)) == []
    assert node.engine.refusals["damaged part of a snapshot"] == 1
    assert node.answers(OFFER) == [wanted(0)]


@pytest.mark.parametrize("seed", range(30))
def test_hazard_7_a_damaged_snapshot_is_neither_installed_nor_acknowledged(
    node: Follower, disk: SimulatedDisk, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    spoilt = bytearray(CONTENT)
    spoilt[chance.choice((chance.randrange(40), chance.randrange(4_096, len(spoilt))))] ^= chance.randint(1, 255)
    before = disk.names(tmp_path / "snapshots")
    node.hear(OFFER)
    send_all(node, bytes(spoilt))
    assert (node.acknowledged, node.restored, node.applied_index, node.last_index) == (7, [], 7, 7)
    assert disk.names(tmp_path / "snapshots") == before
    (answer,) = node.answers(OFFER)
    assert isinstance(answer, wire.SnapshotUnfit)
    other_id, other = leaders_snapshot(INDEX + 4)
    node.hear(replace(OFFER, snapshot_id=other_id, index=INDEX + 4, size_bytes=len(other)))
    send_all(node, other, other_id)
    assert node.restored == [INDEX + 4]


def test_hazard_7_installing_without_verifying_is_found_out(node: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(_store: SnapshotStore, file: DiskFile, _decode: object) -> object:
        return decode_header(file.path, file.read(4_096, 0))[0], state_at(INDEX)[:-1]

    monkeypatch.setattr(SnapshotStore, "verify", believe)
    with pytest.raises(AssertionError, match="not the history's"):
        node.install(INDEX)


def test_a_snapshot_no_newer_than_what_was_applied_is_not_wanted(node: Follower) -> None:
    node.append(8, 70)
    assert node.answers(OFFER) == [wire.NextIndex(TERM, 71, True, True)]
    assert node.restored == []


@pytest.mark.parametrize(("applied", "has_a_later_snapshot"), [(61, False), (70, True)])
def test_what_was_applied_while_a_snapshot_came_is_not_rolled_back(
    node: Follower, applied: int, has_a_later_snapshot: bool
) -> None:
    node.answers(OFFER, *(part(offset) for offset in range(0, len(CONTENT) - 4_000, 4_000)))
    node.append(8, INDEX - 1)
    node.append(INDEX, applied)
    assert (node.taken > INDEX) is has_a_later_snapshot
    node.answers(part((len(CONTENT) - 1) // 4_000 * 4_000))
    assert (node.restored, node.applied_index, node.last_index) == ([], applied, applied)
    assert node.entries == state_at(applied)


def test_what_the_log_has_behind_a_snapshot_stays_and_is_not_acknowledged_by_it(node: Follower) -> None:
    node.append(8, INDEX + 5, commit_index=7)
    node.acknowledged = 0
    node.install(INDEX)
    assert (node.restored, node.acknowledged, node.last_index) == ([INDEX], INDEX, INDEX + 5)
    node.append(INDEX + 6, INDEX + 6)
    assert (node.applied_index, node.acknowledged) == (INDEX + 6, INDEX + 6)


def test_an_offer_of_a_former_term_is_answered_with_the_term(node: Follower) -> None:
    node.hear(wire.AppendEntries(TERM + 2, 7, 7, TERM, []))
    assert node.answers(OFFER) == [wire.TermNotice(TERM + 2)]


def test_an_offer_counts_as_a_word_of_the_leader(node: Follower) -> None:
    consensus = node.engine._consensus
    assert consensus is not None
    node.hear(replace(OFFER, term=TERM + 1))
    assert (consensus.term, consensus.leader) == (TERM + 1, LEADER)


def test_a_snapshot_that_is_whole_and_too_new_ends_the_node_and_is_not_called_damaged(
    node: Follower, disk: SimulatedDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader would take another, just as new, for ever."""

    def too_new(_: object, chunks: Iterator[bytes]) -> None:
        raise StateTooNew("snapshot of format 3, this node reads up to 2; start the version that wrote it")

    monkeypatch.setattr(Follower, "decode", too_new)
    before = disk.names(tmp_path / "snapshots")
    node.hear(OFFER)
    with pytest.raises(SnapshotTooNew, match=r"is too new: snapshot of format 3, .* The node does not go on"):
        send_all(node, CONTENT)
    assert (node.acknowledged, node.restored) == (7, [])
    assert disk.names(tmp_path / "snapshots") == before
