"""Nodes that come and go while the cluster works: real processes, real folders, real load."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.cli.exits import Exit
from garbagetruck.client import Lease, MemberRole, Truck
from garbagetruck.client.errors import OutcomeUnknown, Unavailable
from tests.cluster_fixtures.command_line import Line, until
from tests.cluster_fixtures.local import LocalCluster

CALL_S = 20.0
"""What one call of the load may take: an election, on a machine that may be busy."""
CHANGE_S = 60.0

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes, and room for more."""
    local = LocalCluster(tmp_path / "cluster", spare=4)
    try:
        local.start()
        yield local
    finally:
        local.stop()


@dataclass
class Load:
    """What was acknowledged meanwhile, and what failed."""

    leases: list[Lease] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def run(self, truck: Truck) -> None:
        number = 0
        while True:
            number += 1
            try:
                lease = await truck.acquire(f"load/{number}", holder="load", ttl=600.0, timeout=CALL_S)
                self.leases.append(lease)
                await truck.renew(self.leases[0].id, timeout=CALL_S)
            except (Unavailable, OutcomeUnknown) as error:
                self.failures.append(error)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def load(cluster: LocalCluster) -> AsyncIterator[Load]:
    """Acquire and renew through all nodes there were at the beginning; nothing of it may fail or be lost."""
    under_way = Load()
    async with garbagetruck.connect(cluster.endpoints) as truck:
        task = asyncio.create_task(under_way.run(truck))
        yield under_way
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert under_way.failures == []
    assert len(under_way.leases) > 10


async def until_listed(truck: Truck, member_id: str, role: MemberRole | None) -> None:
    async with asyncio.timeout(CHANGE_S):
        while True:
            members = {each.id: each.role for each in await truck.members(timeout=CALL_S)}
            if members.get(member_id) == role:
                return
            await asyncio.sleep(0.1)


async def let_in(cluster: LocalCluster, truck: Truck, node_id: str, number: int, *, knowing: Sequence[str]) -> None:
    """Add a node and start it, as an operator does."""
    places = cluster.add(node_id, number, knowing=knowing)
    await truck.add_member(node_id, **places, timeout=CALL_S)
    cluster.serve(node_id, "--join")
    await until_listed(truck, node_id, MemberRole.VOTER)


async def until_healthy(cluster: LocalCluster, asked: str, members: set[str]) -> None:
    async with asyncio.timeout(CHANGE_S):
        while True:
            try:
                status = await cluster.status(asked)
            except Exception:  # noqa: BLE001 - it may be starting
                await asyncio.sleep(0.1)
                continue
            if status.healthy and {each.id for each in status.nodes} == members:
                return
            await asyncio.sleep(0.1)


def last_event(cluster: LocalCluster, node_id: str) -> object:
    lines = cluster.log_of(node_id)
    return lines[-1]["event"] if lines else None


def events(cluster: LocalCluster, node_id: str) -> list[object]:
    return [line["event"] for line in cluster.log_of(node_id)] if cluster.nodes[node_id].log.exists() else []


def end(cluster: LocalCluster, node_id: str) -> int:
    """Wait until a node that the test started ends by itself; its exit code."""
    process = cluster.nodes[node_id].process
    assert process is not None
    return process.wait(CHANGE_S)


