"""Incarnations: reserved once, in order, for ever; and whether a cluster lives."""

import asyncio

import pytest

from garbagetruck.storage.errors import Fenced, IncarnationTaken, StillWriting
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Incarnation, Reservation, Writer
from garbagetruck.storage.retention import Retention
from garbagetruck.storage.silence import watch
from tests.contract.storage.rigs import Rig
from tests.contract.storage.samples import FIRST, LEADER, SECOND, archive, content, entries, header, store

KEEP_ALL = Retention(count_min=1, count_max=100, age_ms_max=10**12)


async def test_a_reserved_incarnation_is_listed_with_who_reserved_it(storage: Storage) -> None:
    await storage.incarnations.reserve(SECOND, by="a restore on host-9")
    assert await storage.incarnations.reserved() == [
        Reservation(FIRST, "n1"),
        Reservation(SECOND, "a restore on host-9"),
    ]


async def test_the_same_incarnation_may_be_reserved_again(storage: Storage) -> None:
    await storage.incarnations.reserve(FIRST, by="n2")
    assert await storage.incarnations.reserved() == [Reservation(FIRST, "n1")]


async def test_a_number_belongs_to_one_life_of_the_cluster(storage: Storage) -> None:
    with pytest.raises(IncarnationTaken) as caught:
        await storage.incarnations.reserve(Incarnation(1, "another"), by="a cluster that has the same name")
    assert caught.value.highest == 1


async def test_numbers_may_be_left_out_and_never_go_back(storage: Storage) -> None:
    await storage.incarnations.reserve(Incarnation(5, "fifth"), by="an operator")
    with pytest.raises(IncarnationTaken):
        await storage.incarnations.reserve(Incarnation(3, "third"), by="late")
    await storage.incarnations.reserve(FIRST, by="n1 again")
    assert [each.incarnation.number for each in await storage.incarnations.reserved()] == [1, 5]


async def test_of_restores_that_race_for_a_number_one_wins(rig: Rig, storage: Storage) -> None:
    async def attempt(name: str, number: int) -> Incarnation | None:
        async with rig.open() as opened:
            wanted = Incarnation(number, name)
            try:
                await opened.incarnations.reserve(wanted, by=name)
            except IncarnationTaken:
                return None
            return wanted

    attempts = [attempt(f"restore-{number}", 2 + number % 2) for number in range(8)]
    won = [each for each in await asyncio.gather(*attempts) if each is not None]
    listed = [each.incarnation for each in await storage.incarnations.reserved()]
    assert sorted(won, key=lambda each: each.number) == listed[1:]
    assert [each.number for each in listed] in ([1, 2, 3], [1, 3])


async def test_i9_nothing_of_an_earlier_incarnation_is_written_any_more(rig: Rig, storage: Storage) -> None:
    await archive(storage, 5)
    sink = await storage.snapshots.begin(header(5))
    await sink.write(b"begun before")
    async with rig.open() as restore:
        await restore.incarnations.reserve(SECOND, by="a restore")
    with pytest.raises(Fenced):
        await storage.archive.append(LEADER, entries(6, 7))
    with pytest.raises(Fenced):
        await storage.archive.resume(Writer(FIRST, 99))
    with pytest.raises(Fenced):
        await storage.archive.begin_span(LEADER, 20)
    with pytest.raises(Fenced):
        await storage.archive.trim(LEADER, 3)
    with pytest.raises(Fenced):
        await storage.snapshots.begin(header(7))
    with pytest.raises(Fenced):
        await storage.snapshots.prune(FIRST, KEEP_ALL, 0)
    with pytest.raises(Fenced) as caught:
        await sink.finish()
    assert caught.value.incarnation == 2
    assert await storage.snapshots.whole() == []
    assert [span.last_index for span in await storage.archive.spans(1)] == [5]
    await sink.abandon()


async def test_who_was_never_reserved_writes_nothing(storage: Storage) -> None:
    with pytest.raises(Fenced):
        await storage.archive.resume(Writer(SECOND, 1))
    with pytest.raises(Fenced):
        await storage.snapshots.begin(header(1, incarnation=SECOND))
    with pytest.raises(Fenced):
        await storage.archive.resume(Writer(Incarnation(1, "same number, another life"), 50))


async def test_clusters_in_one_storage_see_nothing_of_each_other(rig: Rig, storage: Storage) -> None:
    stored = await store(storage, header(4))
    await archive(storage, 4)
    async with rig.open("c-2") as other:
        with pytest.raises(Fenced):
            await other.archive.resume(LEADER)
        await other.incarnations.reserve(FIRST, by="n1")
        assert await other.snapshots.whole() == []
        assert await other.archive.spans(1) == []
        assert not await other.snapshots.delete(stored.header.snapshot_id)
        # The very same ids and indexes, with other content.
        await store(other, stored.header, [b"of the other cluster"])
        await other.archive.resume(LEADER)
        await other.archive.begin_span(LEADER, 1)
        await other.archive.append(LEADER, entries(1, 2, term=1))
        assert await content(other, stored.header.snapshot_id) == [b"of the other cluster"]
        await other.incarnations.reserve(SECOND, by="a restore of c-2")
        assert {storage.cluster_id, other.cluster_id} <= set(await storage.cluster_ids())
    assert len(await content(storage, stored.header.snapshot_id)) == 5
    assert [span.last_index for span in await storage.archive.spans(1)] == [4]
    await storage.archive.append(LEADER, entries(5, 5))


@pytest.mark.parametrize("act", ["archive", "snapshot", "chunks", "reserve"])
async def test_a_watch_notices_whatever_is_written(rig: Rig, storage: Storage, act: str) -> None:
    await archive(storage, 3)
    sink = await storage.snapshots.begin(header(3))
    looks: list[float] = []

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) != 3:
            return
        if act == "archive":
            await storage.archive.append(LEADER, entries(4, 4))
        elif act == "snapshot":
            await storage.snapshots.begin(header(4, node_id="n2"))
        elif act == "chunks":
            await sink.write(b"x" * 4 * 1024 * 1024)
        else:
            await storage.incarnations.reserve(SECOND, by="another restore")

    async with rig.open() as restore:
        with pytest.raises(StillWriting, match="is alive"):
            await watch(restore, 10_000, sleep)
    assert len(looks) == 3
    await sink.abandon()


async def test_a_watch_of_a_dead_cluster_ends_well(storage: Storage) -> None:
    await archive(storage, 3)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await watch(storage, 10_000, sleep)
    assert sum(slept) == pytest.approx(10.0)
    assert (await storage.incarnations.activity()).written_at_ms == 7_003
