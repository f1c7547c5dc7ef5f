"""A session goes on in a restored cluster that lost it (I9): what it registers anew, and what it never does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from garbagetruck.client import Cleanup, Session, Truck
from garbagetruck.client.errors import LeaseNotFound, SessionLost, SessionNotFound
from tests.unit.client.fake_cluster import FakeClock, Node, refusal, truck_of
from tests.unit.client.lives import Cluster

PATIENCE_S = 30.0
TTL_S = 60.0
BEAT_S = 25.0
"""After so long a heartbeat is due, by the test's clock: within a second of the machine's, however busy that is."""


@pytest.fixture
def cluster(node: Node) -> Cluster:
    """Served by `node`."""
    served = Cluster(ttl_ms=round(TTL_S * 1_000))
    served.serve(node)
    return served


@pytest.fixture
async def truck(node: Node, clock: FakeClock) -> AsyncIterator[Truck]:
    async with truck_of([node], clock) as connected:
        yield connected


@pytest.fixture
def disaster(cluster: Cluster, clock: FakeClock) -> Callable[..., None]:
    """Has the cluster restored with these sessions and leases, and a heartbeat due."""

    def strike(*, sessions: set[str] | None = None, leases: set[str] | None = None) -> None:
        cluster.restore(sessions=sessions, leases=leases)
        clock.advance(BEAT_S)

    return strike


async def until(condition: Callable[[], bool]) -> None:
    """For what a heartbeat brings about, which has no event for us."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@asynccontextmanager
async def session_of(truck: Truck) -> AsyncIterator[Session]:
    """Open for as long as the body runs, which must not be for ever."""
    async with asyncio.timeout(PATIENCE_S), truck.session(holder="resizer-7", ttl=TTL_S) as session:
        yield session