async def test_a_cluster_grows_shrinks_and_replaces_its_disks_under_load(cluster: LocalCluster) -> None:
    async with load(cluster) as under_load, garbagetruck.connect(cluster.endpoints) as truck:
        await let_in(cluster, truck, "n4", 4, knowing=("n1", "n2", "n3"))
        await let_in(cluster, truck, "n5", 5, knowing=("n1", "n2", "n3", "n4"))
        await until_healthy(cluster, "n4", {"n1", "n2", "n3", "n4", "n5"})

        leader = await cluster.leader()
        await truck.remove_member(leader, timeout=CALL_S)
        await until_listed(truck, leader, None)
        left = [each for each in ("n1", "n2", "n3", "n4", "n5") if each != leader]
        assert await cluster.leader(not_=leader) in left
        await asyncio.to_thread(until, lambda: last_event(cluster, leader) == "removed", CHANGE_S)

        # A node that lost its disk is replaced: under another name at its old address ...
        dead = next(each for each in left if each in ("n1", "n2", "n3"))
        cluster.signal(dead, signal.SIGKILL)
        shutil.rmtree(cluster.nodes[dead].data_dir)
        await truck.remove_member(dead, timeout=CALL_S)
        await until_listed(truck, dead, None)
        left.remove(dead)
        await let_in(cluster, truck, "n6", int(dead[1]), knowing=left)
        left.append("n6")

        # ... and under its own.
        cluster.signal("n5", signal.SIGKILL)
        shutil.rmtree(cluster.nodes["n5"].data_dir)
        await truck.remove_member("n5", timeout=CALL_S)
        await until_listed(truck, "n5", None)
        await let_in(cluster, truck, "n5", 5, knowing=[each for each in left if each != "n5"])
        await until_healthy(cluster, "n5", set(left))
        acknowledged = list(under_load.leases)

    # All start again, with configurations that name the members of former days.
    for node_id in left:
        cluster.signal(node_id, signal.SIGKILL)
    for node_id in left:
        cluster.serve(node_id)
    await until_healthy(cluster, left[0], set(left))
    async with garbagetruck.connect(",".join(cluster.nodes[each].api for each in left)) as truck:
        for lease in acknowledged[:: max(1, len(acknowledged) // 50)]:
            assert (await truck.get_lease(lease.id, timeout=CALL_S)).fencing_token == lease.fencing_token, "I2"


async def test_a_change_outlives_the_leader_that_it_was_asked_of(cluster: LocalCluster) -> None:
    first = await cluster.leader()
    async with garbagetruck.connect(cluster.endpoints) as truck:
        places = cluster.add("n4", 4, knowing=("n1", "n2", "n3"))
        await truck.add_member("n4", **places, timeout=CALL_S)
        cluster.signal(first, signal.SIGKILL)
        second = await cluster.leader(not_=first)
        cluster.serve("n4", "--join")
        await until_listed(truck, "n4", MemberRole.VOTER)

        # The one that is away leaves, asked of a leader that dies, too: three of four are up, then two of three vote.
        await truck.remove_member(first, timeout=CALL_S)
        cluster.signal(second, signal.SIGKILL)
        cluster.serve(second)
        await until_listed(truck, first, None)
        left = {"n1", "n2", "n3", "n4"} - {first}
        await until_healthy(cluster, "n4", left)


def leader_of(run: Line) -> str:
    until(lambda: run.json("status", exits=None)["leader"] is not None)
    return str(run.json("status", exits=None)["leader"])


def test_a_node_waits_to_be_let_in_and_a_wiped_one_is_not_taken_for_what_it_was(cluster: LocalCluster) -> None:
    run = Line(cluster)
    places = cluster.add("n4", 4, knowing=("n1", "n2", "n3"))
    cluster.serve("n4", "--join")
    until(lambda: "waiting_to_be_let_in" in events(cluster, "n4"))
    (told,) = [line["do"] for line in cluster.log_of("n4") if line["event"] == "waiting_to_be_let_in"]
    line = str(told).removeprefix("garbagetruck ")
    assert line.split()[:3] == ["member", "add", "n4"]
    assert {f"--{part} {place}" for part, place in places.items()} <= {
        f"{flag} {place}" for flag, place in zip(line.split()[3::2], line.split()[4::2], strict=True)
    }
    added = run.json(line)
    assert (added["id"], added["role"], added["version"]) == ("n4", "voter", garbagetruck.__version__)
    assert added["disk_id"]
    run(line, exits=Exit.PRECONDITION)

    # Its disk is lost. Under its old name it is not let in, for it has forgotten what it promised.
    cluster.signal("n4", signal.SIGKILL)
    shutil.rmtree(cluster.nodes["n4"].data_dir)
    cluster.serve("n4", "--join")
    until(lambda: any("disk" in str(line.get("why", "")) for line in cluster.log_of("n4")))
    assert run.json("member list")["members"][3]["disk_id"] == added["disk_id"]
    assert "n4 is gone" in run("member remove n4")[1]

    # Removed and added again, it is: the process that has waited all the while.
    again = run.json(line)
    assert again["role"] == "voter"
    assert again["disk_id"] != added["disk_id"]


def test_a_removal_that_would_stop_the_cluster_is_refused_and_a_removed_node_serves_no_more(
    cluster: LocalCluster,
) -> None:
    run = Line(cluster)
    leader = leader_of(run)
    other, third = (each for each in cluster.nodes if each != leader)
    cluster.signal(third, signal.SIGKILL)
    until(lambda: not run.json("status", exits=None)["healthy"])
    _, told = run(f"member remove {other}", exits=Exit.PRECONDITION)
    assert f"bring back {third} first" in told
    _, told = run(f"member remove {third}")
    assert f"{third} is gone" in told

    # It was down when it was removed, and so has not heard of it: nobody lets it in.
    cluster.serve(third)
    until(lambda: any("no longer a member" in str(line.get("why", "")) for line in cluster.log_of(third)))
    assert [each["id"] for each in run.json("member list")["members"]] == sorted([leader, other])
    cluster.signal(third, signal.SIGTERM)
    assert end(cluster, third) == 0

    # One that is up when it is removed hears of it, ends, and never serves again. Asked through itself alone, too.
    assert run.json(f"member remove {other}", "--endpoints", cluster.nodes[other].api)["role"] == "gone"
    until(lambda: last_event(cluster, other) == "removed")
    cluster.serve(other)
    assert end(cluster, other) == 1
    assert f"node {other} was removed from cluster tests" in str(cluster.log_of(other)[-1]["reason"])
    _, told = run(f"member remove {leader}", exits=Exit.PRECONDITION)
    assert "the only member that votes" in told
    run("lease acquire still --ttl 30s")


async def test_a_removed_node_stays_for_as_long_as_its_leader_may_need_its_vote_again(cluster: LocalCluster) -> None:
    """Two voters, one goes, and the one that stays dies about when the other one has heard of it, and leads again alone."""
    leader = await cluster.leader()
    first, second = (each for each in cluster.nodes if each != leader)
    async with garbagetruck.connect(cluster.nodes[leader].api) as truck:
        await truck.remove_member(first, timeout=CALL_S)
        await until_listed(truck, first, None)
        await truck.remove_member(second, timeout=CALL_S)
        await asyncio.to_thread(until, lambda: "draining" in events(cluster, second), CHANGE_S)
    cluster.signal(leader, signal.SIGKILL)
    cluster.serve(leader)
    await until_healthy(cluster, leader, {leader})
    await asyncio.to_thread(until, lambda: last_event(cluster, second) == "removed", CHANGE_S)
    end = [each for each in events(cluster, second) if each in ("draining", "taking_leave", "removed")]
    assert end == ["draining", "taking_leave", "removed"]


async def test_a_founder_that_never_came_is_taken_out_and_another_comes(cluster: LocalCluster) -> None:
    """Its record tells no feature level, which must not keep the others from ever removing it."""
    cluster.kill_supervisor()
    for node_id, node in cluster.nodes.items():
        cluster.signal(node_id, signal.SIGKILL)
        shutil.rmtree(node.data_dir)
        node.log.unlink()
    for node_id in ("n1", "n2"):
        cluster.serve(node_id, "--bootstrap")
    await cluster.leader()
    run = Line(cluster)
    _, told = await asyncio.to_thread(run, "member remove n3")
    assert "n3 is gone" in told
    async with garbagetruck.connect(f"{cluster.nodes['n1'].api},{cluster.nodes['n2'].api}") as truck:
        await let_in(cluster, truck, "n4", 4, knowing=("n1", "n2"))
        await until_healthy(cluster, "n4", {"n1", "n2", "n4"})
