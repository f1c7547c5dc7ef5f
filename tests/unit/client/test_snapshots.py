"""Snapshots outside the nodes, as a caller in Python sees them."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from garbagetruck.client import Truck
from garbagetruck.client.errors import OutcomeUnknown, SnapshotNotFound, StorageAbsent, Unavailable
from garbagetruck.client.world import boottime_ns
from garbagetruck.v1 import cluster_pb2, header_pb2
from tests.unit.client.fake_cluster import Node, refusal, truck_of, unavailable

TAKEN = cluster_pb2.Snapshot(id="s1", node_id="n2", applied_index=41, size_bytes=2_000, chunks=2, location="a folder")


@pytest.fixture
async def truck(node: Node) -> AsyncIterator[Truck]:
    node.answer("GetStatus", cluster_pb2.GetStatusResponse(header=header_pb2.ResponseHeader(node_id="n2")))
    node.answer("CreateSnapshot", cluster_pb2.CreateSnapshotResponse(snapshot=TAKEN))
    async with truck_of([node], boottime_ns, timeout=0.1) as connected:
        yield connected


async def test_i6_a_snapshot_is_asked_for_of_one_node_however_often_that_is_repeated(node: Node, truck: Truck) -> None:
    goes_on = unavailable("OUTCOME_UNKNOWN", retry_after_ms=1)
    node.answer("CreateSnapshot", *([goes_on] * 20), cluster_pb2.CreateSnapshotResponse(snapshot=TAKEN))
    taken = await truck.snapshots.create()
    assert (taken.id, taken.applied_index, taken.chunks, taken.location) == ("s1", 41, 2, "a folder")
    asked = {(request.request_id, request.member_id) for request in node.requests("CreateSnapshot")}
    assert asked == {("request-1", "n2")}
    assert len(node.requests("CreateSnapshot")) == 21, "far longer than one call may take"


async def test_a_named_node_is_asked_for_its_own(node: Node, truck: Truck) -> None:
    await truck.snapshots.create("n3", request_id="mine")
    (request,) = node.requests("CreateSnapshot")
    assert (request.member_id, request.request_id) == ("n3", "mine")
    assert not node.requests("GetStatus")


async def test_what_is_not_there_in_time_is_unknown(node: Node, truck: Truck) -> None:
    node.answer("CreateSnapshot", unavailable("OUTCOME_UNKNOWN", retry_after_ms=1))
    with pytest.raises(OutcomeUnknown):
        await truck.snapshots.create("n3", patience=0.2)
    node.answer("CreateSnapshot", unavailable("STORAGE_AWAY", retry_after_ms=1))
    with pytest.raises(Unavailable):
        await truck.snapshots.create("n3")
    node.answer("CreateSnapshot", refusal(grpc.StatusCode.FAILED_PRECONDITION, "STORAGE_ABSENT"))
    with pytest.raises(StorageAbsent):
        await truck.snapshots.create("n3")


async def test_snapshots_are_listed_page_by_page(node: Node, truck: Truck) -> None:
    node.answer(
        "ListSnapshots",
        cluster_pb2.ListSnapshotsResponse(snapshots=[TAKEN], next_page_token="more"),
        cluster_pb2.ListSnapshotsResponse(snapshots=[cluster_pb2.Snapshot(id="s0")]),
    )
    assert [each.id async for each in truck.snapshots.list(page_size=1)] == ["s1", "s0"]
    assert [(each.page_size, each.page_token) for each in node.requests("ListSnapshots")] == [(1, ""), (1, "more")]


async def test_how_far_a_snapshot_was_read_back_is_told_up_to_the_last_word(node: Node, truck: Truck) -> None:
    async def stream(request: Any, context: Any) -> AsyncIterator[cluster_pb2.VerifySnapshotResponse]:
        assert request.snapshot_id == "s1"
        yield cluster_pb2.VerifySnapshotResponse(snapshot=TAKEN, chunks_verified=1, bytes_verified=1_000)
        yield cluster_pb2.VerifySnapshotResponse(snapshot=TAKEN, chunks_verified=1, done=True, damage="chunk 1")

    node.answer("VerifySnapshot", stream)
    first, last = [each async for each in truck.snapshots.verify("s1")]
    assert (first.chunks_verified, first.bytes_verified, first.done) == (1, 1_000, False)
    assert (last.snapshot.chunks, last.done, last.damage) == (2, True, "chunk 1")
    node.answer("VerifySnapshot", refusal(grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND"))
    with pytest.raises(SnapshotNotFound):
        await anext(truck.snapshots.verify("s1"))
