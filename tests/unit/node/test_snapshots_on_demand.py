"""Snapshots that somebody asks for: one for each request id, whoever waits for it, and the node's word on what went wrong."""

import asyncio
from typing import Any

import pytest

from garbagetruck.cluster.api import gateway
from garbagetruck.cluster.api.snapshots import SnapshotRecord, UnknownSnapshot, Verified
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.node.archiving.copier import NothingToCopy
from garbagetruck.cluster.node.archiving.desk import VERIFIED_AT_ONCE_MAX, NodeSnapshots
from garbagetruck.cluster.node.archiving.on_demand import REMEMBERED_MAX, UNDER_WAY_MAX, SnapshotsOnDemand
from garbagetruck.cluster.raft.errors import LogStopped
from garbagetruck.storage.errors import (
    Fenced,
    SnapshotDamaged,
    SnapshotUnknown,
    StorageError,
    StorageFull,
    StorageTimedOut,
    StorageUnreachable,
)
from garbagetruck.storage.records import Incarnation, SnapshotHeader, StoredSnapshot

SOON_S = 10.0


def stored(number: int) -> StoredSnapshot:
    header = SnapshotHeader(
        snapshot_id=f"s{number}",
        incarnation=Incarnation(1, "i"),
        node_id="n1",
        index=number,
        term=1,
        clock_ms=1_000,
        format=1,
        digest="00ff",
        taken_at_ms=2_000,
    )
    return StoredSnapshot(header, 3, 30)


