"""Snapshots: whole or not there, read back as they were written, kept as long as they should be."""

from dataclasses import replace

import pytest

from garbagetruck.storage.errors import SnapshotDamaged, SnapshotTaken, SnapshotUnknown
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import CHUNK_BYTES_MAX
from garbagetruck.storage.retention import Retention
from garbagetruck.storage.verifying import verify_snapshot
from tests.contract.storage.rigs import Rig
from tests.contract.storage.samples import FIRST, SECOND, chunks_of, collect, content, header, store


async def test_what_was_written_is_read_back(rig: Rig, storage: Storage) -> None:
    of = header(12)
    stored = await store(storage, of)
    assert (stored.header, stored.chunks, stored.size_bytes) == (of, 5, 500)
    async with rig.open() as other:
        assert await other.snapshots.whole() == [stored]
        assert await content(other, of.snapshot_id) == chunks_of(of.snapshot_id)


async def test_a_snapshot_of_many_and_large_chunks_is_read_back(storage: Storage) -> None:
    of = header(12)
    chunks = [bytes([number]) * CHUNK_BYTES_MAX for number in range(3)] + [b"%d" % number for number in range(1_200)]
    stored = await store(storage, of, chunks)
    assert (stored.chunks, stored.size_bytes) == (1_203, sum(map(len, chunks)))
    assert await content(storage, of.snapshot_id) == chunks


async def test_a_snapshot_may_be_empty(storage: Storage) -> None:
    stored = await store(storage, header(12), [])
    assert stored.chunks == 0
    assert await content(storage, stored.header.snapshot_id) == []


async def test_those_that_go_furthest_come_first(storage: Storage) -> None:
    for index in (5, 30, 20):
        await store(storage, header(index))
    await storage.incarnations.reserve(SECOND, by="a restore")
    await store(storage, header(7, incarnation=SECOND))
    whole = await storage.snapshots.whole()
    found = [(each.header.incarnation.number, each.header.index) for each in whole]
    assert found == [(2, 7), (1, 30), (1, 20), (1, 5)]


async def test_a_half_written_one_is_neither_listed_nor_read(rig: Rig, storage: Storage) -> None:
    of = header(12)
    sink = await storage.snapshots.begin(of)
    for chunk in chunks_of(of.snapshot_id, 3, CHUNK_BYTES_MAX):
        await sink.write(chunk)
    async with rig.open() as other:
        assert await other.snapshots.whole() == []
        with pytest.raises(SnapshotUnknown):
            await content(other, of.snapshot_id)
    await sink.finish()
    assert len(await storage.snapshots.whole()) == 1


async def test_an_abandoned_one_leaves_nothing(storage: Storage) -> None:
    of = header(12)
    sink = await storage.snapshots.begin(of)
    await sink.write(b"x" * CHUNK_BYTES_MAX)
    await sink.abandon()
    await sink.abandon()
    assert not await storage.snapshots.delete(of.snapshot_id)


async def test_abandoning_what_is_whole_does_nothing(storage: Storage) -> None:
    sink = await storage.snapshots.begin(header(12))
    await sink.finish()
    await sink.abandon()
    assert len(await storage.snapshots.whole()) == 1


async def test_a_node_that_begins_again_clears_what_it_left_half_written(storage: Storage) -> None:
    left, of_another = header(12), header(12, node_id="n2")
    sink = await storage.snapshots.begin(left)
    others = await storage.snapshots.begin(of_another)
    again = await storage.snapshots.begin(header(13))
    await others.write(b"goes on")
    await others.finish()
    with pytest.raises(SnapshotUnknown):
        await sink.finish()
    assert not await storage.snapshots.delete(left.snapshot_id)
    await again.finish()
    await sink.abandon()


async def test_an_id_is_used_once(storage: Storage) -> None:
    of = header(12)
    await store(storage, of)
    with pytest.raises(SnapshotTaken):
        await storage.snapshots.begin(replace(of, index=13))
    begun = header(14, node_id="n2")
    sink = await storage.snapshots.begin(begun)
    with pytest.raises(SnapshotTaken):
        await storage.snapshots.begin(begun)
    await sink.abandon()


