"""Every field of every request, walked by the descriptors: what is malformed is refused with its path, without a trace.

A field that the API gains later is met by the same values, and its test fails until the door refuses them, or until
`ACCEPTED` says why it need not.
"""

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from garbagetruck.v1 import (
    cleanup_pb2,
    cleanup_spec_pb2,
    cluster_pb2,
    event_pb2,
    lease_pb2,
    namespace_pb2,
    resource_pb2,
    session_pb2,
)
from tests.unit.api.stand import INVALID, Stand, Told, bad_fields, refusal

MODULES = (lease_pb2, session_pb2, resource_pb2, cleanup_pb2, cluster_pb2, namespace_pb2, event_pb2)
FILE = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "a"})
ACQUIRE: dict[str, Any] = {"resource": "r", "holder": "h", "ttl_ms": 1_000, "cleanup": FILE, "labels": {"k": "v"}}
GOOD: dict[str, dict[str, Any]] = {
    "LeaseService.Acquire": ACQUIRE,
    "LeaseService.BatchAcquire": {"items": [lease_pb2.AcquireItem(**ACQUIRE)]},
    "LeaseService.Renew": {"lease_id": "x"},
    "LeaseService.BatchRenew": {"lease_ids": ["x"]},
    "LeaseService.Release": {"lease_id": "x"},
    "LeaseService.BatchRelease": {"lease_ids": ["x"]},
    "LeaseService.GetLease": {"lease_id": "x"},
    "LeaseService.KeepAlive": {"lease_ids": ["x"]},
    "SessionService.OpenSession": {"holder": "h", "ttl_ms": 1_000},
    "SessionService.RenewSession": {"session_id": "x"},
    "SessionService.KeepSessionAlive": {"session_ids": ["x"]},
    "SessionService.CloseSession": {"session_id": "x"},
    "SessionService.GetSession": {"session_id": "x"},
    "ResourceService.GetResource": {"resource": "r"},
    "ResourceService.Hold": {"resource": "r", "reason": "why"},
    "ResourceService.Unhold": {"resource": "r", "hold_id": "x"},
    "ResourceService.Forget": {"resource": "r", "reason": "why"},
    "ResourceService.Explain": {"resource": "r"},
    "CleanupService.GetCleanup": {"resource": "r"},
    "CleanupService.Retry": {"resource": "r"},
    "CleanupService.Discard": {"resource": "r"},
    "ClusterService.AddMember": {
        "member": cluster_pb2.Member(id="n4", api="[::1]:1", http="[::1]:2", raft="127.0.0.1:3", peer="host:4")
    },
    "ClusterService.RemoveMember": {"member_id": "n3"},
    "ClusterService.TransferLeadership": {"member_id": "n2"},
    "ClusterService.VerifySnapshot": {"snapshot_id": "s1"},
}
"""What a request needs beside the field at hand, so that nothing else is wrong with it."""

ACCEPTED: dict[tuple[str, str], str] = {
    ("sequence", "2**64-1"): "the caller's own number, told back as it came",
    ("from_index", "2**64-1"): "an index that is not there yet; the watch waits for it",
    ("page_size", "2**31-1"): "too large is cut",
    ("revision", "2**63-1"): "a revision that the namespace is not at: NAMESPACE_CHANGED",
}
"""Extreme values that are no mistake, by field and value."""

TEXTS = {"overlong": "x" * 5_000, "NUL": "a\0b", "control": "a\x1bb", "C1": "a\x85b", "DEL": "\x7f"}
NAMESPACES = {"upper case": "A", "underscore": "a_b", "dash at its end": "a-", "dash first": "-a", "no ASCII": "ä"}
INT64 = {"negative": -1, "2**63-1": 2**63 - 1, "-2**63": -(2**63)}
INT32 = {"negative": -1, "2**31-1": 2**31 - 1, "-2**31": -(2**31)}
UINT64 = {"2**64-1": 2**64 - 1}
DOUBLES = {"nan": float("nan"), "inf": float("inf"), "negative": -0.5, "above": 1.5}
ITEMS_MAX = 1_000
ENTRIES_MAX = 32


def methods() -> Iterator[MethodDescriptor]:
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def _name(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}.{method.name}"


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def values_of(field: FieldDescriptor) -> dict[str, Any]:
    """Bad values of one that is not repeated, by what is bad."""
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return TEXTS | (NAMESPACES if field.name == "namespace" else {})
        case FieldDescriptor.TYPE_INT64:
            return INT64
        case FieldDescriptor.TYPE_INT32:
            return INT32
        case FieldDescriptor.TYPE_UINT64:
            return UINT64
        case FieldDescriptor.TYPE_DOUBLE:
            return DOUBLES
        case FieldDescriptor.TYPE_ENUM:
            return {"unknown": 99, "negative": -1}
        case FieldDescriptor.TYPE_BOOL:
            return {}
        case _:
            raise AssertionError(f"{field.full_name} is of a type that no bad values are known for")


Case = tuple[str, list[str], Any, str]
"""What is bad; the way to the field; the value; the path that the error names."""


