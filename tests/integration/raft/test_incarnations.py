"""I9: nodes of two lives of one cluster refuse each other, whoever of them connects."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity
from tests.integration.raft.replicas import IDS, PATIENCE_S, SETTINGS, Recorder, Trio, make_thread, trio

SHUT_OUT = {"another incarnation of the cluster", "refused by peer"}


async def start_another_life(nodes: Trio, node_id: str, folder: Path) -> Replica:
    """The node of that name, restored, beside two of the former incarnation."""
    await nodes.stop(node_id)
    replica = Replica(
        identity=Identity("c", node_id, "disk-restored", incarnation=2),
        members=nodes.members_as_seen_by(node_id),
        founders=IDS,
        folder=folder,
        settings=SETTINGS,
        thread_factory=make_thread,
        monotonic_ns=time.monotonic_ns,
        random=random.Random(),
    )
    await replica.start(Recorder(nodes.bell))
    return replica


async def refused(replica: Replica) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not any(replica.refusals.get(cause) for cause in SHUT_OUT):  # noqa: ASYNC110  # counters ring no bell
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("restored", ["n1", "n3"])
async def test_i9_neither_life_lets_the_other_in(tmp_path: Path, restored: str) -> None:
    """Of two nodes the one with the greater id connects: n1 is called by both others, n3 calls both."""
    async with trio(tmp_path) as nodes:
        await nodes.leader()
        replica = await start_another_life(nodes, restored, tmp_path / "restored")
        try:
            for each in (replica, *nodes.replicas.values()):
                await refused(each)
            leader = await nodes.leader()
            nodes.propose(leader, b"goes on")
            await nodes.heard(b"goes on")
            assert not replica.status.connected
            assert (replica.status.leader, replica.status.commit_index) == (None, 1)
            assert all(restored not in each.status.connected for each in nodes.replicas.values())
        finally:
            await replica.stop()
