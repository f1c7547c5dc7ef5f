"""One whole node that meets what it cannot read, or cannot apply: how it ends, and how it gets past that."""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.cluster.machine.features import LEVEL_NEWEST, LEVELS
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.operations import KeepChronicles, NoteDigest
from garbagetruck.cluster.node.endings import EntryNotApplied, EntryTooNew
from garbagetruck.cluster.node.server_node import ServerNode
from garbagetruck.cluster.raft.errors import SnapshotTooNew
from tests.integration.node.test_one_node import Place, prepared, running

OLDER = {"feature_level": "1"}
BEFORE_CHRONICLES = {"feature_level": str(LEVELS[KeepChronicles] - 1)}
"""The highest level of which a leader writes nothing by itself, unless its state gives it cause."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return prepared(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it comes from another thread
            await asyncio.sleep(0.01)


async def use_level_2(node: ServerNode) -> None:
    index = node.core.applier.applied_index
    await node.core.queue.submit((NoteDigest(index, 7),), timeout_s=20)


async def test_a_level_can_be_lowered_again_as_long_as_nothing_newer_is_in_the_log(place: Place) -> None:
    levels = []
    for bootstrap, node_settings in ((True, BEFORE_CHRONICLES), (False, OLDER), (False, {})):
        async with running(place, bootstrap=bootstrap, node=node_settings) as node:
            await node.become_ready()
            levels.append(node.core.machine.feature_level)
            assert [each.feature_level for each in node.core.machine.members()] == levels[-1:]
    assert levels == [LEVELS[KeepChronicles] - 1, 1, LEVEL_NEWEST]
    assert place.died == []


async def test_a_node_of_level_1_that_meets_an_entry_of_level_2_ends_and_names_it(place: Place) -> None:
    async with running(place, bootstrap=True, node=BEFORE_CHRONICLES) as node:
        await node.become_ready()
        await use_level_2(node)
        index = node.core.applier.applied_index
    async with running(place, bootstrap=False, node=OLDER) as node:
        await until(lambda: bool(place.died))
        assert node.core.applier.applied_index < index
    assert isinstance(place.died[0], EntryTooNew)
    assert f"entry {place.died[0].index} of the log is too new: batch of format 2" in str(place.died[0])
    assert "set node.feature_level to 2" in str(place.died[0])
    place.died.clear()
    async with running(place, bootstrap=False) as node:
        await node.become_ready()
    assert place.died == []


async def test_what_a_leader_of_the_newest_level_writes_by_itself_is_too_new_for_the_level_before(place: Place) -> None:
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        await until(lambda: node.core.machine.keeps_chronicles)
    async with running(place, bootstrap=False, node=BEFORE_CHRONICLES):
        await until(lambda: bool(place.died))
    assert isinstance(place.died[0], EntryTooNew)
    assert "batch of format 4, this node reads up to 3" in str(place.died[0])
    assert "set node.feature_level to 4" in str(place.died[0])


async def test_a_node_of_level_1_refuses_a_snapshot_of_level_2_and_leaves_it_as_it_is(place: Place) -> None:
    async with running(place, bootstrap=True, node=BEFORE_CHRONICLES, snapshot_entries=100) as node:
        await node.become_ready()
        await use_level_2(node)
        snapshots = place.folder / "n1" / "raft" / "snapshots"
        async with garbagetruck.connect(place.api) as truck:
            while len(list(snapshots.glob("*.snap"))) < 2:
                await truck.acquire(f"r/{node.core.applier.applied_index}", holder="h", ttl=600.0)
    before = sorted(path.name for path in snapshots.iterdir())
    with pytest.raises(SnapshotTooNew, match="too new: snapshot of format 2, this node reads up to 1"):
        async with running(place, bootstrap=False, node=OLDER):
            raise AssertionError("it started")
    assert sorted(path.name for path in snapshots.iterdir()) == before, "nothing was set aside as damaged"
    async with running(place, bootstrap=False) as node:
        await node.become_ready()
    assert place.died == []


async def test_an_entry_that_no_node_can_apply_is_got_past_with_the_text_of_the_last_line(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Machine.apply

    def choke(self: Machine, payload: bytes) -> Applied:
        if b"poison" in payload:
            raise AssertionError("what must not be")
        return apply(self, payload)

    monkeypatch.setattr(Machine, "apply", choke)
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            kept = await truck.acquire("kept", holder="tests", ttl=600.0)
            poisoning = asyncio.create_task(truck.acquire("poison", holder="tests", ttl=600.0, timeout=30.0))
            await until(lambda: bool(place.died))
            poisoning.cancel()
    ends = []
    for _ in range(2):
        (ending,) = place.died
        assert isinstance(ending, EntryNotApplied)
        ends.append(str(ending))
        place.died.clear()
        async with running(place, bootstrap=False):
            await until(lambda: bool(place.died))
    assert ends[0] == ends[1], "the same at each start"
    place.died.clear()
    text = re.search(r"node\.skip_entries = (.*)$", ends[0])
    assert text is not None
    async with running(place, bootstrap=False, node={"skip_entries": text[1]}) as node:
        await node.become_ready()
        machine = node.core.machine
        assert machine.lease(kept.id, machine.clock_ms) is not None
        assert machine.resource("default", "poison") is None
        (event,) = [each for each in machine.events_after(0, 1_000) if each.type is EventType.ENTRY_SKIPPED]
        assert event.detail.endswith("was skipped by order of an operator")
        async with garbagetruck.connect(place.api) as truck:
            await truck.acquire("after", holder="tests", ttl=600.0)
            watching = truck.watch(from_index=1, all_namespaces=True, types=["entry_skipped"])
            async with aclosing(watching) as events, asyncio.timeout(60):
                assert (await anext(events)).detail == event.detail
    assert place.died == []
