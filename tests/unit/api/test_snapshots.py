"""ClusterService: snapshots outside the nodes, taken on demand, listed in pages, and read back."""

import grpc
import pytest

from garbagetruck.cluster.api.gateway import (
    FeatureNotEnabled,
    MemberUnreachable,
    NoLeader,
    OperatingError,
    OutcomeUnknown,
    SnapshotNotTaken,
    StorageAbsent,
    StorageAway,
    StorageRefused,
)
from garbagetruck.v1 import cluster_pb2
from tests.unit.api.stand import INVALID, Stand, refusal

UNAVAILABLE, REFUSED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION


async def test_a_snapshot_is_taken_of_the_node_that_is_asked_or_named(api: Stand) -> None:
    create = api.cluster.CreateSnapshot
    taken = (await create(cluster_pb2.CreateSnapshotRequest(request_id="r-1"))).snapshot
    assert taken == cluster_pb2.Snapshot(
        id="s1",
        node_id="n1",
        applied_index=1,
        term=1,
        clock_ms=1_000,
        incarnation=1,
        size_bytes=2_000,
        digest=(1).to_bytes(8, "big"),
        format_version=1,
        created_wall_ms=1_700_000_000_000,
        location="a folder",
        chunks=2,
    )
    named = await create(cluster_pb2.CreateSnapshotRequest(member_id="n3"))
    assert (named.snapshot.node_id, named.header.node_id, named.header.incarnation) == ("n3", "n1", 1)
    await create(cluster_pb2.CreateSnapshotRequest(member_id="n1"))
    assert api.outside.asked == [("n1", "r-1"), ("n3", ""), ("n1", "")]


async def test_i10_a_snapshot_needs_no_leader(api: Stand) -> None:
    api.gateway.failure = NoLeader("nobody leads")
    assert (await api.cluster.CreateSnapshot(cluster_pb2.CreateSnapshotRequest(member_id="n2"))).snapshot.id == "s1"


async def test_a_node_that_is_no_member_has_no_snapshot(api: Stand) -> None:
    told = await refusal(api.cluster.CreateSnapshot(cluster_pb2.CreateSnapshotRequest(member_id="n9")))
    assert (told.code, told.reason, told.bad_fields) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND", ["member_id"])


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (StorageAbsent("none"), REFUSED, "STORAGE_ABSENT"),
        (StorageRefused("a later life writes there"), REFUSED, "STORAGE_REFUSED"),
        (StorageAway("nobody answers"), UNAVAILABLE, "STORAGE_AWAY"),
    ],
)
async def test_whatever_is_wrong_with_the_storage_is_told(
    api: Stand, failure: OperatingError, code: grpc.StatusCode, reason: str
) -> None:
    api.outside.failure = failure
    for call in (
        api.cluster.CreateSnapshot(cluster_pb2.CreateSnapshotRequest()),
        api.cluster.ListSnapshots(cluster_pb2.ListSnapshotsRequest()),
        api.cluster.VerifySnapshot(cluster_pb2.VerifySnapshotRequest(snapshot_id="s1")),
    ):
        told = await refusal(call)
        assert (told.code, told.reason, told.message) == (code, reason, str(failure))
        assert (told.retry is None) == (code is REFUSED)


@pytest.mark.parametrize(
    ("failure", "request_id", "code", "reason"),
    [
        (SnapshotNotTaken("not now"), "", UNAVAILABLE, "SNAPSHOT_NOT_TAKEN"),
        (MemberUnreachable("n3"), "", UNAVAILABLE, "MEMBER_UNREACHABLE"),
        (FeatureNotEnabled("n3 is old"), "", REFUSED, "FEATURE_NOT_ENABLED"),
        (OutcomeUnknown("goes on"), "r-1", UNAVAILABLE, "OUTCOME_UNKNOWN"),
        (OutcomeUnknown("goes on"), "", grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"),
    ],
)
async def test_i11_whatever_keeps_a_snapshot_from_being_taken_is_told(
    api: Stand, failure: OperatingError, request_id: str, code: grpc.StatusCode, reason: str
) -> None:
    api.outside.failure = failure
    request = cluster_pb2.CreateSnapshotRequest(member_id="n3", request_id=request_id)
    told = await refusal(api.cluster.CreateSnapshot(request))
    assert (told.code, told.reason) == (code, reason)


async def test_snapshots_are_listed_in_pages_those_that_go_furthest_first(api: Stand) -> None:
    for number in (3, 12, 7):
        api.outside.keep(number)
    api.outside.keep(1, incarnation=2)
    first = await api.cluster.ListSnapshots(cluster_pb2.ListSnapshotsRequest(page_size=2))
    api.outside.kept = [each for each in api.outside.kept if each.id != "s12"]  # as retention does meanwhile
    api.outside.keep(99)
    request = cluster_pb2.ListSnapshotsRequest(page_size=2, page_token=first.next_page_token)
    second = await api.cluster.ListSnapshots(request)
    assert [each.id for each in (*first.snapshots, *second.snapshots)] == ["s1", "s12", "s7", "s3"]
    assert second.next_page_token == ""


async def test_a_page_token_of_another_list_is_refused(api: Stand) -> None:
    told = await refusal(api.cluster.ListSnapshots(cluster_pb2.ListSnapshotsRequest(page_token="x")))
    assert (told.code, told.bad_fields) == (INVALID, ["page_token"])
    told = await refusal(api.cluster.ListSnapshots(cluster_pb2.ListSnapshotsRequest(page_size=-1)))
    assert (told.code, told.bad_fields) == (INVALID, ["page_size"])


async def verified(api: Stand, snapshot_id: str) -> list[cluster_pb2.VerifySnapshotResponse]:
    request = cluster_pb2.VerifySnapshotRequest(snapshot_id=snapshot_id)
    return [each async for each in api.cluster.VerifySnapshot(request)]


async def test_a_snapshot_is_read_back_to_its_end(api: Stand) -> None:
    api.outside.keep(1)
    first, *_, last = await verified(api, "s1")
    assert (first.done, first.snapshot.id) == (False, "s1")
    assert (last.done, last.damage, last.chunks_verified, last.bytes_verified) == (True, "", 2, 2_000)


async def test_damage_ends_the_reading_and_is_told(api: Stand) -> None:
    api.outside.keep(1)
    api.outside.damaged.add("s1")
    last = (await verified(api, "s1"))[-1]
    assert (last.done, last.damage, last.chunks_verified) == (True, "chunk 1 is not what was written", 1)


async def test_a_snapshot_that_is_not_there_cannot_be_read_back(api: Stand) -> None:
    for snapshot_id, code, reason in (
        ("s1", grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND"),
        ("", INVALID, "INVALID_ARGUMENT"),
    ):
        request = cluster_pb2.VerifySnapshotRequest(snapshot_id=snapshot_id)
        told = await refusal(api.cluster.VerifySnapshot(request))
        assert (told.code, told.reason, told.bad_fields) == (code, reason, ["snapshot_id"])
