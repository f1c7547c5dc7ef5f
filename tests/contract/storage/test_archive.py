"""The archive: one history without a gap, written by one leader at a time."""

from contextlib import suppress

import pytest

from garbagetruck.storage.errors import ArchiveDamaged, ArchiveMoved, EntriesMissing, Fenced, SpanUncovered
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import ArchivedEntry, Span, Writer
from garbagetruck.storage.verifying import verify_archive
from tests.contract.storage.rigs import Rig
from tests.contract.storage.samples import (
    FIRST,
    LEADER,
    SECOND,
    SUCCESSOR,
    archive,
    archived,
    collect,
    entries,
    header,
    store,
)


async def test_what_was_archived_is_read_back_in_order(rig: Rig, storage: Storage) -> None:
    await archive(storage, 4)
    assert await storage.archive.append(LEADER, entries(5, 9)) == Span(1, 9, 3)
    async with rig.open() as other:
        assert await other.archive.spans(1) == [Span(1, 9, 3)]
        assert await archived(other, 1) == entries(1, 9)
        assert await archived(other, 3, 6) == entries(3, 6)
        assert await archived(other, 10) == []


async def test_many_and_large_entries_are_read_back(storage: Storage) -> None:
    await storage.archive.resume(LEADER)
    await storage.archive.begin_span(LEADER, 1)
    large = [ArchivedEntry(index, 3, bytes([index]) * 3_000_000, 1) for index in range(1, 6)]
    small = [ArchivedEntry(index, 3, b"", 1) for index in range(6, 5_006)]
    await storage.archive.append(LEADER, large)
    await storage.archive.append(LEADER, small)
    assert await archived(storage, 1) == large + small
    assert await archived(storage, 5, 6) == [large[-1], small[0]]


async def test_without_a_span_there_is_nothing_to_follow(storage: Storage) -> None:
    assert await storage.archive.resume(LEADER) is None
    with pytest.raises(ArchiveMoved) as caught:
        await storage.archive.append(LEADER, entries(1, 2))
    assert caught.value.next_index is None
    assert await storage.archive.spans(1) == []
    with pytest.raises(EntriesMissing):
        await archived(storage, 1)


@pytest.mark.parametrize("first", [1, 4, 6, 100])
async def test_a_run_that_does_not_follow_changes_nothing(storage: Storage, first: int) -> None:
    await archive(storage, 4)
    with pytest.raises(ArchiveMoved) as caught:
        await storage.archive.append(LEADER, entries(first, first + 3))
    assert caught.value.next_index == 5
    assert await archived(storage, 1) == entries(1, 4)


async def test_a_run_that_was_appended_before_is_not_appended_again(storage: Storage) -> None:
    await archive(storage, 4)
    await storage.archive.append(LEADER, entries(5, 6))
    with pytest.raises(ArchiveMoved) as caught:
        await storage.archive.append(LEADER, entries(5, 6))
    assert caught.value.next_index == 7
    assert await storage.archive.resume(LEADER) == Span(1, 6, 3)


async def test_a_new_leader_goes_on_where_the_archive_ends(rig: Rig, storage: Storage) -> None:
    await archive(storage, 4)
    async with rig.open() as other:
        span = await other.archive.resume(SUCCESSOR)
        assert span == Span(1, 4, 3)
        await other.archive.append(SUCCESSOR, entries(5, 6, term=3) + entries(7, 8, term=4))
    assert await archived(storage, 1) == entries(1, 6) + entries(7, 8, term=4)


async def test_a_deposed_leader_writes_neither_over_nor_past_its_successor(rig: Rig, storage: Storage) -> None:
    await archive(storage, 4)
    async with rig.open() as other:
        await other.archive.resume(SUCCESSOR)
        with pytest.raises(Fenced) as caught:
            await storage.archive.append(LEADER, entries(5, 6))
        assert caught.value.term == 4
        await other.archive.append(SUCCESSOR, entries(5, 6, term=4))
        for first in (4, 5, 7):
            with pytest.raises(Fenced):
                await storage.archive.append(LEADER, entries(first, first + 1))
        with pytest.raises(Fenced):
            await storage.archive.resume(LEADER)
        with pytest.raises(Fenced):
            await storage.archive.trim(LEADER, 2)
        with pytest.raises(Fenced):
            await storage.archive.begin_span(LEADER, 50)
        assert await archived(other, 1) == entries(1, 4) + entries(5, 6, term=4)


async def test_entries_of_an_older_term_cannot_follow(storage: Storage) -> None:
    await archive(storage, 4)
    with pytest.raises(Fenced):
        await storage.archive.append(LEADER, entries(5, 6, term=2))
    assert await archived(storage, 1) == entries(1, 4)


async def test_a_gap_needs_a_snapshot_that_reaches_over_it(storage: Storage) -> None:
    await archive(storage, 4)
    for first in (1, 5):
        with pytest.raises(SpanUncovered):
            await storage.archive.begin_span(LEADER, first)
    sink = await storage.snapshots.begin(header(20))
    with pytest.raises(SpanUncovered):
        await storage.archive.begin_span(LEADER, 21)
    await sink.finish()
    with pytest.raises(SpanUncovered):
        await storage.archive.begin_span(LEADER, 22)
    assert await storage.archive.begin_span(LEADER, 21) == Span(21, 20, 0)
    await storage.archive.append(LEADER, entries(21, 23))
    assert await storage.archive.spans(1) == [Span(1, 4, 3), Span(21, 23, 3)]
    assert await archived(storage, 2) == entries(2, 4)
    assert await archived(storage, 21) == entries(21, 23)
    for index in (6, 19):
        with pytest.raises(EntriesMissing):
            await archived(storage, index)


