"""Nothing that the API says is lost on the way to the caller."""

import dataclasses
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from garbagetruck.client import overview, records, translate
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

TRANSLATED = [
    (lease_pb2.Lease, translate.lease_summary),
    (session_pb2.Session, translate.session_record),
    (resource_pb2.Resource, translate.resource_record),
    (resource_pb2.Claim, translate.claim_record),
    (cleanup_pb2.Cleanup, translate.pending_cleanup),
    (namespace_pb2.Namespace, translate.namespace_record),
    (cluster_pb2.NodeStatus, translate.node_status),
    (cluster_pb2.GetStatusResponse, translate.cluster_status),
    (cluster_pb2.Member, translate.member_record),
    (event_pb2.Event, translate.event_record),
]
KINDS = [
    (records.LeaseState, lease_pb2.LeaseState, "LEASE_STATE_"),
    (records.SessionState, session_pb2.SessionState, "SESSION_STATE_"),
    (records.ResourceState, resource_pb2.ResourceState, "RESOURCE_STATE_"),
    (overview.NodeRole, cluster_pb2.NodeRole, "NODE_ROLE_"),
    (overview.MemberRole, cluster_pb2.MemberRole, "MEMBER_ROLE_"),
]


def fill(message: Message, numbers: Any) -> None:
    """Give every field a value of its own."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[f"key {next(numbers)}"] = f"text {next(numbers)}"
        elif field.message_type is not None and field.is_repeated:
            fill(getattr(message, field.name).add(), numbers)
        elif field.message_type is not None:
            fill(getattr(message, field.name), numbers)
        else:
            number = next(numbers)
            values: dict[int, Any] = {
                FieldDescriptor.CPPTYPE_STRING: f"text {number}",
                FieldDescriptor.CPPTYPE_BOOL: True,
                FieldDescriptor.CPPTYPE_ENUM: 1,
                FieldDescriptor.CPPTYPE_DOUBLE: number + 0.5,
            }
            value = values.get(field.cpp_type, number)
            if field.type == FieldDescriptor.TYPE_BYTES:
                value = value.encode()
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


def leaves(value: Any) -> set[str]:
    """Every plain value within a record, as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return set().union(*(leaves(getattr(value, field.name)) for field in dataclasses.fields(value)))
    if isinstance(value, (list, tuple)):
        return set().union(*map(leaves, value))
    if hasattr(value, "items"):
        return set().union(*(leaves(key) | leaves(item) for key, item in value.items()))
    return {str(value)}


def wire_leaves(message: Message) -> set[str]:
    found: set[str] = set()
    for field, value in message.ListFields():
        if field.name == "header" or field.cpp_type in (FieldDescriptor.CPPTYPE_ENUM, FieldDescriptor.CPPTYPE_BOOL):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found |= leaves(dict(value))
        elif field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                found |= wire_leaves(item)
        else:
            found |= leaves(list(value) if field.is_repeated else value)
    return found


@pytest.mark.parametrize(("kind", "to_record"), TRANSLATED)
def test_every_field_reaches_the_caller(kind: type[Message], to_record: Any) -> None:
    message = kind()
    fill(message, iter(range(1_000, 9_000)))
    record = to_record(message)
    assert wire_leaves(message) <= leaves(record)


@pytest.mark.parametrize(("kind", "to_record"), TRANSLATED)
def test_an_empty_message_translates_too(kind: type[Message], to_record: Any) -> None:
    to_record(kind())


@pytest.mark.parametrize(("words", "enum", "prefix"), KINDS)
def test_every_word_of_the_api_has_one_here(words: Any, enum: Any, prefix: str) -> None:
    assert {name.removeprefix(prefix) for name in enum.keys()[1:]} == {word.name for word in words} - {"UNKNOWN"}


@pytest.mark.parametrize(("words", "enum", "prefix"), KINDS)
def test_a_word_of_a_newer_server_is_unknown_and_no_error(words: Any, enum: Any, prefix: str) -> None:
    assert translate.word(words, enum.Name, prefix, 99) is words.UNKNOWN


def test_an_event_of_a_newer_server_is_unknown_and_no_error() -> None:
    assert translate.event_record(event_pb2.Event(type=99, index=3)).type == "unknown"  # type: ignore[arg-type]


def test_a_cleanup_survives_the_way_there_and_back() -> None:
    cleanup = records.Cleanup("http", url="a", method="DELETE")
    message = translate.cleanup_message(cleanup)
    assert isinstance(message, cleanup_spec_pb2.CleanupSpec)
    assert translate.cleanup_record(message) == cleanup
    assert hash(translate.cleanup_record(message)) == hash(cleanup)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0), (0.0004, 0), (0.1, 100), (30.0, 30_000), (-1.0, -1_000)])
def test_seconds_become_milliseconds(seconds: float, expected: int) -> None:
    assert translate.milliseconds(seconds, "ttl_ms") == expected
