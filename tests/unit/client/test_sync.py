"""The face without `await` is the same face."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest

from garbagetruck.client import Session, SyncSession, SyncTruck, Truck, connect_sync
from garbagetruck.client.cleanups import Cleanups
from garbagetruck.client.errors import LeaseEnded, LeaseLost
from garbagetruck.client.lease import HeldLease, Lease, Lost
from garbagetruck.client.namespaces import Namespaces
from garbagetruck.client.portal import Portal
from garbagetruck.client.resources import Resources
from garbagetruck.client.sessions import Sessions
from garbagetruck.client.snapshots import Snapshots
from garbagetruck.client.sync import (
    SyncCleanups,
    SyncLease,
    SyncLost,
    SyncNamespaces,
    SyncResources,
    SyncSessions,
    SyncSnapshots,
)
from garbagetruck.v1 import cluster_pb2, event_pb2, lease_pb2, session_pb2
from tests.unit.client.fake_cluster import FakeClock, Node, acquired, lease, nodes, refusal, world
from tests.unit.client.lives import Cluster

FACES = [
    (Truck, SyncTruck),
    (Session, SyncSession),
    (Sessions, SyncSessions),
    (Resources, SyncResources),
    (Cleanups, SyncCleanups),
    (Namespaces, SyncNamespaces),
    (Snapshots, SyncSnapshots),
]
NOT_FOR_USERS = {"attach", "register_anew", "note_release", "call_open", "call_renew"}


@pytest.fixture
def served() -> Iterator[Node]:
    """A scripted node on a loop of its own, as the synchronous side would meet one."""
    started: list[Node] = []
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(done.set))
        async with nodes(1) as running:
            started.extend(running)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10.0)
    yield started[0]
    stop[0]()
    thread.join(10.0)
    assert not thread.is_alive()


@pytest.mark.parametrize(("asynchronous", "synchronous"), FACES)
def test_every_public_name_is_on_both_sides(asynchronous: type, synchronous: type) -> None:
    names = {name for name in dir(asynchronous) if not name.startswith("_")} - NOT_FOR_USERS
    there = {name for name in dir(synchronous) if not name.startswith("_")}
    assert names <= there


@pytest.mark.parametrize("name", ["renew", "release"])
def test_methods_written_by_hand_have_the_signature_of_their_namesake(name: str) -> None:
    parameters = [list(inspect.signature(getattr(side, name)).parameters) for side in (Truck, SyncTruck)]
    assert parameters[0] == parameters[1]


def test_a_lease_tells_the_same_on_both_sides() -> None:
    own = {name for name in vars(Lease) if not name.startswith("_")} - {"guard", "loss"}
    assert own <= {name for name in dir(SyncLease) if not name.startswith("_")}
    assert issubclass(SyncLease, HeldLease)
    lost = {name for name in dir(Lost) if not name.startswith("_")} - {"set", "give_back"}
    assert lost <= {name for name in dir(SyncLost) if not name.startswith("_")}


def test_leases_without_await(served: Node) -> None:
    served.answer("Acquire", acquired())
    served.answer("Renew", lease_pb2.RenewResponse(remaining_ms=30_000))
    served.answer("BatchRenew", lease_pb2.BatchRenewResponse(remaining_ms=[20_000]))
    served.answer("Release", lease_pb2.ReleaseResponse())
    served.answer("BatchRelease", lease_pb2.BatchReleaseResponse(released=1))
    served.answer("GetLease", lease_pb2.GetLeaseResponse(lease=lease()))
    served.answer("GetStatus", cluster_pb2.GetStatusResponse())
    with connect_sync(served.address, namespace="media") as truck:
        taken = truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        assert (taken.id, taken.fencing_token) == ("lease-1", 11)
        assert 29.0 < taken.remaining <= 30.0
        assert not taken.lost.is_set()
        assert not taken.lost.wait(0.01)
        assert truck.renew(taken) > 29.0
        assert truck.renew([taken.id]) == [pytest.approx(20.0, abs=1.0)]
        assert truck.get_lease(taken.id).state == "active"
        truck.release(taken)
        assert truck.release([taken]) == [None]
        assert not truck.status().healthy
        assert truck.in_namespace("other").acquire("a", holder="h", ttl=1.0).resource == "uploads/42"
    assert [request.namespace for request in served.requests("Acquire")] == ["media", "other"]


def test_errors_without_await(served: Node) -> None:
    served.answer("Acquire", acquired())
    served.answer("Renew", refusal(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED"))
    with connect_sync(served.address) as truck:
        taken = truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        with pytest.raises(LeaseEnded):
            truck.renew(taken)
        assert taken.lost.is_set()
        assert taken.lost.wait(5.0)
        assert taken.lost.reason


def hold_until_lost(truck: SyncTruck) -> None:
    with truck.session(holder="resizer-7", ttl=0.3) as session, session.lease("uploads/43") as held:
        assert held.lost.wait(10.0)


def test_a_session_without_await_keeps_itself_alive(served: Node) -> None:
    beats: list[int] = []
    enough = threading.Event()

    async def beat(request: Any, context: Any) -> session_pb2.RenewSessionResponse:
        beats.append(1)
        if len(beats) == 2:
            enough.set()
        return session_pb2.RenewSessionResponse(remaining_ms=1_000)

    opened = session_pb2.Session(id="session-1", ttl_ms=1_000, remaining_ms=1_000)
    served.answer("OpenSession", session_pb2.OpenSessionResponse(session=opened))
    served.answer("RenewSession", beat)
    served.answer("CloseSession", session_pb2.CloseSessionResponse())
    served.answer("Acquire", acquired(session_id="session-1", remaining_ms=1_000))
    served.answer("Release", lease_pb2.ReleaseResponse())
    with connect_sync(served.address) as truck:
        with truck.session(holder="resizer-7", ttl=1.0) as session, session.lease("uploads/43") as held:
            assert enough.wait(10.0)
            assert not held.lost.is_set()
            assert [one.id for one in session.leases] == [held.id]
        assert len(served.requests("Release")) == 1
        assert len(served.requests("CloseSession")) == 1
        served.answer("RenewSession", refusal(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"))
        with pytest.raises(LeaseLost):
            hold_until_lost(truck)


def test_a_session_without_await_goes_on_in_a_restored_cluster(served: Node) -> None:
    cluster, clock = Cluster(ttl_ms=60_000), FakeClock()
    cluster.serve(served)
    with (
        connect_sync(served.address, world=world(clock)) as truck,
        truck.session(holder="resizer-7", ttl=60.0) as session,
    ):
        held = session.acquire("uploads/43")
        before = (session.id, held.id, held.fencing_token)
        cluster.restore()
        clock.advance(25.0)
        assert session.registered_anew() == 1
        assert set(before).isdisjoint((session.id, held.id, held.fencing_token))
        assert not held.lost.is_set()
        assert [one.id for one in session.leases] == [held.id]
        session.release(held)
        assert cluster.released == ["uploads/43"]


def test_lists_and_events_without_await(served: Node) -> None:
    async def stream(request: Any, context: Any) -> AsyncIterator[event_pb2.WatchResponse]:
        yield event_pb2.WatchResponse(events=[event_pb2.Event(index=4)], next_index=5)
        await asyncio.Event().wait()

    served.answer(
        "ListLeases",
        lease_pb2.ListLeasesResponse(leases=[lease(id="a")], next_page_token="more"),
        lease_pb2.ListLeasesResponse(leases=[lease(id="b")]),
    )
    served.answer("Watch", stream)
    with connect_sync(served.address) as truck:
        assert [one.id for one in truck.list_leases()] == ["a", "b"]
        assert [one.id for one in truck.list_leases().page("more").items] == ["b"]
        assert next(iter(truck.watch(from_index=4))).index == 4


def test_no_thread_outlives_a_truck(served: Node) -> None:
    before = set(threading.enumerate())
    with connect_sync(served.address):
        assert len(set(threading.enumerate()) - before) >= 1
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert "garbagetruck-client" not in left


def test_a_portal_that_is_not_running_says_so() -> None:
    async def nothing() -> None:
        return None

    coroutine = nothing()
    with pytest.raises(RuntimeError, match="connect_sync"):
        Portal().run(coroutine)
    coroutine.close()


def test_documentation_is_carried_over() -> None:
    assert inspect.getdoc(SyncTruck.__dict__["acquire"]) == inspect.getdoc(Truck.acquire)
