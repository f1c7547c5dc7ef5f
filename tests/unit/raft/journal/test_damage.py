"""Recovery never accepts damage: what was durable and is not what was written any more is refused, by file and offset."""

import random
from collections.abc import Callable

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft.errors import JournalDamaged, JournalForeign, JournalTooNew, StorageRefused
from garbagetruck.cluster.raft.journal import recovery, segments
from garbagetruck.cluster.raft.journal.format import (
    GROUP_MAGIC,
    HEADER_BYTES,
    Record,
    SegmentHeader,
    encode_group,
    encode_header,
)
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.scan import Remainder
from garbagetruck.cluster.raft.journal.segments import Owner
from tests.unit.raft.journal.histories import FOLDER, OWNER, History, site_on

DAMAGES_PER_SEED = 12


def content(disk: SimulatedDisk, name: str) -> bytes:
    file = disk.open(FOLDER / name)
    return file.read(file.size(), 0)


def filled(disk: SimulatedDisk, *, groups: int = 40, payload_bytes: int = 200) -> None:
    """Several segments, ended by a clean close."""
    journal = Journal(site_on(disk))
    journal.open()
    journal.setCurrentTerm(2, "n2")
    for index in range(1, groups + 1):
        journal.add(bytes([index]) * payload_bytes, index, 2)
        journal.wait_durable()
    journal.close()


def reopened(disk: SimulatedDisk, *, owner: Owner = OWNER, snapshot_index: int = 0) -> Journal:
    journal = Journal(site_on(disk, owner=owner))
    journal.open(snapshot_index=snapshot_index)
    return journal


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_are_refused_unless_they_lie_in_the_last_write_of_all(seed: int) -> None:
    flip_bits(seed)


def test_a_recovery_that_takes_damage_for_a_torn_end_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "look_behind", lambda *_: Remainder(is_empty=False, later_mark=None))
    with pytest.raises(AssertionError, match="promised"):
        list(map(flip_bits, range(40)))


def flip_bits(seed: int) -> None:
    chance = random.Random(seed)
    print(f"seed {seed}")
    complaints: list[tuple[str, str]] = []
    for _ in range(DAMAGES_PER_SEED):
        disk = SimulatedDisk(random.Random(0))
        history = History(disk, random.Random(seed))
        history.start()
        history.live(25)
        history.settle()
        states = list(history.judge.states)
        name = chance.choice(disk.names(FOLDER))
        before = content(disk, name)
        offset = chance.randrange(len(before))
        length = chance.choice((1, 1, 8, 600))
        disk.damage(FOLDER / name, offset, bytes(each ^ chance.randint(1, 255) for each in before[offset:][:length]))
        disk.kill()
        is_last = name == disk.names(FOLDER)[-1]
        last_mark = before.rindex(GROUP_MAGIC)
        # What is accepted is the log as it was; or, only if the last write was hit, as it was before some of that.
        history.judge.durable = 0 if is_last and offset + length > last_mark else len(states) - 1
        try:
            history.start()
        except StorageRefused as error:
            complaints.append((name, str(error)))
    assert all(name in complaint for name, complaint in complaints)


@pytest.mark.parametrize("at", range(0, 1_900, 61))
def test_the_place_that_is_damaged_is_named(at: int) -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk, groups=30, payload_bytes=100)
    name = disk.names(FOLDER)[-1]
    offset = HEADER_BYTES + at
    original = content(disk, name)
    later_mark = original.find(GROUP_MAGIC, offset + 1)
    disk.damage(FOLDER / name, offset, bytes([original[offset] ^ 1]))
    if later_mark < 0:
        reopened(disk)
        return
    with pytest.raises(JournalDamaged) as caught:
        reopened(disk)
    assert caught.value.path == FOLDER / name
    assert caught.value.offset is not None
    assert caught.value.offset <= offset
    assert original.find(GROUP_MAGIC, caught.value.offset + 1) <= later_mark
    assert "Keep a copy of the folder" in str(caught.value)


