"""Three nodes as real processes: leases through every node, and what becomes of them when processes are hurt."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

import garbagetruck
from garbagetruck.client.errors import OutcomeUnknown, Unavailable
from tests.cluster_fixtures.local import LocalCluster

RECOVERY_S_MAX = 10.0
"""Far above what is wanted, since the machine that runs this may be busy; what it took is printed."""
KEPT_TTL_S = 4.0
"""Of what must not expire: longer than a busy machine keeps this process from renewing it."""
GRACE_S = 2.0
REFUSED_S_MAX = 3.0


async def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        await asyncio.sleep(0.05)


async def test_every_node_takes_renews_and_ends_leases(standing: LocalCluster) -> None:
    for node in standing.nodes.values():
        async with garbagetruck.connect(node.api) as truck:
            lease = await truck.acquire(f"uploads/{node.id}", holder="tests", ttl=30.0)
            await truck.renew(lease.id)
            assert (await truck.get_lease(lease.id)).resource == f"uploads/{node.id}"
            await truck.release(lease.id)
    digests = await standing.digests_by_index(wanted=3)
    assert all(len(set(at_index.values())) == 1 for at_index in digests.values()), "I3: one state at one index"


async def test_i4_what_nobody_renews_is_removed_and_what_is_renewed_stays(standing: LocalCluster) -> None:
    kept, orphan = standing.files / "renewed", standing.files / "orphan"
    async with garbagetruck.connect(standing.endpoints) as truck:
        cleanup = garbagetruck.Cleanup("file", path="renewed")
        one = await truck.acquire("renewed", holder="a", ttl=KEPT_TTL_S, cleanup=cleanup)
        await truck.acquire("orphan", holder="b", ttl=1.5, cleanup=garbagetruck.Cleanup("file", path="orphan"))
        kept.write_text("in use")
        orphan.write_text("nobody's")
        began_s, removed_s = time.monotonic(), 0.0
        while not removed_s or time.monotonic() - began_s < KEPT_TTL_S + GRACE_S + 1:
            assert time.monotonic() - began_s < 60, "the orphan was not removed"
            await truck.renew(one.id)
            await asyncio.sleep(0.3)
            if not removed_s and not orphan.exists():
                removed_s = time.monotonic() - began_s
        print(f"removed {removed_s:.2f} s after its lease was acquired for 1.5 s")
        assert kept.read_text() == "in use"


async def test_kill_9_of_the_leader_and_its_return(standing: LocalCluster) -> None:
    """I2, I3: what was acknowledged survives, and the node that comes back has the others' state."""
    leader = await standing.leader()
    async with garbagetruck.connect(standing.endpoints) as truck:
        before = [await truck.acquire(f"before/{number}", holder="tests", ttl=60.0) for number in range(20)]
        standing.signal(leader, signal.SIGKILL)
        killed_s = time.monotonic()
        await truck.acquire("after", holder="tests", ttl=60.0, timeout=RECOVERY_S_MAX)
        print(f"the next success came {time.monotonic() - killed_s:.3f} s after kill -9 of the leader")
        for lease in before:
            assert (await truck.get_lease(lease.id)).remaining > 30
    assert await standing.leader(not_=leader) != leader
    standing.serve(leader)
    await standing.until_all_serve()
    digests = await standing.digests_by_index(wanted=3)
    assert all(len(set(at_index.values())) == 1 for at_index in digests.values())


async def test_sigterm_drains_and_hands_leadership_over(standing: LocalCluster) -> None:
    leader = await standing.leader()
    others = ",".join(node.api for node in standing.nodes.values() if node.id != leader)
    async with garbagetruck.connect(others) as truck:
        await truck.acquire("before the drain", holder="tests", ttl=60.0)
        logged = len(standing.log_of(leader))
        standing.signal(leader, signal.SIGTERM)
        longest_s, number = 0.0, 0
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            number += 1
            began_s = time.monotonic()
            await truck.acquire(f"during/{number}", holder="tests", ttl=60.0, timeout=RECOVERY_S_MAX)
            longest_s = max(longest_s, time.monotonic() - began_s)
    print(f"{number} leases were acquired meanwhile, the slowest in {longest_s * 1000:.0f} ms")
    await until(lambda: standing.log_of(leader)[-1]["event"] == "stopped")
    assert "leadership_handed_over" in [line["event"] for line in standing.log_of(leader)[logged:]]
    assert await standing.leader(not_=leader) != leader