async def test_a_session_and_its_leases_are_registered_anew_as_they_were(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async with session_of(truck) as session:
        cleanup = Cleanup("file", path="uploads/1")
        lease = await session.acquire("uploads/1", cleanup=cleanup, labels={"a": "b"})
        before = (session.id, lease.id, lease.fencing_token)
        with caplog.at_level(logging.WARNING):
            disaster()
            assert await session.registered_anew() == 1
        assert before != (session.id, lease.id, lease.fencing_token)
        assert lease.fencing_token > 2 << 40 > before[2]
        assert session.leases == (lease,)
        assert cluster.leases == {lease.id: "uploads/1"}
        first, second = cluster.acquired
        assert second.cleanup == first.cleanup
        assert (second.session_id, dict(second.labels)) == (session.id, {"a": "b"})
        assert "incarnation 2 of cluster c-1, which was restored: 1 of 1 leases were registered anew" in caplog.text
        assert not lease.lost.is_set()
    assert cluster.released == ["uploads/1"]


async def test_of_a_session_that_is_known_only_those_leases_are_registered_that_are_not(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        kept, lost = await session.acquire("kept"), await session.acquire("lost")
        ids = (session.id, kept.id, lost.id)
        disaster(sessions={session.id}, leases={kept.id})
        await session.registered_anew()
        assert (session.id, kept.id) == ids[:2]
        assert lost.id != ids[2]
        assert cluster.leases == {kept.id: "kept", lost.id: "lost"}


async def test_it_happens_once_for_each_restore(cluster: Cluster, truck: Truck, disaster: Callable[..., None]) -> None:
    async with session_of(truck) as session:
        await session.acquire("a")
        for times in (1, 2, 3):
            disaster()
            assert await session.registered_anew(times - 1) == times
            await until(lambda: session.remaining == TTL_S)
        assert len(cluster.acquired) == 4


async def test_i1_in_the_same_life_what_is_not_known_is_over(cluster: Cluster, truck: Truck, clock: FakeClock) -> None:
    async def hold() -> None:
        async with session_of(truck) as session:
            lease = await session.acquire("a")
            cluster.sessions.clear()
            clock.advance(BEAT_S)
            await lease.lost

    with pytest.raises(SessionLost, match="SESSION_NOT_FOUND"):
        await hold()
    assert len(cluster.acquired) == 1


@pytest.mark.parametrize(("incarnation", "cluster_id"), [(2, "another"), (0, "c-1"), (2, "")])
async def test_i1_another_cluster_or_one_that_does_not_tell_its_life_is_no_restored_one(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None], incarnation: int, cluster_id: str
) -> None:
    async def hold() -> None:
        async with session_of(truck) as session:
            lease = await session.acquire("a")
            disaster()
            cluster.incarnation, cluster.cluster_id = incarnation, cluster_id
            await lease.lost

    with pytest.raises(SessionLost):
        await hold()
    assert len(cluster.acquired) == 1


async def test_i1_a_session_whose_time_is_over_here_is_not_registered_anew(
    cluster: Cluster, truck: Truck, clock: FakeClock
) -> None:
    """Whatever became of its resources meanwhile, nobody was bound to leave them alone."""

    async def hold() -> None:
        async with session_of(truck) as session:
            lease = await session.acquire("a")
            clock.advance(TTL_S + 1)
            cluster.restore()
            await lease.lost
            assert not session.remaining

    with pytest.raises(SessionLost, match="its time is over"):
        await hold()
    assert len(cluster.acquired) == 1


async def test_a_lease_that_was_given_back_is_not_registered_anew(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        given_back, held = await session.acquire("given back"), await session.acquire("held")
        await session.release(given_back)
        disaster()
        await session.registered_anew()
        assert cluster.leases == {held.id: "held"}


async def test_a_lease_whose_release_has_an_unknown_outcome_is_not_registered_anew(
    node: Node, cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        leaving, held = await session.acquire("leaving"), await session.acquire("held")
        node.answer("Release", refusal(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"))
        with pytest.raises(Exception, match="OUTCOME_UNKNOWN"):
            await session.release(leaving)
        cluster.serve(node)
        disaster()
        await session.registered_anew()
        assert cluster.leases == {held.id: "held"}
        with pytest.raises(LeaseNotFound):
            await session.release(leaving)
        assert cluster.leases == {held.id: "held"}


@pytest.mark.parametrize(
    "reason", ["RESOURCE_BEING_CLEANED", "TARGET_IN_USE", "TARGET_OVERLAPS", "CLEANUP_CONFLICT", "QUOTA_EXCEEDED"]
)
async def test_i1_a_lease_that_cannot_be_had_again_is_lost_and_the_others_go_on(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None], reason: str
) -> None:
    async with session_of(truck) as session:
        gone, held = await session.acquire("gone"), await session.acquire("held")
        cluster.refuses["gone"] = reason
        disaster()
        await gone.lost
        await session.registered_anew()
        assert reason in gone.lost.reason
        assert (gone.remaining, held.remaining > 0) == (0.0, True), "though they shared their session's time"
        assert not held.lost.is_set()
        assert not session.lost.is_set()
        assert list(cluster.leases.values()) == ["held"]


async def test_i1_a_lease_whose_resource_was_cleaned_meanwhile_is_lost(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        gone = await session.acquire("gone")
        await session.acquire("held")
        cluster.cleaned.add("gone")
        disaster()
        await gone.lost
        assert "was cleaned" in gone.lost.reason
        await session.registered_anew()
        assert list(cluster.leases.values()) == ["held"]


async def test_a_lease_that_the_restored_cluster_knows_to_be_over_is_lost(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        over = await session.acquire("over")
        cluster.ended.add(over.id)
        disaster(sessions={session.id})
        await over.lost
        assert "LEASE_ENDED" in over.lost.reason
        assert cluster.leases == {}


async def test_i1_time_begins_anew_only_once_every_lease_is_known(
    node: Node, cluster: Cluster, truck: Truck, clock: FakeClock, disaster: Callable[..., None]
) -> None:
    """A session that the restored cluster knows is renewed there; its unknown leases must not live by that."""

    async def hold() -> None:
        async with session_of(truck) as session:
            lease = await session.acquire("a")
            node.answer("BatchAcquire", refusal(grpc.StatusCode.UNAVAILABLE, "NO_LEADER", retry_after_ms=10))
            disaster(sessions={session.id})
            await until(lambda: len(node.requests("BatchAcquire")) > 1)
            assert session.remaining == TTL_S - BEAT_S
            clock.advance(TTL_S - BEAT_S)
            await lease.lost

    with pytest.raises(SessionLost, match="its time is over"):
        await hold()


async def test_what_was_interrupted_is_done_to_the_end(
    node: Node, cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        leases = [await session.acquire(f"r/{number}") for number in range(3)]
        busy = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_LOW")
        node.answer("OpenSession", busy, cluster._OpenSession)
        node.answer("BatchAcquire", refusal(grpc.StatusCode.INTERNAL, "INTERNAL"), cluster._BatchAcquire)
        disaster()
        await session.registered_anew()
        assert cluster.leases == {lease.id: lease.resource for lease in leases}
        assert {item.session_id for item in cluster.acquired[3:]} == {session.id}


async def test_an_acquire_that_meets_the_restored_cluster_first_registers_the_session_anew(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        before = await session.acquire("before")
        disaster()
        after = await session.acquire("after", request_id="mine")
        assert await session.registered_anew() == 1
        assert cluster.leases == {before.id: "before", after.id: "after"}
        assert session.leases == (before, after)


async def test_a_release_that_meets_the_restored_cluster_first_is_not_forgotten(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    """What is given back is to be cleaned, and for that the cluster has to know it."""
    async with session_of(truck) as session:
        async with session.lease("a", cleanup=Cleanup("file", path="a")) as lease:
            disaster()
        assert cluster.released == ["a"]
        assert cluster.leases == {}
        assert not lease.lost.is_set()
        assert session.leases == ()


async def test_closing_a_session_that_the_restored_cluster_lost_gives_its_leases_back(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None]
) -> None:
    async with session_of(truck) as session:
        await session.acquire("a")
        disaster()
    assert cluster.released == ["a"]
    assert (cluster.sessions, cluster.leases) == (set(), {})


async def test_a_session_that_is_over_for_another_reason_still_says_so(cluster: Cluster, truck: Truck) -> None:
    async with session_of(truck) as session:
        await session.acquire("a")
        cluster.sessions.clear()
        with pytest.raises(SessionNotFound):
            await session.acquire("b")
        cluster.sessions.add(session.id)


async def test_a_renewed_lease_is_found_under_its_new_id(
    cluster: Cluster, truck: Truck, disaster: Callable[..., None], node: Node
) -> None:
    async with session_of(truck) as session:
        lease = await session.acquire("a")
        former = lease.id
        disaster()
        await session.registered_anew()
        node.answer("Renew", refusal(grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND"))
        with pytest.raises(LeaseNotFound):
            await truck.renew(former)
        assert not lease.lost.is_set()
        with pytest.raises(LeaseNotFound):
            await truck.renew(lease)
        assert lease.lost.is_set()


async def test_i1_a_node_of_an_earlier_life_is_not_believed_any_more(three: list[Node], clock: FakeClock) -> None:
    """The old cluster may live on behind a partition that was taken for its loss."""
    old, new = (Cluster(ttl_ms=round(TTL_S * 1_000), incarnation=number) for number in (1, 2))
    old.serve(three[0])
    new.serve(three[1])

    async def hold(truck: Truck) -> None:
        async with session_of(truck) as session:
            lease = await session.acquire("a")
            await three[0].stop()
            clock.advance(BEAT_S)
            await session.registered_anew()
            await until(lambda: session.remaining == TTL_S)
            old.sessions.add(session.id)
            three[0].calls.clear()
            await three[0].start()
            await three[1].stop()
            clock.advance(BEAT_S)
            await until(lambda: bool(three[0].requests("RenewSession")))
            clock.advance(TTL_S - BEAT_S)
            await lease.lost

    async with truck_of(three[:2], clock) as truck:
        with pytest.raises(SessionLost, match="its time is over"):
            await hold(truck)
    assert len(new.acquired) == 1