def test_a_refusal_changes_nothing() -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk)
    disk.damage(FOLDER / disk.names(FOLDER)[0], HEADER_BYTES + 100, b"????")
    before = {name: content(disk, name) for name in disk.names(FOLDER)}
    steps = disk.steps
    with pytest.raises(JournalDamaged):
        reopened(disk)
    assert disk.steps == steps
    assert {name: content(disk, name) for name in disk.names(FOLDER)} == before


@pytest.mark.parametrize("which", [0, 1, -2, -1])
def test_a_missing_segment_is_refused(which: int) -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk)
    names = disk.names(FOLDER)
    assert len(names) > 4
    disk.unlink(FOLDER / names[which])
    with pytest.raises(JournalDamaged, match=r"missing|in no snapshot"):
        reopened(disk)


def test_a_journal_that_begins_after_its_snapshot_is_refused() -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk)
    disk.unlink(FOLDER / disk.names(FOLDER)[0])
    with pytest.raises(JournalDamaged, match="in no snapshot after entry 3"):
        reopened(disk, snapshot_index=3)


@pytest.mark.parametrize("owner", [Owner("other", OWNER.disk_id), Owner(OWNER.cluster_id, "other")])
def test_files_of_another_node_are_refused(owner: Owner) -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk)
    with pytest.raises(JournalForeign, match="another node were put here"):
        reopened(disk, owner=owner)


def test_a_segment_under_another_name_is_refused() -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk)
    names = disk.names(FOLDER)
    disk.rename(FOLDER / names[-1], FOLDER / segments.name_of(9, 1))
    with pytest.raises(JournalDamaged, match="by its header"):
        reopened(disk)


def test_a_newer_format_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk(random.Random(0))
    with monkeypatch.context() as patch:
        patch.setattr("garbagetruck.cluster.raft.journal.format.FORMAT", 2)
        filled(disk, groups=3)
    with pytest.raises(JournalTooNew, match="format 2, and this version knows formats up to 1"):
        reopened(disk)


def write_segment(disk: SimulatedDisk, *records: Record) -> None:
    """One segment of whole records that no journal would have written."""
    page, seed = encode_header(SegmentHeader(OWNER.cluster_id, OWNER.disk_id, 1, 1, 0, 0, 0, b"nonce"))
    group, _ = encode_group(records, number=0, offset=HEADER_BYTES, chain=seed, seed=seed)
    site_on(disk)
    disk.make_folder(FOLDER)
    file = disk.create(FOLDER / segments.name_of(1, 1))
    file.write(page + group, 0)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([Record(1, 2, 1)], "entry 2 of term 1 follows entry 0"),
        ([Record(1, 1, 2)], "entry 1 of term 2"),
        ([Record(1, 1, 1), Record(1, 2, 0)], "entry 2 of term 0 follows entry 1 of term 1"),
        ([Record(2, 4, 0)], "a cut at entry 4"),
        ([Record(3, 0, 0)], "term 0 follows"),
        ([Record(3, 0, 1, b"n2")], "a vote for n2 in term 1 follows a vote for n1"),
        ([Record(3, 0, 2, b"\xff")], "a vote that is no name"),
        ([Record(9, 1, 1)], "unknown kind 9"),
        ([Record(5, 2, 0)], "segment 2 is missing"),
    ],
)
def test_records_that_contradict_each_other_are_refused(records: list[Record], reason: str) -> None:
    disk = SimulatedDisk(random.Random(0))
    write_segment(disk, Record(3, 0, 1, b"n1"), *records)
    with pytest.raises(JournalDamaged, match=reason):
        reopened(disk)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (lambda page: page[:100], "ends after 100 bytes"),
        (lambda page: b"x" + page[1:], "does not begin as a segment's does"),
        (lambda page: page[:40] + b"?" + page[41:], "checksum of its header"),
        (lambda page: page[:12] + b"\xff\xff\xff\xff" + page[16:], "checksum of its header"),
    ],
)
def test_a_bad_header_is_refused(page: Callable[[bytes], bytes], reason: str) -> None:
    disk = SimulatedDisk(random.Random(0))
    filled(disk, groups=3)
    path = FOLDER / disk.names(FOLDER)[0]
    whole = content(disk, path.name)
    disk.unlink(path)
    disk.create(path).write(page(whole), 0)
    with pytest.raises(JournalDamaged, match=reason):
        reopened(disk)
