"""Bad input never reaches the machine: each kind has its status and its field, and leaves no trace."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from garbagetruck.v1 import (
    cleanup_pb2,
    cleanup_spec_pb2,
    event_pb2,
    lease_pb2,
    namespace_pb2,
    resource_pb2,
    session_pb2,
)
from tests.unit.api.stand import INVALID, Stand, bad_fields, refusal

Acquire = lease_pb2.AcquireRequest
FILE = {"path": "a"}
INT64_MAX = 2**63 - 1


def acquire(**fields: Any) -> Acquire:
    given: dict[str, Any] = {"resource": "r", "holder": "h", "ttl_ms": 1_000} | fields
    return Acquire(**given)


def cleanup(handler: str = "file", **parameters: str) -> cleanup_spec_pb2.CleanupSpec:
    return cleanup_spec_pb2.CleanupSpec(handler=handler, parameters=parameters)


BAD_ACQUIRES = [
    ("resource", acquire(resource="")),
    ("resource", acquire(resource="x" * 1_025)),
    ("resource", acquire(resource="€" * 342)),
    ("resource", acquire(resource="a\nb")),
    ("resource", acquire(resource="a\0b")),
    ("holder", acquire(holder="")),
    ("holder", acquire(holder="x" * 257)),
    ("holder", acquire(holder="\x7f")),
    ("ttl_ms", acquire(ttl_ms=0)),
    ("ttl_ms", acquire(ttl_ms=-1)),
    ("ttl_ms", acquire(ttl_ms=99)),
    ("ttl_ms", acquire(ttl_ms=INT64_MAX)),
    ("ttl_ms", acquire(ttl_ms=-(2**63))),
    ("ttl_ms", acquire(ttl_ms=30 * 24 * 3_600_000 + 1)),
    ("ttl_ms", acquire(ttl_ms=1_000, session_id="s")),
    ("session_id", acquire(ttl_ms=0, session_id="s" * 65)),
    ("request_id", acquire(request_id="x" * 129)),
    ("request_id", acquire(request_id="a\tb")),
    ("grace_ms", acquire(grace_ms=-1)),
    ("grace_ms", acquire(grace_ms=INT64_MAX)),
    ("labels", acquire(labels={str(number): "v" for number in range(33)})),
    ("labels.key", acquire(labels={"": "v"})),
    ("labels.key", acquire(labels={"k" * 65: "v"})),
    ("labels[k]", acquire(labels={"k": "v" * 257})),
    ("cleanup.handler", acquire(cleanup=cleanup("shell", command="rm -rf /"))),
    ("cleanup.handler", acquire(cleanup=cleanup("", path="a"))),
    ("cleanup.parameters[path]", acquire(cleanup=cleanup())),
    ("cleanup.parameters[mode]", acquire(cleanup=cleanup(path="a", mode="0777"))),
    ("cleanup.parameters[path]", acquire(cleanup=cleanup(path="x" * 4_097))),
    ("namespace", acquire(namespace="x" * 1_000)),
]


@pytest.mark.parametrize(
    ("field", "request_"), BAD_ACQUIRES, ids=[f"{field}-{i}" for i, (field, _) in enumerate(BAD_ACQUIRES)]
)
async def test_an_acquire_out_of_bounds_is_refused_with_its_field(api: Stand, field: str, request_: Acquire) -> None:
    with api.untouched():
        told = await refusal(api.leases.Acquire(request_))
    assert told.code is INVALID
    assert told.bad_fields == [field]
    assert told.message


@pytest.mark.parametrize(
    ("field", "request_"), BAD_ACQUIRES, ids=[f"{field}-{i}" for i, (field, _) in enumerate(BAD_ACQUIRES)]
)
async def test_an_item_out_of_bounds_is_refused_alone(api: Stand, field: str, request_: Acquire) -> None:
    if field in {"request_id", "namespace"}:
        return  # the batch's own
    item = json_format.ParseDict(json_format.MessageToDict(request_), lease_pb2.AcquireItem())
    with api.untouched():
        answer = await api.leases.BatchAcquire(lease_pb2.BatchAcquireRequest(items=[item]))
    (result,) = answer.results
    assert result.error.code == INVALID.value[0]
    assert bad_fields(result.error) == [field]


@pytest.mark.parametrize(
    ("service", "method", "request_", "field"),
    [
        ("leases", "BatchAcquire", lease_pb2.BatchAcquireRequest(), "items"),
        (
            "leases",
            "BatchAcquire",
            lease_pb2.BatchAcquireRequest(items=[lease_pb2.AcquireItem()] * 1_001),
            "items",
        ),
        ("leases", "BatchAcquire", lease_pb2.BatchAcquireRequest(request_id="x" * 129), "request_id"),
        ("leases", "Renew", lease_pb2.RenewRequest(), "lease_id"),
        ("leases", "Renew", lease_pb2.RenewRequest(lease_id="x" * 65), "lease_id"),
        ("leases", "Renew", lease_pb2.RenewRequest(lease_id="x", ttl_ms=-1), "ttl_ms"),
        ("leases", "Renew", lease_pb2.RenewRequest(lease_id="x", ttl_ms=INT64_MAX), "ttl_ms"),
        ("leases", "BatchRenew", lease_pb2.BatchRenewRequest(), "lease_ids"),
        ("leases", "BatchRenew", lease_pb2.BatchRenewRequest(lease_ids=["x"] * 1_001), "lease_ids"),
        ("leases", "BatchRenew", lease_pb2.BatchRenewRequest(lease_ids=["x", ""]), "lease_ids[1]"),
        ("leases", "Release", lease_pb2.ReleaseRequest(), "lease_id"),
        ("leases", "BatchRelease", lease_pb2.BatchReleaseRequest(), "lease_ids"),
        ("leases", "BatchRelease", lease_pb2.BatchReleaseRequest(holder="h", lease_ids=["x"]), "lease_ids"),
        ("leases", "BatchRelease", lease_pb2.BatchReleaseRequest(holder="h", keep_resource=True), "keep_resource"),
        ("leases", "BatchRelease", lease_pb2.BatchReleaseRequest(holder="h" * 257), "holder"),
        ("leases", "GetLease", lease_pb2.GetLeaseRequest(), "lease_id"),
        ("leases", "GetLease", lease_pb2.GetLeaseRequest(lease_id="x", consistency=9), "consistency"),  # type: ignore[arg-type]
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest(page_size=-1), "page_size"),
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest(page_token="nonsense"), "page_token"),
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest(page_token="!"), "page_token"),
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest(page_token="A" * 300), "page_token"),
        ("sessions", "OpenSession", session_pb2.OpenSessionRequest(ttl_ms=1_000), "holder"),
        ("sessions", "OpenSession", session_pb2.OpenSessionRequest(holder="h"), "ttl_ms"),
        ("sessions", "OpenSession", session_pb2.OpenSessionRequest(holder="h", ttl_ms=INT64_MAX), "ttl_ms"),
        ("sessions", "RenewSession", session_pb2.RenewSessionRequest(), "session_id"),
        ("sessions", "CloseSession", session_pb2.CloseSessionRequest(), "session_id"),
        ("sessions", "GetSession", session_pb2.GetSessionRequest(session_id="x" * 65), "session_id"),
        ("sessions", "ListSessions", session_pb2.ListSessionsRequest(page_size=-5), "page_size"),
        ("resources", "GetResource", resource_pb2.GetResourceRequest(), "resource"),
        ("resources", "GetResource", resource_pb2.GetResourceRequest(resource="x" * 1_025), "resource"),
        ("resources", "ListResources", resource_pb2.ListResourcesRequest(page_size=-1), "page_size"),
        (
            "resources",
            "ListResources",
            resource_pb2.ListResourcesRequest(states=[resource_pb2.RESOURCE_STATE_LIVE, 77]),  # type: ignore[list-item]
            "states[1]",
        ),
        ("resources", "Hold", resource_pb2.HoldRequest(reason="why"), "resource"),
        ("resources", "Hold", resource_pb2.HoldRequest(resource="r", hold_id="x" * 129), "hold_id"),
        ("resources", "Hold", resource_pb2.HoldRequest(resource="r", reason="x" * 1_025), "reason"),
        ("resources", "Unhold", resource_pb2.UnholdRequest(resource="r"), "hold_id"),
        ("cleanups", "ListCleanups", cleanup_pb2.ListCleanupsRequest(page_size=-1), "page_size"),
        (
            "cleanups",
            "ListCleanups",
            cleanup_pb2.ListCleanupsRequest(states=[resource_pb2.RESOURCE_STATE_LIVE]),
            "states[0]",
        ),
        ("cleanups", "GetCleanup", cleanup_pb2.GetCleanupRequest(), "resource"),
        ("cleanups", "Retry", cleanup_pb2.RetryRequest(), "resource"),
        ("cleanups", "Discard", cleanup_pb2.DiscardRequest(resource="r", reason="x" * 1_025), "reason"),
        ("cleanups", "Pause", cleanup_pb2.PauseRequest(namespace="default", all_namespaces=True), "namespace"),
        ("cleanups", "Pause", cleanup_pb2.PauseRequest(reason="\x01"), "reason"),
        ("cleanups", "Resume", cleanup_pb2.ResumeRequest(namespace="default", all_namespaces=True), "namespace"),
        ("cleanups", "CloseBreaker", cleanup_pb2.CloseBreakerRequest(), "handler"),
        ("cleanups", "CloseBreaker", cleanup_pb2.CloseBreakerRequest(handler="http", reason="\x01"), "reason"),
        ("cleanups", "SetFleetBrake", cleanup_pb2.SetFleetBrakeRequest(), "holders_min"),
        ("cleanups", "SetFleetBrake", cleanup_pb2.SetFleetBrakeRequest(holders_min=0), "holders_min"),
        ("cleanups", "SetFleetBrake", cleanup_pb2.SetFleetBrakeRequest(share=1.0), "share"),
        ("namespaces", "List", namespace_pb2.NamespaceServiceListRequest(page_size=-1), "page_size"),
        ("namespaces", "Set", namespace_pb2.NamespaceServiceSetRequest(namespace="x" * 200), "namespace"),
        ("namespaces", "Set", namespace_pb2.NamespaceServiceSetRequest(revision=-1), "revision"),
        (
            "namespaces",
            "Set",
            namespace_pb2.NamespaceServiceSetRequest(limits=namespace_pb2.NamespaceLimits(leases_max=-1)),
            "limits.leases_max",
        ),
        (
            "namespaces",
            "Set",
            namespace_pb2.NamespaceServiceSetRequest(brake=namespace_pb2.Brake(share=float("nan"))),
            "brake.share",
        ),
        (
            "namespaces",
            "Set",
            namespace_pb2.NamespaceServiceSetRequest(cleanup=namespace_pb2.CleanupSettings(grace_ms_min=-1)),
            "cleanup.grace_ms_min",
        ),
        ("events", "Watch", event_pb2.WatchRequest(namespace="default", all_namespaces=True), "namespace"),
        ("events", "Watch", event_pb2.WatchRequest(types=[99]), "types[0]"),  # type: ignore[list-item]
    ],
)
async def test_a_request_out_of_bounds_is_refused_with_its_field(
    api: Stand, service: str, method: str, request_: Message, field: str
) -> None:
    with api.untouched():
        told = await refusal(getattr(getattr(api, service), method)(request_))
    assert told.code is INVALID
    assert told.reason == ("UNKNOWN_HANDLER" if field == "cleanup.handler" else "INVALID_ARGUMENT")
    assert told.bad_fields == [field]


@pytest.mark.parametrize(
    ("service", "method", "request_"),
    [
        ("leases", "Acquire", acquire(namespace="nowhere")),
        (
            "leases",
            "BatchAcquire",
            lease_pb2.BatchAcquireRequest(
                namespace="nowhere", items=[lease_pb2.AcquireItem(resource="r", holder="h", ttl_ms=1_000)]
            ),
        ),
        ("leases", "Renew", lease_pb2.RenewRequest(namespace="nowhere", lease_id="x")),
        ("leases", "BatchRenew", lease_pb2.BatchRenewRequest(namespace="nowhere", lease_ids=["x"])),
        ("leases", "Release", lease_pb2.ReleaseRequest(namespace="nowhere", lease_id="x")),
        ("leases", "BatchRelease", lease_pb2.BatchReleaseRequest(namespace="nowhere", holder="h")),
        ("leases", "GetLease", lease_pb2.GetLeaseRequest(namespace="nowhere", lease_id="x")),
        ("leases", "ListLeases", lease_pb2.ListLeasesRequest(namespace="nowhere")),
        ("sessions", "OpenSession", session_pb2.OpenSessionRequest(namespace="nowhere", holder="h", ttl_ms=1_000)),
        ("sessions", "RenewSession", session_pb2.RenewSessionRequest(namespace="nowhere", session_id="x")),
        ("sessions", "CloseSession", session_pb2.CloseSessionRequest(namespace="nowhere", session_id="x")),
        ("sessions", "GetSession", session_pb2.GetSessionRequest(namespace="nowhere", session_id="x")),
        ("sessions", "ListSessions", session_pb2.ListSessionsRequest(namespace="nowhere")),
        ("resources", "GetResource", resource_pb2.GetResourceRequest(namespace="nowhere", resource="r")),
        ("resources", "ListResources", resource_pb2.ListResourcesRequest(namespace="nowhere")),
        ("resources", "Hold", resource_pb2.HoldRequest(namespace="nowhere", resource="r", reason="why")),
        ("resources", "Unhold", resource_pb2.UnholdRequest(namespace="nowhere", resource="r", hold_id="h")),
        ("cleanups", "ListCleanups", cleanup_pb2.ListCleanupsRequest(namespace="nowhere")),
        ("cleanups", "GetCleanup", cleanup_pb2.GetCleanupRequest(namespace="nowhere", resource="r")),
        ("cleanups", "Retry", cleanup_pb2.RetryRequest(namespace="nowhere", resource="r")),
        ("cleanups", "Discard", cleanup_pb2.DiscardRequest(namespace="nowhere", resource="r")),
        ("cleanups", "Pause", cleanup_pb2.PauseRequest(namespace="nowhere")),
        ("cleanups", "Resume", cleanup_pb2.ResumeRequest(namespace="nowhere")),
        ("namespaces", "Get", namespace_pb2.NamespaceServiceGetRequest(namespace="nowhere")),
        ("events", "Watch", event_pb2.WatchRequest(namespace="nowhere")),
    ],
)
async def test_an_unknown_namespace_is_not_found_and_leaves_no_trace(
    api: Stand, service: str, method: str, request_: Message
) -> None:
    with api.untouched():
        told = await refusal(getattr(getattr(api, service), method)(request_))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")
    assert told.bad_fields == ["namespace"]
    assert told.info.metadata["namespace"] == "nowhere"


def raw_call(api: Stand, path: str, raw: bytes) -> Any:
    return api.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)(raw)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"\x1a\x02\xff\xfe", "resource"),
        (Acquire(holder="h").SerializeToString() + b"\x1a\x01\xc3", "resource"),
        (b"\x62\x06" + b"\x0a\x02\xff\xfe\x12\x00", ""),  # an unknown field may hold anything
        (b"\x4a\x06" + b"\x0a\x02\xff\xfe\x12\x00", "labels"),
        (b"\x3a\x04" + b"\x0a\x02\xff\xfe", "cleanup.handler"),
        (b"\x1a\x50abc", "resource"),
        (b"\x28\xff", "ttl_ms"),
        (b"\x3a\x04\x0a\x09ab", "cleanup.handler"),
        (b"\x4a\x04\x0a\x09ab", "labels"),
        (b"\x1f\x00", "resource"),
        (b"\xff", ""),
        (b"\x00\x00", ""),
    ],
)
async def test_text_that_is_not_utf8_and_bytes_that_are_no_message_are_refused(
    api: Stand, raw: bytes, field: str
) -> None:
    with api.untouched():
        told = await refusal(raw_call(api, "/garbagetruck.v1.LeaseService/Acquire", raw))
    assert (told.code, told.reason) == (INVALID, "INVALID_ARGUMENT")
    if raw[0] == 0x62:
        assert told.bad_fields == ["resource"]  # which is empty
    else:
        assert told.bad_fields == [field]


async def test_a_stream_with_a_malformed_message_ends_with_its_field(api: Stand) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield lease_pb2.KeepAliveRequest(lease_ids=["x"]).SerializeToString()
        yield b"\x1a\x02\xff\xfe"

    call = api.channel.stream_stream(
        "/garbagetruck.v1.LeaseService/KeepAlive", request_serializer=bytes, response_deserializer=bytes
    )(requests())
    told = await refusal(call)
    assert (told.code, told.bad_fields) == (INVALID, ["lease_ids[0]"])


async def test_an_oversize_message_is_refused_before_it_is_read(api: Stand) -> None:
    with api.untouched():
        told = await refusal(api.leases.Acquire(acquire(resource="x" * (4 * 1024 * 1024))))
    assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_page_token_of_another_list_or_filter_is_refused(api: Stand) -> None:
    for number in range(3):
        await api.leases.Acquire(acquire(resource=f"r{number}"))
    first = await api.leases.ListLeases(lease_pb2.ListLeasesRequest(holder="h", page_size=1))
    token = first.next_page_token
    assert token
    with api.untouched():
        told = await refusal(api.leases.ListLeases(lease_pb2.ListLeasesRequest(holder="g", page_token=token)))
        assert (told.code, told.bad_fields) == (INVALID, ["page_token"])
        told = await refusal(api.resources.ListResources(resource_pb2.ListResourcesRequest(page_token=token)))
        assert (told.code, told.bad_fields) == (INVALID, ["page_token"])
        told = await refusal(api.namespaces.List(namespace_pb2.NamespaceServiceListRequest(page_token=token)))
        assert (told.code, told.bad_fields) == (INVALID, ["page_token"])
    again = await api.leases.ListLeases(lease_pb2.ListLeasesRequest(holder="h", page_size=2, page_token=token))
    assert [lease.resource for lease in again.leases] == ["r1", "r2"]


async def test_a_huge_page_size_is_cut(api: Stand) -> None:
    items = [lease_pb2.AcquireItem(resource=f"r{number}", holder="h", ttl_ms=1_000) for number in range(600)]
    for _ in range(2):
        await api.leases.BatchAcquire(lease_pb2.BatchAcquireRequest(items=items))
    page = await api.leases.ListLeases(lease_pb2.ListLeasesRequest(page_size=2**31 - 1))
    assert len(page.leases) == 1_000
    assert len((await api.leases.ListLeases(lease_pb2.ListLeasesRequest())).leases) == 100


async def test_bad_input_is_refused_even_while_there_is_no_leader(api: Stand) -> None:
    api.gateway.blocked = asyncio.Event()
    told = await refusal(api.leases.Acquire(acquire(ttl_ms=0)))
    assert (told.code, told.bad_fields) == (INVALID, ["ttl_ms"])