async def test_a_deleted_one_is_gone(storage: Storage) -> None:
    stored = await store(storage, header(12))
    assert await storage.snapshots.delete(stored.header.snapshot_id)
    assert not await storage.snapshots.delete(stored.header.snapshot_id)
    assert await storage.snapshots.whole() == []
    with pytest.raises(SnapshotUnknown):
        await content(storage, stored.header.snapshot_id)


async def test_one_that_is_deleted_while_it_is_written_does_not_come_back(storage: Storage) -> None:
    of = header(12)
    sink = await storage.snapshots.begin(of)
    assert await storage.snapshots.delete(of.snapshot_id)
    with pytest.raises(SnapshotUnknown):
        await sink.finish()
    assert await storage.snapshots.whole() == []
    await sink.abandon()


@pytest.mark.parametrize("number", [0, 2, 4])
async def test_a_damaged_chunk_is_found(rig: Rig, storage: Storage, number: int) -> None:
    stored = await store(storage, header(12))
    await rig.damage_chunk(stored.header.snapshot_id, number)
    read: list[bytes] = []
    with pytest.raises(SnapshotDamaged) as caught:
        await collect(storage.snapshots.read(stored.header.snapshot_id), read)
    assert caught.value.chunk == number
    assert read == chunks_of(stored.header.snapshot_id)[:number]


async def test_verifying_tells_how_much_is_sound_and_what_is_not(rig: Rig, storage: Storage) -> None:
    sound, damaged = await store(storage, header(12)), await store(storage, header(13))
    await rig.damage_chunk(damaged.header.snapshot_id, 3)
    assert await verify_snapshot(storage, sound.header.snapshot_id) == sound.size_bytes
    with pytest.raises(SnapshotDamaged):
        await verify_snapshot(storage, damaged.header.snapshot_id)
    with pytest.raises(SnapshotUnknown):
        await verify_snapshot(storage, "no-such-snapshot")


@pytest.mark.parametrize("number", [0, 2, 4])
async def test_a_lost_chunk_is_found(rig: Rig, storage: Storage, number: int) -> None:
    stored = await store(storage, header(12))
    await rig.lose_chunk(stored.header.snapshot_id, number)
    with pytest.raises(SnapshotDamaged):
        await content(storage, stored.header.snapshot_id)


async def test_pruning_keeps_the_furthest_and_the_young(storage: Storage) -> None:
    for index in range(1, 9):
        await store(storage, header(index, taken_at_ms=1_000 * index))
    keep = Retention(count_min=2, count_max=5, age_ms_max=3_000)
    pruned = await storage.snapshots.prune(FIRST, keep, now_ms=9_000)
    assert [each.header.index for each in await storage.snapshots.whole()] == [8, 7, 6]
    assert len(pruned) == 5
    assert await storage.snapshots.prune(FIRST, keep, now_ms=9_000) == []
    await storage.snapshots.prune(FIRST, keep, now_ms=10**9)
    assert [each.header.index for each in await storage.snapshots.whole()] == [8, 7]


async def test_pruning_by_a_clock_that_was_set_back_deletes_nothing_for_its_age(storage: Storage) -> None:
    for index in range(1, 4):
        await store(storage, header(index, taken_at_ms=10**9))
    assert not await storage.snapshots.prune(FIRST, Retention(count_min=1, count_max=3, age_ms_max=0), now_ms=5)


async def test_pruning_clears_what_was_never_finished_and_is_overtaken(storage: Storage) -> None:
    left, under_way = header(5), header(9, node_id="n2")
    dead = await storage.snapshots.begin(left)
    alive = await storage.snapshots.begin(under_way)
    await store(storage, header(7, node_id="n3"))
    keep = Retention(count_min=2, count_max=5, age_ms_max=10**12)
    assert await storage.snapshots.prune(FIRST, keep, now_ms=0) == [left.snapshot_id]
    await alive.write(b"goes on")
    await alive.finish()
    with pytest.raises(SnapshotUnknown):
        await dead.write(b"x" * CHUNK_BYTES_MAX)
    await dead.abandon()
