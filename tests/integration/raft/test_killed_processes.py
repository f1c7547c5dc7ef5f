"""Real processes, really killed and paused."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.raft.processes import Processes, processes
from tests.integration.raft.replicas import CALM_MS, IDS


@asynccontextmanager
async def load(nodes: Processes, prefix: str) -> AsyncIterator[None]:
    """Proposals, one after the other, for as long as this is entered."""

    async def propose() -> None:
        for number in itertools.count():
            nodes.propose(f"{prefix}{number}")
            await asyncio.sleep(0.001)

    task = asyncio.create_task(propose())
    try:
        yield
    finally:
        task.cancel()


async def test_i2_i3_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    async with processes(tmp_path) as nodes:
        first = await nodes.leader()
        async with load(nodes, "a"):
            await nodes.bell.until(lambda: len(nodes.running[first].applied) > 50)
            killed = await nodes.kill(first)
        acknowledged = killed.applied
        second = await nodes.leader()
        nodes.propose("b")
        await nodes.bell.until(lambda: all("b" in process.applied for process in nodes.running.values()))
        history = nodes.running[second].applied
        assert history[: len(acknowledged)] == acknowledged
        await nodes.start(first)
        await nodes.bell.until(lambda: "b" in nodes.running[first].applied)
        assert {node_id: nodes.running[node_id].applied for node_id in IDS} == dict.fromkeys(IDS, history)


async def test_i2_all_processes_killed_at_once_forget_nothing(tmp_path: Path) -> None:
    async with processes(tmp_path) as nodes:
        leader = await nodes.leader()
        async with load(nodes, "a"):
            await nodes.bell.until(lambda: len(nodes.running[leader].applied) > 50)
            killed = await asyncio.gather(*(nodes.kill(node_id) for node_id in IDS))
        acknowledged = max((process.applied for process in killed), key=len)
        for node_id in IDS:
            await nodes.start(node_id)
        await nodes.leader()
        nodes.propose("b")
        await nodes.bell.until(lambda: all("b" in process.applied for process in nodes.running.values()))
        histories = [process.applied for process in nodes.running.values()]
        assert histories[0][: len(acknowledged)] == acknowledged
        assert histories[0] == histories[1] == histories[2]


async def test_i2_processes_killed_while_they_compact_forget_nothing(tmp_path: Path) -> None:
    """Hazards 2 and 3: snapshots all the time, and one process killed after the other, then all at once."""
    chance = random.Random(7)
    async with processes(tmp_path, snapshot_entries=8, segment_bytes=65_536) as nodes:
        acknowledged: list[str] = []
        restored = 0
        for number in range(8):
            leader = await nodes.leader()
            until = len(nodes.running[leader].applied) + chance.randint(20, 100)
            victims = IDS if number % 3 == 2 else (chance.choice(IDS),)
            async with load(nodes, f"{number}-{'x' * 400}-"):
                await nodes.bell.until(lambda: len(nodes.running[leader].applied) >= until)  # noqa: B023
                killed = await asyncio.gather(*(nodes.kill(node_id) for node_id in victims))
            acknowledged = max([acknowledged, *(process.applied for process in killed)], key=len)
            for node_id in victims:
                await nodes.start(node_id)
            await nodes.leader()
            end = f"end of {number}"
            nodes.propose(end)
            await nodes.bell.until(lambda: all(end in process.applied for process in nodes.running.values()))  # noqa: B023
            histories = [process.applied for process in nodes.running.values()]
            assert histories[0] == histories[1] == histories[2]
            assert histories[0][: len(acknowledged)] == acknowledged
            restored += sum(nodes.running[node_id].restored for node_id in victims)
        assert restored > 0


async def test_i8_a_paused_leader_is_replaced_and_follows_when_it_wakes(tmp_path: Path) -> None:
    async with processes(tmp_path, None, **CALM_MS) as nodes:
        first = await nodes.leader()
        nodes.pause(first)
        second = await nodes.leader(but=first)
        term = nodes.running[second].term
        nodes.propose("while it slept")
        await nodes.bell.until(lambda: "while it slept" in nodes.running[second].applied)
        nodes.resume(first)
        await nodes.bell.until(lambda: "while it slept" in nodes.running[first].applied)
        assert await nodes.leader() == second, "waking up deposes nobody"
        assert nodes.running[second].term == term


async def test_a_paused_follower_deposes_nobody_when_it_wakes(tmp_path: Path) -> None:
    """Hazard 13."""
    async with processes(tmp_path, None, **CALM_MS) as nodes:
        leader = await nodes.leader()
        follower = next(node_id for node_id in IDS if node_id != leader)
        nodes.propose("a")
        await nodes.bell.until(lambda: all("a" in process.applied for process in nodes.running.values()))
        term = nodes.running[leader].term
        for pause_s in (2.8, 4.0):  # longer than its election timeout; longer than connections last
            nodes.pause(follower)
            await asyncio.sleep(pause_s)
            nodes.resume(follower)
            nodes.propose(f"after {pause_s}")
            await nodes.bell.until(lambda: f"after {pause_s}" in nodes.running[follower].applied)  # noqa: B023
        assert await nodes.leader() == leader
        assert nodes.running[leader].term == term