def cases(descriptor: Descriptor, way: list[str]) -> Iterator[Case]:
    for field in descriptor.fields:
        path = ".".join([*way, field.name])
        here = [*way, field.name]
        if is_map(field):
            yield "too many entries", here, {f"k{number}": "v" for number in range(ENTRIES_MAX + 1)}, path
            for bad, text in TEXTS.items():
                yield f"{bad} key", here, {text: "v"}, f"{path}.key"
                yield f"{bad} value", here, {"k": text}, f"{path}[k]"
            yield "empty key", here, {"": "v"}, f"{path}.key"
        elif field.is_repeated and field.message_type is not None:
            yield "too many", here, [GetMessageClass(field.message_type)()] * (ITEMS_MAX + 1), path
            yield from cases(field.message_type, here)
        elif field.is_repeated:
            for bad, value in values_of(field).items():
                yield bad, here, [value], f"{path}[0]"
            if field.type == FieldDescriptor.TYPE_STRING:
                yield "too many", here, ["x"] * (ITEMS_MAX + 1), path
                yield "an empty one", here, ["x", ""], f"{path}[1]"
        elif field.message_type is not None:
            yield from cases(field.message_type, here)
        else:
            for bad, value in values_of(field).items():
                if (field.name, bad) not in ACCEPTED:
                    yield bad, here, value, path


def put(message: Message, way: list[str], value: Any) -> None:
    """Set a field of the message, or of the first of its items."""
    *outer, name = way
    for step in outer:
        inner = getattr(message, step)
        message = inner[0] if hasattr(inner, "__len__") else inner
    field: Any = message.DESCRIPTOR.fields_by_name[name]
    if is_map(field) or field.is_repeated:
        message.ClearField(name)
        getattr(message, name).MergeFrom(value) if isinstance(value, Message) else _fill(getattr(message, name), value)
    else:
        setattr(message, name, value)


def _fill(container: Any, value: Any) -> None:
    container.update(value) if isinstance(value, dict) else container.extend(value)


def good(method: MethodDescriptor) -> Message:
    return GetMessageClass(method.input_type)(**copy.deepcopy(GOOD.get(_name(method), {})))


async def ask(api: Stand, method: MethodDescriptor, raw: bytes) -> Any:
    """Call the method with these bytes, and return the error that it ends with, or the answer to a batch."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = GetMessageClass(method.output_type).FromString

    async def once() -> AsyncIterator[bytes]:
        yield raw

    if method.client_streaming:
        return await refusal(api.channel.stream_stream(path, bytes, answer)(once(), timeout=1))
    if method.server_streaming:
        return await refusal(api.channel.unary_stream(path, bytes, answer)(raw, timeout=1))
    call = api.channel.unary_unary(path, bytes, answer)(raw)
    try:
        return await call if method.name == "BatchAcquire" else await refusal(call)
    except grpc.aio.AioRpcError as error:
        return Told(error)


@pytest.mark.parametrize("method", list(methods()), ids=_name)
async def test_every_malformed_field_is_refused_with_its_path_and_leaves_no_trace(
    api: Stand, method: MethodDescriptor
) -> None:
    wrong: list[str] = []
    for bad, way, value, path in cases(method.input_type, []):
        request = good(method)
        put(request, way, value)
        expected = path
        if method.name == "BatchAcquire" and way[0] == "items" and len(way) > 1:
            expected = path.removeprefix("items.")
        with api.untouched():
            try:
                told = await ask(api, method, request.SerializeToString())
            except AssertionError:
                wrong.append(f"{path} ({bad}): the call succeeded")
                continue
        if isinstance(told, lease_pb2.BatchAcquireResponse):
            fields, code = bad_fields(told.results[0].error), told.results[0].error.code
        else:
            fields, code = told.bad_fields, told.code.value[0]
        if expected.startswith("cleanup.parameters"):  # its handler says which
            fields = [expected for field in fields if field.startswith("cleanup.parameters")]
        if (code, fields) != (INVALID.value[0], [expected]):
            wrong.append(f"{path} ({bad}): {code} {fields}, not {expected}")
    assert not wrong, "\n".join(wrong)


def texts(descriptor: Descriptor, way: list[FieldDescriptor]) -> Iterator[list[FieldDescriptor]]:
    """The ways to all strings of a request, those of maps included."""
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield [*way, field]
        elif field.message_type is not None:
            yield from texts(field.message_type, [*way, field])


def length_delimited(field: FieldDescriptor, content: bytes) -> bytes:
    assert field.number < 16
    assert len(content) < 128
    return bytes([field.number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize("method", list(methods()), ids=_name)
async def test_every_text_that_is_not_utf8_is_refused_with_its_path_and_leaves_no_trace(
    api: Stand, method: MethodDescriptor
) -> None:
    for way in texts(method.input_type, []):
        request = good(method)
        expected = ""
        for step in way:
            position = f"[{len(getattr(request, step.name))}]" if step.is_repeated and step is way[0] else ""
            expected += f".{step.name}{'' if is_map(step) else position}"
            if is_map(step):
                break  # people know the map, and not its entries
        raw = b"\xff\xfe"
        for step in reversed(way):
            raw = length_delimited(step, raw)
        with api.untouched():
            told = await ask(api, method, request.SerializeToString() + raw)
        assert (told.code, told.bad_fields) == (INVALID, [expected[1:]])


def test_every_method_that_is_given_something_good_is_walked() -> None:
    known = {_name(method) for method in methods()}
    assert set(GOOD) <= known
