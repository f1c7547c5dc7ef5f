"""One call through the failure of nodes: fail-over, repetition, and what is known at the end."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from garbagetruck.client import connect
from garbagetruck.client.errors import (
    DeadlineExceeded,
    FeatureNotBuilt,
    LeaseNotFound,
    OutcomeUnknown,
    ResourceBeingCleaned,
    Unavailable,
)
from garbagetruck.v1 import header_pb2, lease_pb2, resource_pb2
from tests.unit.client.fake_cluster import (
    FakeClock,
    Node,
    acquired,
    hang,
    lease,
    refusal,
    truck_of,
    unavailable,
)


async def test_a_call_goes_to_the_next_endpoint_when_one_is_gone(three: list[Node], clock: FakeClock) -> None:
    await three[0].stop()
    three[1].answer("Acquire", acquired())
    async with truck_of(three, clock) as truck:
        taken = await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        await truck.acquire("uploads/43", holder="resizer-7", ttl=30.0)
    assert taken.id == "lease-1"
    assert len(three[1].requests("Acquire")) == 2


async def test_a_request_says_what_the_caller_said(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    async with truck_of([node], clock, namespace="media") as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=0.25, grace=0.0, labels={"a": "b"})
    request = node.requests("Acquire")[0]
    assert request.namespace == "media"
    assert (request.resource, request.holder, request.ttl_ms) == ("uploads/42", "resizer-7", 250)
    assert request.HasField("grace_ms")
    assert request.grace_ms == 0
    assert not request.HasField("cleanup")
    assert dict(request.labels) == {"a": "b"}


async def test_i6_a_repetition_is_the_same_request(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", unavailable("OUTCOME_UNKNOWN"))
    three[1].answer("Acquire", unavailable("NO_QUORUM"))
    three[2].answer("Acquire", acquired())
    async with truck_of(three, clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    first, second, third = (node.requests("Acquire")[0] for node in three)
    assert first.request_id == "request-1"
    assert first == second == third


async def test_i6_every_mutation_bears_an_id_of_its_own(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Renew", lease_pb2.RenewResponse(remaining_ms=1))
    node.answer("Hold", resource_pb2.HoldResponse(hold_id="h"))
    async with truck_of([node], clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, request_id="mine")
        await truck.renew("lease-1")
        await truck.resources.hold("uploads/42", reason="audit")
    assert [request.request_id for _, request in node.calls] == ["mine", "request-1", "request-2"]


async def test_a_connection_that_breaks_in_the_middle_is_repeated_elsewhere(
    three: list[Node], clock: FakeClock
) -> None:
    async def die(request: Any, context: Any) -> Message:
        task = asyncio.create_task(three[0].stop())
        await asyncio.Event().wait()
        await task
        raise AssertionError

    three[0].answer("Acquire", die)
    three[1].answer("Acquire", acquired())
    async with truck_of(three, clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert three[1].requests("Acquire") == three[0].requests("Acquire")


async def test_a_node_that_hangs_costs_only_its_share(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", hang)
    three[1].answer("Acquire", acquired())
    async with truck_of(three, clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=1.5)
    assert three[1].requests("Acquire")[0].request_id == "request-1"


async def test_an_unknown_outcome_is_called_unknown_at_the_deadline(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", unavailable("OUTCOME_UNKNOWN"), unavailable("NO_LEADER"))
    async with truck_of([node], clock) as truck:
        with pytest.raises(OutcomeUnknown) as caught:
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=0.3)
    assert caught.value.reason == "OUTCOME_UNKNOWN"
    assert len(node.calls) > 1


async def test_silence_after_a_mutation_is_an_unknown_outcome(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", hang)
    async with truck_of([node], clock) as truck:
        with pytest.raises(OutcomeUnknown):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=0.2)


async def test_silence_after_a_read_is_an_exceeded_deadline(node: Node, clock: FakeClock) -> None:
    node.answer("GetLease", hang)
    async with truck_of([node], clock) as truck:
        with pytest.raises(DeadlineExceeded) as caught:
            await truck.get_lease("lease-1", timeout=0.2)
    assert isinstance(caught.value, TimeoutError)


async def test_what_was_certainly_not_applied_is_unavailable(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", unavailable("NO_LEADER", retry_after_ms=50))
    async with truck_of([node], clock) as truck:
        with pytest.raises(Unavailable) as caught:
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=0.3)
    assert caught.value.reason == "NO_LEADER"


async def test_nobody_there_is_unavailable_and_not_unknown(three: list[Node], clock: FakeClock) -> None:
    for node in three:
        await node.stop()
    async with truck_of(three, clock) as truck:
        with pytest.raises(Unavailable):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=0.3)


async def test_unavailable_without_a_reason_may_have_been_applied(node: Node, clock: FakeClock) -> None:
    async def proxy_gives_up(request: Any, context: Any) -> Message:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        raise AssertionError

    node.answer("Acquire", proxy_gives_up)
    async with truck_of([node], clock) as truck:
        with pytest.raises(OutcomeUnknown):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0, timeout=0.2)


async def test_an_unknown_outcome_without_a_promise_is_not_repeated(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", refusal(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"))
    async with truck_of([node], clock) as truck:
        with pytest.raises(OutcomeUnknown):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert len(node.calls) == 1


async def test_i11_a_refusal_is_final_and_comes_with_everything(three: list[Node], clock: FakeClock) -> None:
    three[0].answer(
        "Acquire",
        refusal(grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_BEING_CLEANED", retry_after_ms=700),
    )
    async with truck_of(three, clock) as truck:
        with pytest.raises(ResourceBeingCleaned) as caught:
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert caught.value.retry_after_s == 0.7
    assert len(three[0].calls) == 1
    assert not three[1].calls


async def test_a_refusal_after_an_unknown_outcome_decides(node: Node, clock: FakeClock) -> None:
    node.answer("GetLease", unavailable("NO_QUORUM"), refusal(grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND"))
    async with truck_of([node], clock) as truck:
        with pytest.raises(LeaseNotFound):
            await truck.get_lease("lease-1")


async def test_a_request_too_old_after_an_unknown_outcome_stays_unknown(node: Node, clock: FakeClock) -> None:
    node.answer(
        "Acquire",
        unavailable("OUTCOME_UNKNOWN"),
        refusal(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_TOO_OLD"),
    )
    async with truck_of([node], clock) as truck:
        with pytest.raises(OutcomeUnknown):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)


async def test_the_delay_that_the_server_asks_for_is_kept(node: Node, clock: FakeClock) -> None:
    node.answer("GetLease", unavailable("OVERLOADED", retry_after_ms=200), lease_pb2.GetLeaseResponse(lease=lease()))
    loop = asyncio.get_running_loop()
    async with truck_of([node], clock) as truck:
        before = loop.time()
        await truck.get_lease("lease-1")
    assert loop.time() - before >= 0.2


@pytest.mark.parametrize("reason", ["NOT_LEADER", "DRAINING", "STARTING"])
async def test_a_node_that_cannot_is_left_at_once_for_another(three: list[Node], clock: FakeClock, reason: str) -> None:
    three[0].answer("GetLease", unavailable(reason, retry_after_ms=60_000))
    three[1].answer("GetLease", lease_pb2.GetLeaseResponse(lease=lease()))
    async with truck_of(three, clock) as truck:
        await truck.get_lease("lease-1")
    assert len(three[1].calls) == 1


async def test_a_delay_beyond_the_deadline_is_not_waited_for(node: Node, clock: FakeClock) -> None:
    node.answer("GetLease", unavailable("OVERLOADED", retry_after_ms=60_000))
    async with truck_of([node], clock) as truck, asyncio.timeout(2.0):
        with pytest.raises(Unavailable):
            await truck.get_lease("lease-1", timeout=5.0)


async def test_a_node_that_names_the_leader_is_followed(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", unavailable("NOT_LEADER", metadata={"leader": three[2].address}))
    three[2].answer("Acquire", acquired())
    async with truck_of(three, clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert not three[1].calls


async def test_the_leader_that_an_answer_names_is_asked_next(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", acquired())
    three[0].trailing = (("garbagetruck-leader", three[2].address),)
    three[2].answer("Acquire", acquired())
    async with truck_of(three, clock, prefer_leader=True) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        await truck.acquire("uploads/43", holder="resizer-7", ttl=30.0)
    assert [len(each.calls) for each in three] == [1, 0, 1]


async def test_a_node_that_answers_is_not_left_for_one_that_was_not_configured(
    three: list[Node], clock: FakeClock
) -> None:
    three[0].answer("Acquire", acquired())
    three[0].trailing = (("garbagetruck-leader", three[2].address),)
    async with truck_of(three[:1], clock, prefer_leader=True) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
        await truck.acquire("uploads/43", holder="resizer-7", ttl=30.0)
    assert len(three[0].calls) == 2


async def test_a_node_that_refuses_to_lead_teaches_who_does(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", unavailable("NOT_LEADER", metadata={"leader": three[2].address}))
    three[2].answer("Acquire", acquired())
    async with truck_of(three[:1], clock) as truck:
        await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert len(three[2].calls) == 1


async def test_a_leader_that_is_out_of_reach_is_not_tried_again_at_once(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Acquire", acquired())
    three[0].trailing = (("garbagetruck-leader", three[2].address),)
    await three[2].stop()
    async with truck_of([three[0], three[2]], clock, prefer_leader=True) as truck:
        for _ in range(3):
            await truck.acquire("uploads/42", holder="resizer-7", ttl=30.0)
    assert len(three[0].calls) == 3


async def test_reads_are_linearizable_unless_asked_otherwise(node: Node, clock: FakeClock) -> None:
    node.answer("GetLease", lease_pb2.GetLeaseResponse(lease=lease()))
    async with truck_of([node], clock) as truck:
        await truck.get_lease("lease-1")
        await truck.get_lease("lease-1", stale=True)
    fresh, stale = node.requests("GetLease")
    assert fresh.consistency == header_pb2.READ_CONSISTENCY_LINEARIZABLE
    assert stale.consistency == header_pb2.READ_CONSISTENCY_STALE


async def test_a_feature_that_is_not_built_says_so(node: Node, clock: FakeClock) -> None:
    node.answer("ListMembers", refusal(grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_BUILT"))
    async with truck_of([node], clock) as truck:
        with pytest.raises(FeatureNotBuilt):
            await truck.members()


@pytest.mark.parametrize(
    "endpoints", ["", " , ", "localhost", ":7101", "host:", "host:0", "host:65536", "host:seven", "http://host:7101"]
)
def test_endpoints_that_are_none_are_refused_at_once(endpoints: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        connect(endpoints)


async def test_a_truck_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await connect("127.0.0.1:1").get_lease("x")
