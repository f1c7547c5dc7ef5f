"""Many leases in one call, and lists of them."""

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from garbagetruck.client import Cleanup, Lease, LeaseRequest
from garbagetruck.client.errors import LeaseEnded, LeaseNotFound, QuotaExceeded, ResourceHasOtherHolders
from garbagetruck.v1 import lease_pb2
from tests.unit.client.fake_cluster import FakeClock, Node, acquired, lease, refusal, truck_of

ENDED = refusal(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED")


async def test_a_batch_of_acquires_is_answered_item_by_item(node: Node, clock: FakeClock) -> None:
    full = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    node.answer(
        "BatchAcquire",
        lease_pb2.BatchAcquireResponse(
            results=[lease_pb2.AcquireResult(lease=lease()), lease_pb2.AcquireResult(error=full)]
        ),
    )
    wanted = [
        LeaseRequest(resource="a", holder="h", ttl=1.5, cleanup=Cleanup("file", path="a"), grace=0.0),
        LeaseRequest(resource="b", session_id="s"),
    ]
    async with truck_of([node], clock) as truck:
        first, second = await truck.acquire_many(wanted)
    assert isinstance(first, Lease)
    assert first.remaining == 30.0
    assert isinstance(second, QuotaExceeded)
    one, two = node.requests("BatchAcquire")[0].items
    assert (one.resource, one.ttl_ms, one.cleanup.handler) == ("a", 1_500, "file")
    assert dict(one.cleanup.parameters) == {"path": "a"}
    assert one.HasField("grace_ms")
    assert (two.session_id, two.HasField("cleanup"), two.HasField("grace_ms")) == ("s", False, False)


async def test_batches_are_cut_to_what_the_api_takes(node: Node, clock: FakeClock) -> None:
    async def renew(request: Any, context: Any) -> Message:
        return lease_pb2.BatchRenewResponse(remaining_ms=[1_000] * len(request.lease_ids))

    node.answer("BatchRenew", renew)
    async with truck_of([node], clock) as truck:
        results = await truck.renew([f"lease-{number}" for number in range(2_500)])
    assert results == [1.0] * 2_500
    assert [len(request.lease_ids) for request in node.requests("BatchRenew")] == [1_000, 1_000, 500]
    assert len({request.request_id for request in node.requests("BatchRenew")}) == 3


async def test_an_empty_batch_asks_nobody(node: Node, clock: FakeClock) -> None:
    async with truck_of([node], clock) as truck:
        assert await truck.renew([]) == []
        assert await truck.release([]) == []
        assert await truck.acquire_many([]) == []
    assert not node.calls


async def test_a_batch_of_renewals_tells_each_its_own(node: Node, clock: FakeClock) -> None:
    response = lease_pb2.BatchRenewResponse(remaining_ms=[30_000, 0])
    response.errors.add(index=1, status=ENDED)
    node.answer("Acquire", acquired(id="a"), acquired(id="b"))
    node.answer("BatchRenew", response)
    async with truck_of([node], clock) as truck:
        kept = await truck.acquire("a", holder="h", ttl=30.0)
        over = await truck.acquire("b", holder="h", ttl=30.0)
        clock.advance(10.0)
        left, error = await truck.renew([kept, over])
    assert left == 30.0
    assert isinstance(error, LeaseEnded)
    assert kept.remaining == 30.0
    assert not kept.lost.is_set()
    assert over.lost.is_set()


async def test_a_batch_of_releases_tells_each_its_own(node: Node, clock: FakeClock) -> None:
    response = lease_pb2.BatchReleaseResponse(released=1)
    response.errors.add(index=0, status=refusal(grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND"))
    node.answer("BatchRelease", response)
    async with truck_of([node], clock) as truck:
        error, done = await truck.release(["a", "b"], keep_resource=True)
    assert isinstance(error, LeaseNotFound)
    assert done is None
    assert node.requests("BatchRelease")[0].keep_resource


async def test_a_refused_release_changes_nothing_here(node: Node, clock: FakeClock) -> None:
    node.answer("Acquire", acquired())
    node.answer("Release", refusal(grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_HAS_OTHER_HOLDERS"))
    async with truck_of([node], clock) as truck:
        mine = await truck.acquire("a", holder="h", ttl=30.0)
        with pytest.raises(ResourceHasOtherHolders):
            await truck.release(mine, keep_resource=True)
    assert not mine.lost.is_set()
    clock.advance(60.0)
    assert mine.lost.is_set()


async def test_all_leases_of_a_holder_are_released_however_many(node: Node, clock: FakeClock) -> None:
    node.answer(
        "BatchRelease",
        lease_pb2.BatchReleaseResponse(released=1_000, remaining=5),
        lease_pb2.BatchReleaseResponse(released=5, remaining=0),
    )
    async with truck_of([node], clock) as truck:
        assert await truck.release_holder("resizer-7") == 1_005
    first, second = node.requests("BatchRelease")
    assert first.holder == second.holder == "resizer-7"
    assert first.request_id != second.request_id


async def test_a_list_goes_through_all_pages(node: Node, clock: FakeClock) -> None:
    node.answer(
        "ListLeases",
        lease_pb2.ListLeasesResponse(leases=[lease(id="a"), lease(id="b")], next_page_token="more"),
        lease_pb2.ListLeasesResponse(leases=[], next_page_token="still more"),
        lease_pb2.ListLeasesResponse(leases=[lease(id="c")]),
    )
    async with truck_of([node], clock) as truck:
        listed = [found.id async for found in truck.list_leases(holder="h", labels={"k": "v"}, page_size=2)]
    assert listed == ["a", "b", "c"]
    requests = node.requests("ListLeases")
    assert [request.page_token for request in requests] == ["", "more", "still more"]
    assert {(request.holder, request.page_size, request.labels["k"]) for request in requests} == {("h", 2, "v")}


async def test_one_page_can_be_had_by_itself(node: Node, clock: FakeClock) -> None:
    node.answer("ListLeases", lease_pb2.ListLeasesResponse(leases=[lease(id="a")], next_page_token="more"))
    async with truck_of([node], clock) as truck:
        page = await truck.list_leases().page("here")
    assert [found.id for found in page.items] == ["a"]
    assert page.next_page_token == "more"
    assert node.requests("ListLeases")[0].page_token == "here"