class Taking:
    """Takes snapshots when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken = 0
        self.failure: Exception | None = None

    async def __call__(self) -> StoredSnapshot:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.taken += 1
        return stored(self.taken)


async def test_i6_a_request_id_has_one_snapshot_and_without_one_each_call_has_its_own() -> None:
    taking = Taking()
    on_demand = SnapshotsOnDemand(taking)
    first = await on_demand.snapshot("r", SOON_S)
    assert await on_demand.snapshot("r", SOON_S) is first
    assert await on_demand.snapshot("", SOON_S) is not await on_demand.snapshot("", SOON_S)
    assert taking.taken == 3


async def test_i11_who_does_not_wait_is_told_that_it_goes_on_and_may_join_it() -> None:
    taking = Taking()
    taking.gate.clear()
    on_demand = SnapshotsOnDemand(taking)
    with pytest.raises(gateway.OutcomeUnknown, match="the same request_id asks for it again"):
        await on_demand.snapshot("r", 0.01)
    joined = [asyncio.create_task(on_demand.snapshot("r", SOON_S)) for _ in range(2)]
    gone = asyncio.create_task(on_demand.snapshot("r", SOON_S))
    await asyncio.sleep(0)
    gone.cancel()
    taking.gate.set()
    assert {each.header.snapshot_id for each in await asyncio.gather(*joined)} == {"s1"}
    assert taking.taken == 1
    assert not on_demand.under_way


async def test_a_failure_is_told_to_all_who_wait_and_tried_again_for_who_asks_again() -> None:
    taking = Taking()
    on_demand = SnapshotsOnDemand(taking)
    taking.failure = NothingToCopy("not yet")
    both = await asyncio.gather(*(on_demand.snapshot("r", SOON_S) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in both] == [NothingToCopy] * 2
    taking.failure = None
    assert (await on_demand.snapshot("r", SOON_S)).header.snapshot_id == "s1"


async def test_what_is_under_way_and_what_is_remembered_is_bounded() -> None:
    taking = Taking()
    on_demand = SnapshotsOnDemand(taking)
    for number in range(REMEMBERED_MAX + 1):
        await on_demand.snapshot(f"r{number}", SOON_S)
    await on_demand.snapshot("r1", SOON_S)
    assert taking.taken == REMEMBERED_MAX + 1
    await on_demand.snapshot("r0", SOON_S)
    assert taking.taken == REMEMBERED_MAX + 2, "the oldest is forgotten"
    taking.gate.clear()
    for _ in range(UNDER_WAY_MAX):
        with pytest.raises(gateway.OutcomeUnknown):
            await on_demand.snapshot("", 0.001)
    with pytest.raises(gateway.Overloaded):
        await on_demand.snapshot("", SOON_S)
    taking.gate.set()
    await asyncio.gather(*on_demand.under_way)


class Service:
    """As a `StorageService`, with one snapshot of three chunks."""

    location = "somewhere"

    def __init__(self) -> None:
        self.failure: StorageError | None = None
        """Met by everything, reading after a chunk."""
        self.taking = Taking()
        self.on_demand = SnapshotsOnDemand(self.taking)
        self.gate = asyncio.Event()
        self.gate.set()
        self.readers = 0

    async def list_snapshots(self) -> list[StoredSnapshot]:
        if self.failure is not None and not isinstance(self.failure, SnapshotDamaged | SnapshotUnknown):
            raise self.failure
        return [stored(1)]

    async def read_snapshot(self, snapshot_id: str) -> Any:
        self.readers += 1
        await self.gate.wait()
        yield b"0123456789"
        if self.failure is not None:
            raise self.failure
        yield b"0123456789"
        yield b"0123456789"


class Peers:
    async def create_snapshot(self, node_id: str, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        raise gateway.MemberUnreachable(node_id)


def desk(service: Any) -> NodeSnapshots:
    return NodeSnapshots(node_id="n1", service=service, peers=Peers())


async def steps(of: NodeSnapshots, snapshot_id: str = "s1") -> list[Verified]:
    return [each async for each in of.verify(snapshot_id)]


async def test_a_node_without_storage_says_so() -> None:
    alone = desk(None)
    for asked in (alone.create(None, "", timeout_s=1), alone.list(), steps(alone)):
        with pytest.raises(gateway.StorageAbsent, match="n1 keeps no copies"):
            await asked


async def test_a_peer_is_asked_only_when_it_can_read_the_question() -> None:
    here = desk(Service())
    with pytest.raises(gateway.FeatureNotEnabled, match="ask that node itself, at there:1"):
        await here.create(Member("n2", "there:1", "h:2", "r:3", "0.1.0", "d2", 3), "", timeout_s=1)
    with pytest.raises(gateway.MemberUnreachable):
        await here.create(Member("n2", "there:1", "h:2", "r:3", "0.1.0", "d2", 4), "", timeout_s=1)


@pytest.mark.parametrize(
    ("met", "told"),
    [
        (StorageUnreachable("gone"), gateway.StorageAway),
        (StorageTimedOut("slow"), gateway.StorageAway),
        (StorageFull("full"), gateway.StorageRefused),
        (Fenced("a later life", incarnation=2), gateway.StorageRefused),
    ],
)
async def test_what_the_storage_meets_is_told_in_the_apis_words(
    met: StorageError, told: type[gateway.OperatingError]
) -> None:
    service = Service()
    here = desk(service)
    service.failure = service.taking.failure = met
    for asked in (here.create(None, "", timeout_s=SOON_S), here.list(), steps(here)):
        with pytest.raises(told, match=str(met)):
            await asked


@pytest.mark.parametrize("met", [NothingToCopy("no"), LogStopped("no")])
async def test_a_node_that_cannot_take_one_now_says_so(met: Exception) -> None:
    service = Service()
    service.taking.failure = met
    with pytest.raises(gateway.SnapshotNotTaken):
        await desk(service).create(None, "", timeout_s=SOON_S)


async def test_a_snapshot_is_read_back_step_by_step() -> None:
    found = await steps(desk(Service()))
    assert [(each.chunks, each.size_bytes, each.is_done) for each in found] == [
        (0, 0, False),
        (1, 10, False),
        (2, 20, False),
        (3, 30, False),
        (3, 30, True),
    ]
    assert {each.damage for each in found} == {""}


async def test_damage_is_an_answer_and_not_an_error() -> None:
    service = Service()
    service.failure = SnapshotDamaged("s1", "it is not what was written", 1)
    last = (await steps(desk(service)))[-1]
    assert (last.chunks, last.is_done) == (1, True)
    assert "chunk 1, is damaged: it is not what was written" in last.damage


async def test_a_snapshot_that_is_not_there_or_goes_meanwhile_is_unknown() -> None:
    service = Service()
    with pytest.raises(UnknownSnapshot, match="'s2'"):
        await steps(desk(service), "s2")
    service.failure = SnapshotUnknown("s1")
    with pytest.raises(UnknownSnapshot):
        await steps(desk(service))


async def test_only_so_many_are_read_back_at_once() -> None:
    service = Service()
    service.gate.clear()
    here = desk(service)
    reading = [asyncio.create_task(steps(here)) for _ in range(VERIFIED_AT_ONCE_MAX)]
    async with asyncio.timeout(SOON_S):
        while service.readers < VERIFIED_AT_ONCE_MAX:  # noqa: ASYNC110  # nothing but the loop has to turn
            await asyncio.sleep(0)
    with pytest.raises(gateway.Overloaded):
        await steps(here)
    service.gate.set()
    await asyncio.gather(*reading)
    assert await steps(here)
