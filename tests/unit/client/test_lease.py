"""How long a lease is trusted, by the holder's own clock."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from garbagetruck.client.errors import LeaseEnded, LeaseLost, Unavailable
from garbagetruck.client.lease import Deadline, Described, Lease, Lost
from garbagetruck.client.translate import lease_summary
from garbagetruck.client.world import boottime_ns
from garbagetruck.v1 import lease_pb2
from tests.unit.client.fake_cluster import (
    FakeClock,
    Node,
    acquired,
    lease,
    refusal,
    truck_of,
    unavailable,
)


def renewed(remaining_ms: int) -> lease_pb2.RenewResponse:
    return lease_pb2.RenewResponse(remaining_ms=remaining_ms)


async def test_i1_a_lease_counts_from_the_moment_of_sending(node: Node, clock: FakeClock) -> None:
    async def slow(request: Any, context: Any) -> Message:
        clock.advance(4.0)
        return acquired()

    node.answer("Acquire", slow)
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert taken.remaining == 26.0


async def test_i1_a_lease_counts_from_the_first_attempt_that_may_have_made_it(node: Node, clock: FakeClock) -> None:
    async def lost_answer(request: Any, context: Any) -> Message:
        clock.advance(3.0)
        status = unavailable("OUTCOME_UNKNOWN")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "", (("grpc-status-details-bin", status.SerializeToString()),))
        raise AssertionError

    node.answer("Acquire", lost_answer, acquired())
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert taken.remaining == 27.0


async def test_a_lease_runs_down_and_never_below_zero(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    clock.advance(29.5)
    assert taken.remaining == 0.5
    assert not taken.lost.is_set()
    clock.advance(3600.0)
    assert taken.remaining == 0.0
    assert taken.lost.is_set()
    assert taken.lost.reason


async def test_a_renewal_prolongs_the_lease_that_was_acquired(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Renew", renewed(30_000))
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        clock.advance(20.0)
        assert await truck.renew(taken.id) == 30.0
    assert taken.remaining == 30.0


async def test_a_renewal_with_a_shorter_ttl_shortens_it(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Renew", renewed(5_000))
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        await truck.renew(taken, ttl=5.0)
    assert node.requests("Renew")[0].ttl_ms == 5_000
    assert taken.remaining == 5.0


def test_an_older_answer_that_comes_late_shortens_nothing(clock: FakeClock) -> None:
    deadline = Deadline(clock, 0)
    deadline.extend(clock.now_ns, 30_000)
    deadline.extend(clock.now_ns - 5_000_000_000, 30_000)
    assert deadline.remaining_s == 30.0


async def test_i1_a_read_prolongs_nothing(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("GetLease", lease_pb2.GetLeaseResponse(lease=lease()))
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        clock.advance(20.0)
        read = await truck.get_lease(taken.id)
    assert read.remaining == 30.0
    assert taken.remaining == 10.0


async def test_a_refused_renewal_tells_that_the_lease_is_lost(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer(
        "Renew",
        refusal(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED", metadata={"end_reason": "expired"}),
    )
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        with pytest.raises(LeaseEnded) as caught:
            await truck.renew(taken)
        assert caught.value.metadata["end_reason"] == "expired"
        await taken.lost
    assert taken.remaining == 30.0
    assert taken.lost.is_set()


async def test_a_failed_renewal_loses_nothing(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Renew", unavailable("NO_LEADER", retry_after_ms=60_000))
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        with pytest.raises(Unavailable):
            await truck.renew(taken)
    assert not taken.lost.is_set()


async def test_a_released_lease_is_not_lost(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Release", lease_pb2.ReleaseResponse())
    async with truck_of([node], clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        await truck.release(taken, keep_resource=True)
    clock.advance(60.0)
    assert node.requests("Release")[0].keep_resource
    assert not taken.lost.is_set()


async def test_an_ended_lease_that_was_read_has_nothing_left(node: Node, clock: FakeClock) -> None:
    ended = lease(state=lease_pb2.LEASE_STATE_EXPIRED, remaining_ms=0, end_reason="expired", ended_ms=77)
    node.answer("GetLease", lease_pb2.GetLeaseResponse(lease=ended))
    async with truck_of([node], clock) as truck:
        read = await truck.get_lease("lease-1")
    assert (read.state, read.record.end_reason, read.record.ended_ms) == ("expired", "expired", 77)
    assert read.remaining == 0.0


async def test_who_waits_for_the_loss_is_woken_by_the_clock_alone() -> None:
    deadline = Deadline(boottime_ns, boottime_ns() + 50_000_000)
    async with asyncio.timeout(20.0):
        await Lost(deadline)


async def test_i1_suspend_counts(clock: FakeClock) -> None:
    """The loop's timers stand still while the machine sleeps; whoever waits looks at the clock again soon after."""
    lost = Lost(Deadline(clock, clock.now_ns + 3600 * 1_000_000_000))
    waiting = asyncio.create_task(lost.wait())
    await asyncio.sleep(0)
    clock.advance(7200.0)
    async with asyncio.timeout(20.0):
        await waiting


def held(clock: FakeClock) -> Lease:
    deadline = Deadline(clock, clock.now_ns + 30 * 1_000_000_000)
    return Lease(Described(lease_summary(lease())), deadline, Lost(deadline))


async def test_the_body_of_a_guard_is_cancelled_by_the_loss(clock: FakeClock) -> None:
    mine = held(clock)
    asyncio.get_running_loop().call_soon(mine.lost.set, "an operator released it")
    with pytest.raises(LeaseLost, match="an operator released it"):
        async with mine.guard():
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_guard_leaves_the_body_alone_while_the_lease_holds(clock: FakeClock) -> None:
    async with held(clock).guard():
        await asyncio.sleep(0)


async def test_an_error_of_the_body_passes_through_a_guard(clock: FakeClock) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with held(clock).guard():
            raise TimeoutError("mine")
