"""LeaseService, over a real server and a bare machine."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from garbagetruck.cluster.api.gateway import Consistency
from garbagetruck.cluster.api.lease import LeaseServicer, item_request_id
from garbagetruck.v1 import cleanup_spec_pb2, header_pb2, lease_pb2, resource_pb2, session_pb2
from tests.unit.api.stand import Stand, Told, refusal

FILE = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "uploads/42"})


async def test_an_acquired_lease_is_told_in_full(api: Stand) -> None:
    answer = await api.leases.Acquire(
        lease_pb2.AcquireRequest(
            resource="uploads/42", holder="resizer-7", ttl_ms=30_000, cleanup=FILE, labels={"b": "2", "a": "1"}
        )
    )
    assert answer.lease == lease_pb2.Lease(
        id=f"{1:026d}",
        namespace="default",
        resource="uploads/42",
        holder="resizer-7",
        fencing_token=(1 << 40) + 1,
        ttl_ms=30_000,
        remaining_ms=30_000,
        state=lease_pb2.LEASE_STATE_ACTIVE,
        labels={"a": "1", "b": "2"},
    )
    assert answer.header == header_pb2.ResponseHeader(
        cluster_id="c-1", node_id="n1", leader_id="n1", term=1, applied_index=7, clock_ms=1_000, incarnation=1
    )
    resource = (await api.resources.GetResource(resource_pb2.GetResourceRequest(resource="uploads/42"))).resource
    assert resource.target == "file:/uploads/42"
    assert resource.cleanup == FILE


async def test_i6_an_acquire_repeated_with_its_request_id_gets_the_first_lease(api: Stand) -> None:
    request = lease_pb2.AcquireRequest(request_id="r-1", resource="a", holder="h", ttl_ms=1_000)
    first = await api.leases.Acquire(request)
    second = await api.leases.Acquire(request)
    assert first.lease.id == second.lease.id
    assert api.gateway.machine.summary().leases == 1


async def test_i6_a_batch_repeated_with_its_request_id_is_one_batch_even_where_items_failed(api: Stand) -> None:
    def item(resource: str, ttl_ms: int = 1_000) -> lease_pb2.AcquireItem:
        return lease_pb2.AcquireItem(resource=resource, holder="h", ttl_ms=ttl_ms)

    request = lease_pb2.BatchAcquireRequest(request_id="r-1", items=[item("a"), item("b", ttl_ms=0), item("c")])
    first = await api.leases.BatchAcquire(request)
    second = await api.leases.BatchAcquire(request)
    assert [result.WhichOneof("result") for result in first.results] == ["lease", "error", "lease"]
    assert [result.lease.id for result in first.results] == [result.lease.id for result in second.results]
    assert first.results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [getattr(operation, "request_id", "") for operation in api.gateway.submitted[:2]] == [
        item_request_id("r-1", position) for position in (0, 2)
    ]
    assert api.gateway.machine.summary().leases == 2


async def test_a_batch_answers_each_item_at_its_place(api: Stand) -> None:
    other = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "uploads/43"})
    answer = await api.leases.BatchAcquire(
        lease_pb2.BatchAcquireRequest(
            items=[
                lease_pb2.AcquireItem(resource="a", holder="h", ttl_ms=1_000, cleanup=FILE),
                lease_pb2.AcquireItem(resource="b", holder="h", ttl_ms=1_000, cleanup=FILE),
                lease_pb2.AcquireItem(resource="a", holder="h", ttl_ms=1_000, cleanup=other),
                lease_pb2.AcquireItem(resource="a", holder="g", ttl_ms=1_000, cleanup=FILE),
            ]
        )
    )
    told = [result.WhichOneof("result") for result in answer.results]
    assert told == ["lease", "error", "error", "lease"]
    codes = [result.error.code for result in answer.results if result.HasField("error")]
    assert codes == [grpc.StatusCode.FAILED_PRECONDITION.value[0]] * 2


async def test_a_renewal_tells_what_is_left(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    answer = await api.leases.Renew(lease_pb2.RenewRequest(lease_id=lease.id, ttl_ms=5_000))
    assert answer.remaining_ms == 5_000


async def test_a_renewal_after_the_end_is_refused_and_says_when_and_why(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    api.gateway.apply(at_ms=9_000)
    told = await refusal(api.leases.Renew(lease_pb2.RenewRequest(lease_id=lease.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED")
    assert told.info.metadata["end_reason"] == "expired"
    assert told.info.metadata["ended_ms"] == "9000"


async def test_a_batch_of_renewals_reports_only_the_refused(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    answer = await api.leases.BatchRenew(lease_pb2.BatchRenewRequest(lease_ids=[lease.id, "unknown", lease.id]))
    assert list(answer.remaining_ms) == [1_000, 0, 1_000]
    assert [(error.index, error.status.code) for error in answer.errors] == [(1, grpc.StatusCode.NOT_FOUND.value[0])]


async def test_a_released_lease_may_be_released_again(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    await api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id))
    await api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id))
    ended = (await api.leases.GetLease(lease_pb2.GetLeaseRequest(lease_id=lease.id))).lease
    assert (ended.state, ended.end_reason) == (lease_pb2.LEASE_STATE_RELEASED, "released")


async def test_all_leases_of_a_holder_are_released_by_name(api: Stand) -> None:
    for resource in "abc":
        await api.leases.Acquire(lease_pb2.AcquireRequest(resource=resource, holder="h", ttl_ms=1_000))
    answer = await api.leases.BatchRelease(lease_pb2.BatchReleaseRequest(holder="h"))
    assert (answer.released, answer.remaining) == (3, 0)


async def test_keeping_a_resource_that_others_hold_is_refused(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="g", ttl_ms=1_000))
    told = await refusal(api.leases.Release(lease_pb2.ReleaseRequest(lease_id=lease.id, keep_resource=True)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_HAS_OTHER_HOLDERS")
    assert told.bad_fields == ["keep_resource"]


async def test_a_lease_of_another_namespace_is_not_found(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    told = await refusal(api.leases.GetLease(lease_pb2.GetLeaseRequest(namespace="other", lease_id=lease.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")
    told = await refusal(api.leases.GetLease(lease_pb2.GetLeaseRequest(lease_id="unknown")))
    assert (told.code, told.reason, told.bad_fields) == (grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND", ["lease_id"])


async def test_a_list_goes_through_all_pages_once(api: Stand) -> None:
    for number in range(7):
        await api.leases.Acquire(lease_pb2.AcquireRequest(resource=f"r{number}", holder="h", ttl_ms=1_000))
    seen: list[str] = []
    token = ""
    while True:
        page = await api.leases.ListLeases(lease_pb2.ListLeasesRequest(holder="h", page_size=3, page_token=token))
        seen.extend(lease.resource for lease in page.leases)
        token = page.next_page_token
        if not token:
            break
        assert len(page.leases) == 3
    assert seen == [f"r{number}" for number in range(7)]


async def test_a_page_never_outgrows_what_a_client_receives(api: Stand) -> None:
    labels = {f"k{number:02d}": "v" * 256 for number in range(32)}
    for number in range(600):
        await api.leases.Acquire(
            lease_pb2.AcquireRequest(resource=f"{number:04d}", holder="h", ttl_ms=1_000, labels=labels)
        )
    seen: list[str] = []
    token = ""
    sizes = []
    while True:
        page = await api.leases.ListLeases(lease_pb2.ListLeasesRequest(page_size=1_000, page_token=token))
        sizes.append(page.ByteSize())
        seen.extend(lease.resource for lease in page.leases)
        token = page.next_page_token
        if not token:
            break
    assert len(sizes) == 2
    assert max(sizes) < 4 * 1024 * 1024
    assert seen == [f"{number:04d}" for number in range(600)]


async def test_a_stale_read_asks_nobody_and_tells_its_age(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    request = lease_pb2.GetLeaseRequest(lease_id=lease.id, consistency=header_pb2.READ_CONSISTENCY_STALE)
    assert (await api.leases.GetLease(request)).header.age_ms == 12
    assert api.gateway.reads == [Consistency.STALE]
    assert (await api.leases.GetLease(lease_pb2.GetLeaseRequest(lease_id=lease.id))).header.age_ms == 0
    assert api.gateway.reads == [Consistency.STALE, Consistency.LINEARIZABLE]


async def test_a_lease_in_a_session_needs_no_holder_and_lives_as_long(api: Stand) -> None:
    session = (await api.sessions.OpenSession(session_pb2.OpenSessionRequest(holder="h", ttl_ms=4_000))).session
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", session_id=session.id))).lease
    assert (lease.holder, lease.session_id, lease.ttl_ms, lease.remaining_ms) == ("h", session.id, 4_000, 4_000)
    told = await refusal(api.leases.Acquire(lease_pb2.AcquireRequest(resource="b", holder="g", session_id=session.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HOLDER_MISMATCH")


async def test_a_follower_serves_and_tells_where_the_leader_is(api: Stand) -> None:
    api.gateway.leader_id = "n2"
    call = api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))
    await call
    assert dict(await call.trailing_metadata())["garbagetruck-leader"] == "127.0.0.1:7102"
    api.gateway.leader_id = "n1"
    call = api.leases.Acquire(lease_pb2.AcquireRequest(resource="b", holder="h", ttl_ms=1_000))
    await call
    assert "garbagetruck-leader" not in dict(await call.trailing_metadata())


async def test_a_keep_alive_stream_answers_every_request_in_order(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease

    async def requests() -> AsyncIterator[lease_pb2.KeepAliveRequest]:
        for sequence in range(1, 101):
            ids = [lease.id, "gone"] if sequence == 50 else [lease.id]
            yield lease_pb2.KeepAliveRequest(sequence=sequence, lease_ids=ids)

    answers = [answer async for answer in api.leases.KeepAlive(requests())]
    assert [answer.sequence for answer in answers] == list(range(1, 101))
    assert list(answers[49].remaining_ms) == [1_000, 0]
    assert [error.index for error in answers[49].errors] == [1]
    assert all(list(answer.remaining_ms) == [1_000] for answer in answers[50:])


async def test_a_keep_alive_request_that_fails_as_a_whole_ends_the_stream_after_the_ones_before_it(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    call = api.leases.KeepAlive(
        _stream(
            lease_pb2.KeepAliveRequest(sequence=1, lease_ids=[lease.id]),
            lease_pb2.KeepAliveRequest(sequence=2),
            lease_pb2.KeepAliveRequest(sequence=3, lease_ids=[lease.id]),
        )
    )
    first = await call.read()
    assert isinstance(first, lease_pb2.KeepAliveResponse)
    assert first.sequence == 1
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    told = Told(failed.value)
    assert (told.code, told.bad_fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["lease_ids"])


class PatientContext:
    """A call without a deadline, and without a network that would decide when its messages arrive."""

    def time_remaining(self) -> None:
        return None

    def set_trailing_metadata(self, metadata: object) -> None:
        pass


async def test_requests_that_arrive_during_a_commit_are_renewed_together(api: Stand) -> None:
    lease = (await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))).lease
    before = len(api.gateway.timeouts_s)
    blocked = api.gateway.blocked = asyncio.Event()

    async def requests() -> AsyncIterator[lease_pb2.KeepAliveRequest]:
        yield lease_pb2.KeepAliveRequest(sequence=0, lease_ids=[lease.id])
        await api.gateway.asked(before + 1)
        for sequence in range(1, 20):
            yield lease_pb2.KeepAliveRequest(sequence=sequence, lease_ids=[lease.id])
        blocked.set()  # all have been read by now, and none but the first can have been submitted

    servicer = LeaseServicer(api.door)
    answers = [answer async for answer in servicer.KeepAlive(requests(), PatientContext())]  # type: ignore[arg-type]
    assert [answer.sequence for answer in answers] == list(range(20))
    assert len(api.gateway.timeouts_s) - before == 2


async def _stream(*requests: lease_pb2.KeepAliveRequest) -> AsyncIterator[lease_pb2.KeepAliveRequest]:
    for request in requests:
        yield request
