"""Between the API's messages and the client's records.

Duty: translate, and nothing else.
Invariant: a message of a newer server, with words that this version does not know, still translates.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from garbagetruck.client import overview, records
from garbagetruck.client.errors import FieldViolation, InvalidArgument
from garbagetruck.client.fitting import fit
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

INT64_MAX = (1 << 63) - 1
MILLISECONDS_PER_SECOND = 1_000

WordT = TypeVar("WordT", bound=StrEnum)


def milliseconds(seconds: float, field: str) -> int:
    """Seconds as whole milliseconds. `InvalidArgument` when no int64 can hold them; the server knows the real
    bounds.
    """
    if math.isfinite(seconds) and abs(value := round(seconds * MILLISECONDS_PER_SECOND)) <= INT64_MAX:
        return value
    wrong = f"{seconds!r} is not a duration in seconds"
    raise InvalidArgument(wrong, violations=(FieldViolation(field, wrong),))


def word(kind: type[WordT], name_of: Callable[[Any], str], prefix: str, value: int) -> WordT:
    """The record's word for a value of one of the API's enums."""
    try:
        return kind(name_of(value).removeprefix(prefix).lower())
    except ValueError:
        return kind("unknown")


def cleanup_message(cleanup: records.Cleanup | None) -> cleanup_spec_pb2.CleanupSpec | None:
    if cleanup is None:
        return None
    return fit("cleanup", cleanup_spec_pb2.CleanupSpec, handler=cleanup.handler, parameters=cleanup.parameters)


def cleanup_record(message: cleanup_spec_pb2.CleanupSpec) -> records.Cleanup:
    return records.Cleanup(message.handler, **message.parameters)


def lease_state(value: int) -> records.LeaseState:
    return word(records.LeaseState, lease_pb2.LeaseState.Name, "LEASE_STATE_", value)


def resource_state(value: int) -> records.ResourceState:
    return word(records.ResourceState, resource_pb2.ResourceState.Name, "RESOURCE_STATE_", value)


def resource_state_value(state: records.ResourceState) -> resource_pb2.ResourceState.ValueType:
    return resource_pb2.ResourceState.Value("RESOURCE_STATE_" + state.name)


def lease_summary(message: lease_pb2.Lease) -> records.LeaseSummary:
    return records.LeaseSummary(
        id=message.id,
        namespace=message.namespace,
        resource=message.resource,
        holder=message.holder,
        fencing_token=message.fencing_token,
        ttl_ms=message.ttl_ms,
        remaining_ms=message.remaining_ms,
        session_id=message.session_id,
        state=lease_state(message.state),
        end_reason=message.end_reason,
        ended_ms=message.ended_ms,
        labels=dict(message.labels),
    )


def session_record(message: session_pb2.Session) -> records.SessionRecord:
    return records.SessionRecord(
        id=message.id,
        namespace=message.namespace,
        holder=message.holder,
        ttl_ms=message.ttl_ms,
        remaining_ms=message.remaining_ms,
        lease_count=message.lease_count,
        state=word(records.SessionState, session_pb2.SessionState.Name, "SESSION_STATE_", message.state),
        end_reason=message.end_reason,
        ended_ms=message.ended_ms,
    )


def claim_record(message: resource_pb2.Claim) -> records.Claim:
    return records.Claim(message.token, message.deadline_ms, message.attempt, message.executor)


def resource_record(message: resource_pb2.Resource) -> records.Resource:
    return records.Resource(
        namespace=message.namespace,
        name=message.name,
        generation=message.generation,
        state=resource_state(message.state),
        cleanup=cleanup_record(message.cleanup) if message.HasField("cleanup") else None,
        target=message.target,
        fencing_token=message.fencing_token,
        grace_ms=message.grace_ms,
        labels=dict(message.labels),
        leases=tuple(map(lease_summary, message.leases)),
        lease_count=message.lease_count,
        holds=tuple(records.Hold(hold.id, hold.reason, hold.actor, hold.created_ms) for hold in message.holds),
        created_ms=message.created_ms,
        orphaned_ms=message.orphaned_ms,
        due_ms=message.due_ms,
        cleaned_ms=message.cleaned_ms,
        attempts=message.attempts,
        last_error=message.last_error,
        revision=message.revision,
        claim=claim_record(message.claim) if message.HasField("claim") else None,
    )


def pending_cleanup(message: cleanup_pb2.Cleanup) -> records.PendingCleanup:
    return records.PendingCleanup(
        namespace=message.namespace,
        resource=message.resource,
        generation=message.generation,
        state=resource_state(message.state),
        cleanup=cleanup_record(message.spec),
        target=message.target,
        orphaned_ms=message.orphaned_ms,
        due_ms=message.due_ms,
        attempts=message.attempts,
        last_error=message.last_error,
        claim=claim_record(message.claim) if message.HasField("claim") else None,
        blocked_by=message.blocked_by,
    )


def namespace_record(message: namespace_pb2.Namespace) -> overview.Namespace:
    limits, cleanup, brake = message.limits, message.cleanup, message.brake
    state, usage = message.brake_state, message.usage
    return overview.Namespace(
        name=message.name,
        limits=overview.Limits(
            leases_max=limits.leases_max,
            leases_per_holder_max=limits.leases_per_holder_max,
            resources_max=limits.resources_max,
            sessions_max=limits.sessions_max,
        ),
        cleanup=overview.CleanupSettings(
            grace_ms_min=cleanup.grace_ms_min,
            attempts_max=cleanup.attempts_max,
            retry_delay_ms_min=cleanup.retry_delay_ms_min,
            retry_delay_ms_max=cleanup.retry_delay_ms_max,
        ),
        cleanups_paused=message.pause.paused,
        pause_is_global=message.pause.all_namespaces,
        pause_reason=message.pause.reason,
        brake=overview.Brake(
            enabled=brake.enabled, holders_min=brake.holders_min, share=brake.share, window_ms=brake.window_ms
        ),
        brake_state=overview.BrakeState(
            state.engaged, state.since_ms, state.missing_holders, state.holders, state.reason
        ),
        usage=overview.Usage(
            leases=usage.leases,
            sessions=usage.sessions,
            resources=usage.resources,
            holders=usage.holders,
            orphaned=usage.orphaned,
            due=usage.due,
            claimed=usage.claimed,
            dead_letters=usage.dead_letters,
        ),
        revision=message.revision,
    )


def node_status(message: cluster_pb2.NodeStatus) -> overview.NodeStatus:
    return overview.NodeStatus(
        id=message.id,
        api=message.api,
        role=word(overview.NodeRole, cluster_pb2.NodeRole.Name, "NODE_ROLE_", message.role),
        reachable=message.reachable,
        applied_index=message.applied_index,
        commit_index=message.commit_index,
        term=message.term,
        version=message.version,
        digest=message.digest,
        clock_ms=message.clock_ms,
        feature_level=message.feature_level,
    )


def cluster_status(message: cluster_pb2.GetStatusResponse) -> overview.ClusterStatus:
    status, cleanup, bounds = message.status, message.status.cleanup, message.status.bounds
    return overview.ClusterStatus(
        cluster_id=status.cluster_id,
        healthy=status.healthy,
        leader_id=status.leader_id,
        term=status.term,
        clock_ms=status.clock_ms,
        nodes=tuple(map(node_status, status.nodes)),
        leases=status.leases,
        sessions=status.sessions,
        resources=status.resources,
        cleanup=overview.CleanupStatus(
            due=cleanup.due,
            claimed=cleanup.claimed,
            dead_letter=cleanup.dead_letter,
            paused=cleanup.paused,
            pause_reason=cleanup.pause_reason,
            braked=tuple(cleanup.braked),
            paused_namespaces=tuple(cleanup.paused_namespaces),
            oldest_overdue_ms=cleanup.oldest_overdue_ms,
            fleet_brake=_fleet_brake(cleanup.fleet_brake),
            breakers=tuple(map(_breaker, cleanup.breakers)),
            unknown_handlers={each.handler: each.waiting for each in cleanup.unknown_handlers},
        ),
        incarnation=status.incarnation,
        warnings=tuple(status.warnings),
        bounds=overview.Bounds(bounds.ttl_ms_min, bounds.ttl_ms_max, bounds.request_age_ms_max, bounds.events_max),
        feature_level=status.feature_level,
        age_ms=message.header.age_ms,
    )


def _fleet_brake(message: cluster_pb2.FleetBrakeStatus) -> overview.FleetBrake:
    return overview.FleetBrake(
        message.enabled,
        message.holders_min,
        message.share,
        message.engaged,
        message.since_ms,
        message.reason,
        message.missing_holders,
        message.holders,
        message.revision,
    )


def _breaker(message: cluster_pb2.BreakerStatus) -> overview.Breaker:
    return overview.Breaker(
        message.handler, message.reason, message.since_ms, message.trial_ms, message.trying, message.failed_trials
    )


def member_record(message: cluster_pb2.Member) -> overview.Member:
    return overview.Member(
        id=message.id,
        api=message.api,
        raft=message.raft,
        http=message.http,
        disk_id=message.disk_id,
        peer=message.peer,
        role=word(overview.MemberRole, cluster_pb2.MemberRole.Name, "MEMBER_ROLE_", message.role),
        version=message.version,
        feature_level=message.feature_level,
    )


def event_record(message: event_pb2.Event) -> overview.Event:
    try:
        kind = event_pb2.EventType.Name(message.type).removeprefix("EVENT_TYPE_").lower()
    except ValueError:
        kind = "unknown"
    return overview.Event(
        index=message.index,
        at_ms=message.at_ms,
        type=kind,
        namespace=message.namespace,
        resource=message.resource,
        lease_id=message.lease_id,
        session_id=message.session_id,
        holder=message.holder,
        fencing_token=message.fencing_token,
        detail=message.detail,
    )


def event_type_value(name: str) -> event_pb2.EventType.ValueType:
    """The API's value for a type as `Event.type` names it; `InvalidArgument` for a word it does not know."""
    try:
        return event_pb2.EventType.Value("EVENT_TYPE_" + name.upper())
    except ValueError as error:
        known = ", ".join(key.removeprefix("EVENT_TYPE_").lower() for key in event_pb2.EventType.keys()[1:])
        wrong = f"{name!r} is no type of event; known are {known}"
        raise InvalidArgument(wrong, violations=(FieldViolation("types", wrong),)) from error
