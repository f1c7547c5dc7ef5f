"""From one feature level to the next and back, one node after the other, under load: real processes throughout."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

import garbagetruck
from garbagetruck.client.errors import GarbageTruckError
from tests.cluster_fixtures.local import LocalCluster

OLDER = {"GARBAGETRUCK_NODE_FEATURE_LEVEL": "1"}
NEWER = {"GARBAGETRUCK_NODE_FEATURE_LEVEL": "2"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes of level 1."""
    cluster = LocalCluster(tmp_path, environ=OLDER)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Load:
    """Acquires and renews without a pause; the client repeats what may be repeated. Whatever else fails is kept."""

    def __init__(self, endpoints: str) -> None:
        self._endpoints = endpoints
        self.acknowledged: list[str] = []
        self.failed: list[GarbageTruckError] = []
        self._over = False

    async def run(self) -> None:
        async with garbagetruck.connect(self._endpoints) as truck:
            while not self._over:
                number = len(self.acknowledged) + len(self.failed)
                try:
                    lease = await truck.acquire(f"load/{number}", holder="load", ttl=600.0, timeout=20.0)
                    await truck.renew(lease.id, timeout=20.0)
                    self.acknowledged.append(lease.id)
                except GarbageTruckError as error:
                    self.failed.append(error)
                await asyncio.sleep(0.02)

    def end(self) -> None:
        self._over = True


async def drain(cluster: LocalCluster, node_id: str) -> None:
    """SIGTERM, and wait for the end. `up` reaps the nodes that it started, this process the others."""
    node = cluster.nodes[node_id]
    cluster.signal(node_id, signal.SIGTERM)
    if node.process is not None:
        assert await asyncio.to_thread(node.process.wait, 40) == 0
        return
    async with asyncio.timeout(40):
        while psutil.pid_exists(node.pid):  # noqa: ASYNC110 - another process reaps it
            await asyncio.sleep(0.05)


async def restart(cluster: LocalCluster, node_id: str, level: dict[str, str]) -> None:
    """As an upgrade does: drained, started again, and waited for until it serves."""
    await drain(cluster, node_id)
    cluster.serve(node_id, **level)
    async with asyncio.timeout(40):
        while not await levels_are(cluster, node_id, int(level["GARBAGETRUCK_NODE_FEATURE_LEVEL"])):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def levels_are(cluster: LocalCluster, node_id: str, level: int) -> bool:
    """Whether a node is ready, and has told its level to all."""
    try:
        status = await cluster.status(node_id)
    except Exception:  # noqa: BLE001 - it is still starting
        return False
    own = next((each for each in status.nodes if each.id == node_id), None)
    return own is not None and own.feature_level == level and all(each.reachable for each in status.nodes)


async def a_follower(cluster: LocalCluster) -> str:
    leader = await cluster.leader()
    return next(each for each in cluster.nodes if each != leader)


async def agreed_index(cluster: LocalCluster, node_id: str) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"http://{cluster.nodes[node_id].http}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith("garbagetruck_digest_agreed_index"))


@pytest.mark.slow
async def test_a_rolling_upgrade_forward_and_back_loses_nothing_and_what_cannot_go_back_says_so(
    cluster: LocalCluster,
) -> None:
    load = Load(cluster.endpoints)
    loading = asyncio.create_task(load.run())
    began_s = time.monotonic()
    try:
        await restart(cluster, "n1", NEWER)
        status = await cluster.status("n2")
        assert status.feature_level == 1
        assert "n2, n3 hold the cluster at feature level 1; n1 can do more" in status.warnings
        await restart(cluster, "n1", OLDER)  # the way back: nothing newer is in the log
        await cluster.until_all_serve()
        for node_id in cluster.nodes:
            assert (await cluster.status(node_id)).feature_level == 1
            assert await agreed_index(cluster, node_id) == 0, "nothing of level 2 before all have it"
            await restart(cluster, node_id, NEWER)
        await cluster.until_all_serve()
        assert (await cluster.status("n1")).feature_level == 2
        follower = await a_follower(cluster)
        async with asyncio.timeout(60):
            while not await agreed_index(cluster, follower):  # noqa: ASYNC110 - another process counts it
                await asyncio.sleep(0.2)
    finally:
        load.end()
        await loading
    print(f"{len(load.acknowledged)} leases in {time.monotonic() - began_s:.1f} s, failed: {load.failed}")
    assert load.failed == []
    assert len(load.acknowledged) > 20
    async with garbagetruck.connect(cluster.endpoints) as truck:
        for lease_id in load.acknowledged:
            assert (await truck.get_lease(lease_id)).state == "active"
    follower = await a_follower(cluster)
    await drain(cluster, follower)
    cluster.serve(follower, **OLDER)
    process = cluster.nodes[follower].process
    assert process is not None
    assert await asyncio.to_thread(process.wait, 40) == 65
    last = cluster.log_of(follower)[-1]
    assert last["event"] == "too_new"
    assert "batch of format 2, this node reads up to 1" in str(last["reason"])
    assert str(last["reason"]).endswith("set node.feature_level to 2, or more")
    cluster.serve(follower, **NEWER)
    await cluster.until_all_serve()
