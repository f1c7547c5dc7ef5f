"""Two of three disks are gone. The cluster does not pretend; an operator restores it from the one that is left."""

import asyncio
import shutil
import signal
import time
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import psutil
import pytest

import garbagetruck
from garbagetruck.client import MemberRole, ResourceState, Truck
from garbagetruck.client.errors import SessionNotFound, Unavailable
from tests.cluster_fixtures.command_line import Line
from tests.cluster_fixtures.local import LocalCluster

TTL_S = 8.0
"""Of everything here, so that the wait after the resume is as short."""
LEFT, WIPED = "n3", ("n1", "n2")
TIMEOUT_S = 60.0
PARTS = ("api", "http", "raft", "peer")


@dataclass
class Load:
    """What was acknowledged before the disaster."""

    leases: list[tuple[str, int]]
    session_id: str
    files: list[Path]
    """In use at the disaster, or orphans that were not due yet."""


async def load(cluster: LocalCluster) -> Load:
    async with garbagetruck.connect(cluster.endpoints) as truck:
        session = await truck.sessions.open(holder="worker", ttl=TTL_S)
        leases, files = [], []
        for number in range(12):
            name = f"kept-{number}"
            (cluster.files / name).write_text("in use")
            files.append(cluster.files / name)
            holder = {"session_id": session.id} if number % 3 else {"holder": "alone", "ttl": TTL_S}
            cleanup = garbagetruck.Cleanup("file", path=name)
            lease = await truck.acquire(name, cleanup=cleanup, **holder)
            leases.append((lease.id, lease.fencing_token))
        orphan = cluster.files / "orphan"
        orphan.write_text("nobody's")
        cleanup = garbagetruck.Cleanup("file", path="orphan")
        await truck.release((await truck.acquire("orphan", holder="a", ttl=TTL_S, cleanup=cleanup, grace=TTL_S)).id)
        status = await truck.status()
    await until_all_have(cluster, max(node.applied_index for node in status.nodes))
    return Load(leases, session.id, [*files, orphan])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what other processes bring about."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110  # nothing here could set an event
            await asyncio.sleep(0.1)


async def until_all_have(cluster: LocalCluster, index: int) -> None:
    """A disk that lacks an acknowledged entry could not give it back: this test is not about that one."""

    async def have() -> bool:
        return all(node.applied_index >= index for node in (await cluster.status(LEFT)).nodes)

    await until(have)


async def until_logged(cluster: LocalCluster, node_id: str, event: str, **fields: str) -> dict[str, object]:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            for line in cluster.log_of(node_id):
                if line["event"] == event and all(line.get(key) == value for key, value in fields.items()):
                    return line
            await asyncio.sleep(0.1)


async def disaster(cluster: LocalCluster) -> None:
    for node_id in cluster.nodes:
        cluster.signal(node_id, signal.SIGKILL)

    async def gone() -> bool:
        return not any(psutil.pid_exists(node.pid) for node in cluster.nodes.values())

    await until(gone)
    for node_id in WIPED:
        shutil.rmtree(cluster.nodes[node_id].data_dir)


async def refuses(cluster: LocalCluster, node_id: str) -> str:
    """What a node says that does not start."""
    cluster.serve(node_id)
    process = cluster.nodes[node_id].process
    assert process is not None
    assert await asyncio.to_thread(process.wait, TIMEOUT_S) == 1
    last = cluster.log_of(node_id)[-1]
    assert last["event"] == "refused"
    return str(last["reason"])


async def stop(cluster: LocalCluster, node_id: str) -> None:
    process = cluster.nodes[node_id].process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, TIMEOUT_S) == 0


@pytest.mark.slow
async def test_the_cluster_refuses_and_names_the_way_and_that_way_loses_and_deletes_nothing(
    cluster: LocalCluster,
) -> None:
    """I2, I5, I9."""
    loaded = await load(cluster)
    await disaster(cluster)

    for node_id in WIPED:
        told = await refuses(cluster, node_id)
        assert f"{cluster.nodes[node_id].data_dir} holds no node" in told
        assert "do not bootstrap it" in told
        assert "`garbagetruck snapshot restore` (docs/disaster-recovery.md)" in told
    cluster.serve(LEFT)
    line = await until_logged(cluster, LEFT, "no_majority")
    assert (line["not_connected"], line["needed"], line["of"]) == (["n1", "n2"], 2, 3)
    assert f"snapshot restore --from {cluster.nodes[LEFT].data_dir}" in str(line["what_to_do"])
    async with garbagetruck.connect(cluster.nodes[LEFT].api) as truck:
        with pytest.raises(Unavailable) as caught:
            await truck.acquire("late", holder="tests", ttl=TTL_S, timeout=2.0)
        assert caught.value.reason in {"NO_LEADER", "NO_QUORUM"}

    config = cluster.nodes["n1"].config
    run = Line(cluster)
    way = f"snapshot restore --from {cluster.nodes[LEFT].data_dir} --config {config}"
    _, told = run(f"{way} --yes", exits=5)
    assert "served by another process" in told
    await stop(cluster, LEFT)
    _, told = run(way, exits=2)
    assert "add --yes if that is meant" in told
    report = run.json(f"{way} --yes")
    assert (report["incarnation"], report["node_id"], report["source"]["node_id"]) == (2, "n1", LEFT)
    assert (report["leases"], report["sessions"], report["resources"]) == (12, 1, 13)
    assert report["wait_ms"] == TTL_S * 1_000
    _, told = run(f"{way} --yes", exits=5)
    assert "is not empty" in told

    cluster.serve("n1")
    async with garbagetruck.connect(cluster.nodes["n1"].api) as truck:
        await until_it_serves(truck)
        await everything_is_there(truck, loaded)
        await the_earlier_life_is_shut_out(cluster)
        await nothing_is_deleted_until_resumed(cluster, truck, loaded)
        await the_others_join_with_empty_folders(cluster, truck)
    assert not [each for each in cluster.log_of("n1") if each["event"] == "node_died"]


