"""A session keeps itself alive, and says so when it could not."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from garbagetruck.client import Cleanup, Truck
from garbagetruck.client.errors import LeaseLost, SessionLost, Unavailable
from garbagetruck.client.world import boottime_ns
from garbagetruck.v1 import lease_pb2, session_pb2
from tests.unit.client.fake_cluster import Node, acquired, hang, refusal, truck_of, unavailable

SESSION_ENDED = refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_ENDED")


class Beats:
    """Answers heartbeats, and lets a test wait for them."""

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms = ttl_ms
        self.count = 0
        self._beat = asyncio.Event()

    async def __call__(self, request: Any, context: Any) -> Message:
        self.count += 1
        self._beat.set()
        return session_pb2.RenewSessionResponse(remaining_ms=self.ttl_ms)

    async def wait_for(self, count: int) -> None:
        while self.count < count:
            self._beat.clear()
            await self._beat.wait()


def serve_session(node: Node, ttl_ms: int) -> Beats:
    """Let a node open, renew and close sessions, and grant and release leases in them."""
    beats = Beats(ttl_ms)
    opened = session_pb2.Session(id="session-1", holder="resizer-7", ttl_ms=ttl_ms, remaining_ms=ttl_ms)
    node.answer("OpenSession", session_pb2.OpenSessionResponse(session=opened))
    node.answer("RenewSession", beats)
    node.answer("CloseSession", session_pb2.CloseSessionResponse())
    node.answer("Acquire", acquired(session_id="session-1", ttl_ms=ttl_ms, remaining_ms=ttl_ms))
    node.answer("Release", lease_pb2.ReleaseResponse())
    return beats


def heartbeats() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("heartbeat")]


def truck_to(*nodes: Node, timeout: float = 5.0) -> Truck:
    return truck_of(list(nodes), boottime_ns, timeout=timeout)


async def test_a_session_is_opened_renewed_and_closed(node: Node) -> None:
    beats = serve_session(node, 1_000)
    async with (
        truck_to(node) as truck,
        asyncio.timeout(10.0),
        truck.session(ttl=1.0, holder="resizer-7") as session,
    ):
        assert (session.id, session.holder, session.ttl) == ("session-1", "resizer-7", 1.0)
        await beats.wait_for(3)
        assert 0 < session.remaining <= 1.0
        assert not session.lost.is_set()
    assert node.requests("OpenSession")[0].ttl_ms == 1_000
    assert node.requests("CloseSession")[0].session_id == "session-1"
    assert {request.session_id for request in node.requests("RenewSession")} == {"session-1"}


async def test_one_heartbeat_serves_all_leases(node: Node) -> None:
    beats = serve_session(node, 1_000)
    node.answer(
        "Acquire",
        *(acquired(id=f"lease-{number}", session_id="session-1", remaining_ms=1_000) for number in range(3)),
    )
    async with (
        truck_to(node) as truck,
        asyncio.timeout(10.0),
        truck.session(ttl=1.0, holder="resizer-7") as session,
    ):
        leases = [await session.acquire(f"uploads/{number}") for number in range(3)]
        await beats.wait_for(3)
        assert all(lease.remaining == pytest.approx(session.remaining, abs=0.01) for lease in leases)
        assert session.leases == tuple(leases)
    assert not any(lease.lost.is_set() for lease in leases)


async def test_a_lease_in_a_session_is_released_at_the_end_of_its_body(node: Node) -> None:
    serve_session(node, 10_000)
    async with truck_to(node) as truck, truck.session(ttl=10.0, holder="resizer-7") as session:
        async with session.lease("uploads/43", cleanup=Cleanup("file", path="uploads/43")) as lease:
            assert lease.fencing_token == 11
            assert not node.requests("Release")
        assert node.requests("Release")[0].lease_id == lease.id
        assert session.leases == ()
    request = node.requests("Acquire")[0]
    assert (request.session_id, request.ttl_ms, request.holder) == ("session-1", 0, "")
    assert request.cleanup.parameters["path"] == "uploads/43"


async def test_a_resource_is_kept_only_when_the_body_succeeds(node: Node) -> None:
    serve_session(node, 10_000)
    async with truck_to(node) as truck, truck.session(ttl=10.0, holder="resizer-7") as session:
        async with session.lease("uploads/43", keep_resource=True):
            pass
        with pytest.raises(ZeroDivisionError):
            async with session.lease("uploads/44", keep_resource=True):
                raise ZeroDivisionError
    assert [request.keep_resource for request in node.requests("Release")] == [True, False]


async def test_i1_a_session_outlives_the_loss_of_an_endpoint(three: list[Node]) -> None:
    first = serve_session(three[0], 2_000)
    others = [serve_session(node, 2_000) for node in three[1:]]
    async with (
        truck_to(*three) as truck,
        asyncio.timeout(20.0),
        truck.session(ttl=2.0, holder="resizer-7") as session,
        session.lease("uploads/43") as lease,
    ):
        await first.wait_for(1)
        await three[0].stop()
        await others[0].wait_for(2)
        three[1].answer("RenewSession", hang)
        await others[1].wait_for(2)
        assert not lease.lost.is_set()
    assert not session.lost.is_set()


async def test_a_heartbeat_goes_on_while_there_is_no_leader(node: Node) -> None:
    beats = serve_session(node, 1_000)
    refused = unavailable("NO_LEADER", retry_after_ms=20)
    node.answer("RenewSession", refused, refused, refused, beats)
    async with (
        truck_to(node) as truck,
        asyncio.timeout(10.0),
        truck.session(ttl=1.0, holder="resizer-7") as session,
    ):
        await beats.wait_for(2)
        assert not session.lost.is_set()


async def test_a_refusal_that_is_no_end_is_tried_again_until_the_ttl_is_over(node: Node) -> None:
    beats = serve_session(node, 1_000)
    node.answer("RenewSession", refusal(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"), beats)
    async with (
        truck_to(node) as truck,
        asyncio.timeout(10.0),
        truck.session(ttl=1.0, holder="resizer-7") as session,
    ):
        await beats.wait_for(1)
        assert not session.lost.is_set()


async def test_when_the_cluster_ends_a_session_all_its_leases_are_lost(node: Node) -> None:
    serve_session(node, 300)
    node.answer("RenewSession", SESSION_ENDED)

    async def hold(truck: Truck) -> None:
        async with truck.session(ttl=0.3, holder="resizer-7") as session:
            lease = await session.acquire("uploads/43")
            await lease.lost
            assert session.lost.is_set()
            assert "session" in lease.lost.reason

    async with truck_to(node) as truck, asyncio.timeout(10.0):
        with pytest.raises(SessionLost, match="SESSION_ENDED"):
            await hold(truck)
    assert not node.requests("CloseSession")


async def test_i1_a_session_is_lost_when_its_time_is_over_here_whatever_the_network_does(node: Node) -> None:
    serve_session(node, 400)
    node.answer("RenewSession", hang)
    loop = asyncio.get_running_loop()

    async def hold(truck: Truck) -> None:
        opened_at = loop.time()
        async with truck.session(ttl=0.4, holder="resizer-7") as session:
            lease = await session.acquire("uploads/43")
            await lease.lost
            assert loop.time() - opened_at >= 0.35
            assert session.remaining == 0.0

    async with truck_to(node) as truck, asyncio.timeout(10.0):
        with pytest.raises(SessionLost, match="its time is over"):
            await hold(truck)


async def test_a_body_that_is_guarded_ends_with_its_lease(node: Node) -> None:
    serve_session(node, 300)
    node.answer("RenewSession", SESSION_ENDED)
    async with truck_to(node) as truck, asyncio.timeout(10.0):
        with pytest.raises(LeaseLost):
            async with (
                truck.session(ttl=0.3, holder="resizer-7") as session,
                session.lease("uploads/43") as lease,
                lease.guard(),
            ):
                await asyncio.Event().wait()
    assert not node.requests("Release")


async def test_leaving_a_lost_lease_in_silence_is_an_error(node: Node) -> None:
    serve_session(node, 10_000)
    async with truck_to(node) as truck, truck.session(ttl=10.0, holder="resizer-7") as session:
        with pytest.raises(LeaseLost, match="an operator"):
            async with session.lease("uploads/43") as lease:
                lease.lost.set("an operator released it")


async def test_the_error_of_the_body_matters_more_than_that_of_closing(node: Node) -> None:
    serve_session(node, 10_000)
    node.answer("Release", unavailable("NO_LEADER"))
    node.answer("CloseSession", unavailable("NO_LEADER"))
    async with truck_to(node, timeout=0.2) as truck:
        with pytest.raises(ZeroDivisionError) as caught:
            async with truck.session(ttl=10.0, holder="resizer-7") as session, session.lease("uploads/43"):
                raise ZeroDivisionError
    assert len(caught.value.__notes__) == 2


async def test_a_session_that_cannot_be_closed_says_so(node: Node) -> None:
    serve_session(node, 10_000)
    node.answer("CloseSession", unavailable("NO_LEADER"))
    async with truck_to(node, timeout=0.2) as truck:
        with pytest.raises(Unavailable):
            async with truck.session(ttl=10.0, holder="resizer-7"):
                pass


async def test_a_session_that_cannot_be_opened_leaves_nothing_behind(node: Node) -> None:
    node.answer("OpenSession", unavailable("NO_LEADER"))
    async with truck_to(node, timeout=0.2) as truck:
        with pytest.raises(Unavailable):
            async with truck.session(ttl=10.0, holder="resizer-7"):
                pass
    assert not heartbeats()


async def test_no_heartbeat_outlives_its_session(node: Node) -> None:
    serve_session(node, 10_000)
    async with truck_to(node) as truck:
        async with truck.session(ttl=10.0, holder="resizer-7"):
            assert heartbeats() == ["heartbeat of session session-1"]
        assert not heartbeats()


async def test_a_bug_in_the_heartbeat_is_seen_and_loses_the_session(node: Node) -> None:
    serve_session(node, 300)

    async def broken() -> None:
        raise ZeroDivisionError

    async def hold(truck: Truck) -> None:
        async with truck.session(ttl=0.3, holder="resizer-7") as session:
            session._beat = broken  # type: ignore[method-assign]
            lease = await session.acquire("uploads/43")
            await lease.lost
            assert session.lost.reason == "its heartbeat has stopped"

    async with truck_to(node) as truck, asyncio.timeout(10.0):
        with pytest.raises(ZeroDivisionError):
            await hold(truck)
