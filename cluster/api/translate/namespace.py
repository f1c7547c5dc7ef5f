"""Namespaces on the wire: settings given and left out, pauses, brakes."""

from typing import TypeVar

import msgspec
from google.protobuf.message import Message
from msgspec.structs import replace

from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings, Namespace, NamespaceLimits
from garbagetruck.cluster.machine.operations import SetNamespace
from garbagetruck.cluster.machine.questions import NamespaceUsage
from garbagetruck.v1 import namespace_pb2

R = TypeVar("R", bound=msgspec.Struct)


def namespace_message(
    namespace: Namespace, usage: NamespaceUsage, *, cluster_paused: bool, cluster_pause_reason: str
) -> namespace_pb2.Namespace:
    limits, cleanup, brake = namespace.limits, namespace.cleanup, namespace.brake
    return namespace_pb2.Namespace(
        name=namespace.name,
        limits=namespace_pb2.NamespaceLimits(
            leases_max=limits.leases_max,
            leases_per_holder_max=limits.leases_per_holder_max,
            resources_max=limits.resources_max,
            sessions_max=limits.sessions_max,
        ),
        cleanup=namespace_pb2.CleanupSettings(
            grace_ms_min=cleanup.grace_ms_min,
            attempts_max=cleanup.attempts_max,
            retry_delay_ms_min=cleanup.retry_delay_ms_min,
            retry_delay_ms_max=cleanup.retry_delay_ms_max,
        ),
        pause=namespace_pb2.CleanupPause(
            paused=cluster_paused or namespace.paused,
            all_namespaces=cluster_paused,
            reason=cluster_pause_reason if cluster_paused else namespace.pause_reason,
        ),
        brake=namespace_pb2.Brake(
            enabled=brake.enabled, holders_min=brake.holders_min, share=brake.share, window_ms=brake.window_ms
        ),
        brake_state=namespace_pb2.BrakeState(
            engaged=namespace.brake_engaged,
            since_ms=namespace.brake_since_ms,
            missing_holders=usage.brake_missing_holders,
            holders=namespace.brake_known_holders if namespace.brake_engaged else usage.holders,
            reason=namespace.brake_reason,
        ),
        usage=namespace_pb2.NamespaceUsage(
            leases=usage.leases,
            sessions=usage.sessions,
            resources=usage.resources,
            holders=usage.holders,
            orphaned=usage.orphaned,
            due=usage.due,
            claimed=usage.claimed,
            dead_letters=usage.dead_letters,
        ),
        revision=namespace.revision,
    )


def set_operation(request: namespace_pb2.NamespaceServiceSetRequest, name: str, entered_ms: int) -> SetNamespace:
    """What the request gives, by name; what it leaves out is left out of the operation, too."""
    given: list[str] = []
    return SetNamespace(
        entered_ms,
        name,
        request.request_id,
        "",
        _given(NamespaceLimits(), "limits", request.limits, given),
        _given(CleanupSettings(), "cleanup", request.cleanup, given),
        _given(BrakeSettings(), "brake", request.brake, given),
        request.revision,
        tuple(given),
    )


def _given(blank: R, section: str, message: Message, given: list[str]) -> R:
    """`blank` with every field that `message` has set, whose names go to `given`. A test says that the names agree."""
    fields = [field.name for field, _ in message.ListFields()]
    given += [f"{section}.{field}" for field in fields]
    return replace(blank, **{field: getattr(message, field) for field in fields})
