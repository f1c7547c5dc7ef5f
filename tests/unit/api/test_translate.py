"""What the machine's words and the wire's have in common."""

import msgspec
import pytest
from google.protobuf.message import Message

from garbagetruck.cluster.api.gateway import Consistency
from garbagetruck.cluster.api.ports import NodeRole
from garbagetruck.cluster.api.translate import cluster, header, lease, resource
from garbagetruck.cluster.machine.model import (
    BrakeSettings,
    CleanupSettings,
    LeaseState,
    NamespaceLimits,
    ResourceState,
)
from garbagetruck.v1 import cluster_pb2, header_pb2, lease_pb2, namespace_pb2, resource_pb2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (NamespaceLimits, namespace_pb2.NamespaceLimits),
        (CleanupSettings, namespace_pb2.CleanupSettings),
        (BrakeSettings, namespace_pb2.Brake),
    ],
)
def test_settings_bear_the_same_names_on_the_wire_and_tell_absent_from_zero(
    record: type[msgspec.Struct], message: type[Message]
) -> None:
    assert {field.name for field in message.DESCRIPTOR.fields} == set(record.__struct_fields__)
    assert all(field.has_presence for field in message.DESCRIPTOR.fields)


def test_every_state_has_its_number() -> None:
    assert set(lease.STATES) == set(LeaseState)
    assert set(lease.STATES.values()) == set(lease_pb2.LeaseState.values()) - {0}
    assert set(resource.STATES) == set(ResourceState)
    assert set(resource.STATES.values()) == set(resource_pb2.ResourceState.values()) - {0}
    assert set(cluster.ROLES) == set(NodeRole)
    assert set(cluster.ROLES.values()) == set(cluster_pb2.NodeRole.values()) - {0, cluster_pb2.NODE_ROLE_UNREACHABLE}
    assert set(header.CONSISTENCIES) == set(header_pb2.ReadConsistency.values())
    assert set(header.CONSISTENCIES.values()) == set(Consistency)