async def until_it_serves(truck: Truck) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                status = await truck.status()
            except (Unavailable, grpc.aio.AioRpcError):
                status = None
            if status is not None and status.leader_id == "n1":
                assert status.incarnation == 2
                return
            await asyncio.sleep(0.1)


async def everything_is_there(truck: Truck, loaded: Load) -> None:
    for lease_id, token in loaded.leases:
        found = await truck.get_lease(lease_id)
        assert found.fencing_token == token
        assert found.remaining > 0, "it has its full TTL again"
    assert (await truck.sessions.get(loaded.session_id)).holder == "worker"
    fresh = await truck.acquire("fresh", holder="alone", ttl=TTL_S)
    assert fresh.fencing_token > max(token for _, token in loaded.leases)
    assert fresh.fencing_token > 2 * 2**40
    with pytest.raises(SessionNotFound):
        await truck.sessions.get("session-that-no-disk-knew")


async def the_earlier_life_is_shut_out(cluster: LocalCluster) -> None:
    """Its node has the greater id, so it connects to the new one, over both kinds of connection; and hears why not."""
    cluster.serve(LEFT)
    for event in ("raft_refused", "peer_refused"):
        await until_logged(cluster, "n1", event, cause="another incarnation of the cluster")
        (told, *_) = [line for line in cluster.log_of(LEFT) if line["event"] == event]
        assert "another incarnation" in f"{told['cause']} {told.get('why')}"
    assert (await cluster.status("n1")).leader_id == "n1"
    assert (await cluster.status(LEFT)).leader_id == ""
    await stop(cluster, LEFT)


async def nothing_is_deleted_until_resumed(cluster: LocalCluster, truck: Truck, loaded: Load) -> None:
    """Every lease ends, for nobody renews it; the files stay all the same until an operator has resumed and a TTL passed."""

    async def all_are_due() -> bool:
        due = [each async for each in truck.cleanups.list(states=[ResourceState.DUE])]
        return len(due) == len(loaded.files)

    await until(all_are_due)
    assert all(path.exists() for path in loaded.files)
    (paused,) = {each.blocked_by async for each in truck.cleanups.list()}
    assert paused == "paused"
    resumed_s = time.monotonic()
    resume = "cleanup resume --all-namespaces --yes"
    await asyncio.to_thread(Line(cluster), resume, "--endpoints", cluster.nodes["n1"].api)
    while all(path.exists() for path in loaded.files):
        assert time.monotonic() < resumed_s + TIMEOUT_S, "nothing is cleaned"
        await asyncio.sleep(0.05)
    assert time.monotonic() - resumed_s >= TTL_S, "I9: within the longest TTL after the resume"
    while any(path.exists() for path in loaded.files):
        assert time.monotonic() < resumed_s + TIMEOUT_S, "not everything is cleaned"
        await asyncio.sleep(0.05)
    cleaned = [each async for each in truck.cleanups.list()]
    assert cleaned == []


async def the_others_join_with_empty_folders(cluster: LocalCluster, truck: Truck) -> None:
    """And then the cluster outlives the loss of the node that founded it."""
    kept = await truck.acquire("kept-by-three", holder="alone", ttl=600.0)
    shutil.rmtree(cluster.nodes[LEFT].data_dir)
    members = tomllib.loads(cluster.nodes[LEFT].config.read_text())["cluster"]["members"]
    for node_id in ("n2", LEFT):
        config = cluster.nodes[node_id].config
        config.write_text(config.read_text().replace("[cluster]", "[cluster]\nincarnation = 2"))
        (places,) = [{part: each[part] for part in PARTS} for each in members if each["id"] == node_id]
        await truck.add_member(node_id, **places)
        cluster.serve(node_id, "--join")
        await until_it_votes(truck, node_id)
    process = cluster.nodes["n1"].process
    assert process is not None
    process.kill()
    await asyncio.to_thread(process.wait)
    async with garbagetruck.connect(cluster.endpoints) as others:
        assert (await others.get_lease(kept.id, timeout=TIMEOUT_S)).fencing_token == kept.fencing_token
        assert (await others.acquire("later", holder="alone", ttl=TTL_S, timeout=TIMEOUT_S)).fencing_token > 2 * 2**40


async def until_it_votes(truck: Truck, node_id: str) -> None:
    async def votes() -> bool:
        return any(each.id == node_id and each.role == MemberRole.VOTER for each in await truck.members())

    await until(votes)