async def test_i1_i7_a_leader_that_was_stopped_for_longer_than_every_ttl_expires_nothing_renewed(
    standing: LocalCluster,
) -> None:
    leader = await standing.leader()
    others = ",".join(node.api for node in standing.nodes.values() if node.id != leader)
    async with garbagetruck.connect(others) as truck:
        leases = []
        for number in range(10):
            cleanup = garbagetruck.Cleanup("file", path=f"busy-{number}")
            leases.append(await truck.acquire(f"busy/{number}", holder=f"h{number}", ttl=KEPT_TTL_S, cleanup=cleanup))
            (standing.files / f"busy-{number}").write_text("in use")
        ids = [lease.id for lease in leases]
        logged = len(standing.log_of(leader))
        standing.signal(leader, signal.SIGSTOP)
        stopped_s = time.monotonic()
        continued = False
        while time.monotonic() - stopped_s < 2 * (KEPT_TTL_S + GRACE_S + 1):
            if not continued and time.monotonic() - stopped_s > KEPT_TTL_S + GRACE_S + 1:
                standing.signal(leader, signal.SIGCONT)
                continued = True
            results = await truck.renew(ids, timeout=RECOVERY_S_MAX)
            del results
            await asyncio.sleep(0.3)
        for lease in leases:
            assert (await truck.get_lease(lease.id)).remaining > 0
    assert all((standing.files / f"busy-{number}").exists() for number in range(10))
    assert "node_died" not in [line["event"] for line in standing.log_of(leader)[logged:]]


async def test_i2_kill_9_of_all_nodes_at_once_loses_nothing_acknowledged(standing: LocalCluster) -> None:
    async with garbagetruck.connect(standing.endpoints) as truck:
        leases = [await truck.acquire(f"before all/{number}", holder="tests", ttl=60.0) for number in range(50)]
    for node_id in standing.nodes:
        standing.signal(node_id, signal.SIGKILL)
    for node_id in standing.nodes:
        standing.serve(node_id)
    await standing.until_all_serve()
    async with garbagetruck.connect(standing.endpoints) as truck:
        for lease in leases:
            found = await truck.get_lease(lease.id)
            assert found.fencing_token == lease.fencing_token
            assert found.remaining > 0


async def test_a_stopped_cluster_starts_again_with_what_it_had(standing: LocalCluster) -> None:
    async with garbagetruck.connect(standing.endpoints) as truck:
        lease = await truck.acquire("before the end", holder="tests", ttl=60.0)
    standing.stop()
    assert standing.processes() == []
    standing.start()
    async with garbagetruck.connect(standing.endpoints) as truck:
        assert (await truck.get_lease(lease.id)).remaining > 0
        second = await truck.acquire("after the end", holder="tests", ttl=60.0)
        assert second.fencing_token > lease.fencing_token


async def test_nodes_outlive_a_supervisor_that_is_killed_and_the_next_up_names_them(cluster: LocalCluster) -> None:
    cluster.kill_supervisor()
    async with garbagetruck.connect(cluster.endpoints) as truck:
        await truck.acquire("still", holder="tests", ttl=60.0)
    with pytest.raises(AssertionError, match="has live processes"):
        cluster.start()
    for node_id in cluster.nodes:
        cluster.signal(node_id, signal.SIGTERM)
    await until(lambda: cluster.processes() == [])


async def test_i7_i8_a_leader_without_a_majority_stops_acknowledging_stops_time_and_cleans_nothing(
    standing: LocalCluster,
) -> None:
    leader = await standing.leader()
    followers = [node_id for node_id in standing.nodes if node_id != leader]
    async with garbagetruck.connect(standing.nodes[leader].api) as truck:
        busy = garbagetruck.Cleanup("file", path="busy")
        lease = await truck.acquire("busy", holder="tests", ttl=KEPT_TTL_S, cleanup=busy)
        (standing.files / "busy").write_text("in use")
        for node_id in followers:
            standing.signal(node_id, signal.SIGSTOP)
        stopped_s = time.monotonic()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await truck.acquire("late", holder="tests", ttl=60.0, timeout=REFUSED_S_MAX)
        print(
            f"it was refused after {time.monotonic() - stopped_s:.2f} s, of {REFUSED_S_MAX} s that the caller would have waited"
        )
        assert time.monotonic() - stopped_s < 2 * REFUSED_S_MAX
        status = await standing.status(leader)
        assert not status.healthy
        assert status.leader_id == ""
        await asyncio.sleep(
            max(0.0, KEPT_TTL_S + GRACE_S + 1 - (time.monotonic() - stopped_s))
        )  # longer than the lease and the grace
        assert (standing.files / "busy").exists()
        for node_id in followers:
            standing.signal(node_id, signal.SIGCONT)
        await truck.renew(lease.id, timeout=RECOVERY_S_MAX)
        assert (await truck.get_lease(lease.id)).remaining > 1
    await standing.until_all_serve()
    digests = await standing.digests_by_index(wanted=2)
    assert all(len(set(at_index.values())) == 1 for at_index in digests.values())
