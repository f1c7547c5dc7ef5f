"""Bytes that are no message: told with the field at which they stop being one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.cluster.api.errors import CallError
from garbagetruck.cluster.api.wire import SEARCHED_BYTES_MAX, reader
from garbagetruck.v1 import cleanup_spec_pb2, lease_pb2, resource_pb2

ITEM = lease_pb2.AcquireItem(
    resource="r",
    holder="h",
    ttl_ms=70_000,
    cleanup=cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": "a"}),
    labels={"k": "v"},
)
BATCH = lease_pb2.BatchAcquireRequest(namespace="n", request_id="q", items=[ITEM, ITEM])
READ = reader(lease_pb2.BatchAcquireRequest.FromString, lease_pb2.BatchAcquireRequest.DESCRIPTOR)


def refused(raw: bytes) -> CallError | None:
    error = None
    try:
        READ(raw)
    except CallError as raised:
        error = raised
    if error is not None:
        assert error.answer.reason == "INVALID_ARGUMENT"
        assert error.message.startswith(error.field)
    return error


def test_a_message_that_is_cut_off_anywhere_is_told_with_its_field() -> None:
    raw = BATCH.SerializeToString()
    cut = {error.field for end in range(len(raw)) if (error := refused(raw[:end])) is not None}
    assert cut == {"namespace", "request_id", "items[0]", "items[1]"}


@pytest.mark.parametrize(
    ("item", "field", "problem"),
    [
        (b"\x0a\x09r", "items[0].resource", "is announced as 9 bytes long, and 1 are left"),
        (b"\x18\xff", "items[0].ttl_ms", "ends in the middle of a number"),
        (b"\x2a\x03\x0a\x09f", "items[0].cleanup.handler", "is announced as 9 bytes long"),
        (b"\x2a\x04\x12\x02\x0a\x07", "items[0].cleanup.parameters", "is announced as 7 bytes long"),
        (b"\x0f", "items[0].resource", "is of wire type 7, which no field has"),
        (b"\xfa\x01\x09", "items[0].field 31", "is announced as 9 bytes long"),
        (b"\x00", "items[0]", "no field begins at byte 0"),
    ],
)
def test_a_broken_part_is_told_by_its_path(item: bytes, field: str, problem: str) -> None:
    number = lease_pb2.BatchAcquireRequest.DESCRIPTOR.fields_by_name["items"].number
    error = refused(bytes([number << 3 | 2, len(item)]) + item)
    assert error is not None
    assert (error.field, problem in error.message) == (field, True), error.message


def test_a_long_message_is_not_searched() -> None:
    error = refused(b"\x08\x01" * SEARCHED_BYTES_MAX + b"\x0a\x09r")
    assert error is not None
    assert (error.field, "do not parse" in error.message) == ("", True)


@given(st.binary(max_size=64))
def test_whatever_bytes_come_they_are_read_or_refused(raw: bytes) -> None:
    refused(raw)


@given(st.data())
def test_whatever_becomes_of_a_message_it_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(BATCH.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    refused(bytes(raw))


def test_what_no_field_is_at_fault_for_stands_for_itself() -> None:
    read = reader(resource_pb2.HoldRequest.FromString, resource_pb2.HoldRequest.DESCRIPTOR)
    with pytest.raises(CallError) as told:
        read(b"\xff")
    assert told.value.field == ""
    assert told.value.message == (
        "the request is not a garbagetruck.v1.HoldRequest: no field begins at byte 0; send what its generated code writes"
    )