async def test_trimming_keeps_what_a_snapshot_needs(storage: Storage) -> None:
    await archive(storage, 40)
    assert await storage.archive.trim(LEADER, 30) == [Span(1, 40, 3)], "without a snapshot all of it is needed"
    await store(storage, header(20))
    await store(storage, header(35))
    (span,) = await storage.archive.trim(LEADER, 30)
    assert span.first_index <= 21
    assert await archived(storage, 21) == entries(21, 40)
    await storage.archive.append(LEADER, entries(41, 42))
    assert await archived(storage, 41) == entries(41, 42)


async def test_what_was_trimmed_is_missing_and_not_damaged(storage: Storage) -> None:
    await archive(storage, 20)
    await store(storage, header(20))
    await storage.archive.trim(LEADER, 21)
    assert await storage.archive.spans(1) == [Span(21, 20, 3)], "all of it went, and the place is known"
    with pytest.raises(EntriesMissing):
        await archived(storage, 5)
    assert await storage.archive.append(LEADER, entries(21, 22)) == Span(21, 22, 3)
    assert await archived(storage, 21) == entries(21, 22)


async def test_a_reader_is_overtaken_by_trimming_and_told(storage: Storage) -> None:
    await archive(storage, 20)
    large = [ArchivedEntry(index, 3, b"x" * 5_000_000, 1) for index in (21, 22, 23)]
    for entry in large:
        await storage.archive.append(LEADER, [entry])
    await store(storage, header(23))
    reading = storage.archive.read(1, 21)
    seen = [await anext(reading)]
    await storage.archive.trim(LEADER, 24)
    with suppress(EntriesMissing):
        await collect(reading, seen)
    assert seen == large[: len(seen)]


async def test_earlier_incarnations_go_when_no_snapshot_needs_them(rig: Rig, storage: Storage) -> None:
    await archive(storage, 10)
    old = await store(storage, header(5))
    await storage.incarnations.reserve(SECOND, by="a restore")
    heir = Writer(SECOND, 1)
    await storage.archive.resume(heir)
    await storage.archive.trim(heir, 100)
    assert await archived(storage, 6) == entries(6, 10)
    await store(storage, header(10, incarnation=SECOND))
    await storage.archive.begin_span(heir, 11)
    await storage.archive.append(heir, entries(11, 12, term=1))
    await storage.archive.trim(heir, 1)
    assert await archived(storage, 6) == entries(6, 10), "a snapshot of the first incarnation is still there"
    await storage.snapshots.delete(old.header.snapshot_id)
    await storage.archive.trim(heir, 1)
    assert await storage.archive.spans(1) == []
    assert await archived(storage, 11, incarnation=2) == entries(11, 12, term=1)


async def test_incarnations_have_indexes_of_their_own(storage: Storage) -> None:
    await archive(storage, 4)
    await storage.incarnations.reserve(SECOND, by="a restore")
    heir = Writer(SECOND, 1)
    assert await storage.archive.resume(heir) is None
    await storage.archive.begin_span(heir, 1)
    await storage.archive.append(heir, entries(1, 2, term=1))
    assert await archived(storage, 1) == entries(1, 4)
    assert await archived(storage, 1, incarnation=2) == entries(1, 2, term=1)


@pytest.mark.parametrize("index", [1, 3, 6])
async def test_a_damaged_entry_is_found(rig: Rig, storage: Storage, index: int) -> None:
    await archive(storage, 6)
    await rig.damage_entry(1, index)
    read: list[ArchivedEntry] = []
    with pytest.raises(ArchiveDamaged) as caught:
        await collect(storage.archive.read(1, 1), read)
    assert caught.value.index == index
    assert read in ([], entries(1, index - 1)), "a page may be given up whole"


async def test_verifying_reads_every_span(rig: Rig, storage: Storage) -> None:
    await archive(storage, 4)
    await store(storage, header(20))
    await storage.archive.begin_span(LEADER, 21)
    await storage.archive.append(LEADER, entries(21, 26))
    assert await verify_archive(storage, 1) == 10
    await rig.damage_entry(1, 24)
    with pytest.raises(ArchiveDamaged):
        await verify_archive(storage, 1)
    assert await verify_archive(storage, 2) == 0


@pytest.mark.parametrize("index", [1, 3, 6])
async def test_a_lost_entry_is_found(rig: Rig, storage: Storage, index: int) -> None:
    await archive(storage, 6)
    await rig.lose_entry(1, index)
    with pytest.raises(ArchiveDamaged):
        await archived(storage, 1)


@pytest.mark.parametrize("bad", [[], entries(1, 2) + entries(4, 5), entries(1, 1, term=9), entries(0, 1)])
async def test_what_is_no_run_is_a_bug(storage: Storage, bad: list[ArchivedEntry]) -> None:
    await storage.archive.resume(LEADER)
    await storage.archive.begin_span(LEADER, 1)
    with pytest.raises(AssertionError):
        await storage.archive.append(LEADER, bad)


async def test_who_asks_for_no_incarnation_that_is_there_finds_nothing(storage: Storage) -> None:
    assert await storage.archive.spans(7) == []
    assert FIRST not in [each.incarnation for each in (await storage.incarnations.reserved())[1:]]
