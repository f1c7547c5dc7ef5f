"""The JSON that the command line prints, record by record. Scripts rely on these names (CONTRACT)."""

from dataclasses import asdict
from typing import Any

from garbagetruck.client import (
    ClusterStatus,
    Event,
    Lease,
    LeaseSummary,
    Member,
    Namespace,
    PendingCleanup,
    Resource,
    SessionRecord,
)

Fields = dict[str, Any]


def lease(record: Lease | LeaseSummary) -> Fields:
    """A held or read lease counts what remains by this machine's clock; a listed one as the answer said."""
    if isinstance(record, LeaseSummary):
        ttl_ms, remaining_ms = record.ttl_ms, record.remaining_ms
    else:
        ttl_ms, remaining_ms = round(record.ttl * 1_000), max(0, int(record.remaining * 1_000))
    return {
        "id": record.id,
        "namespace": record.namespace,
        "resource": record.resource,
        "holder": record.holder,
        "fencing_token": record.fencing_token,
        "ttl_ms": ttl_ms,
        "remaining_ms": remaining_ms,
        "session": record.session_id or None,
        "state": record.state.value,
        "labels": dict(record.labels),
    }


def session(record: SessionRecord) -> Fields:
    return {
        "id": record.id,
        "namespace": record.namespace,
        "holder": record.holder,
        "ttl_ms": record.ttl_ms,
        "remaining_ms": record.remaining_ms,
        "leases": record.lease_count,
        "state": record.state.value,
        "end_reason": record.end_reason or None,
    }


def resource(record: Resource) -> Fields:
    return {
        "resource": record.name,
        "namespace": record.namespace,
        "state": record.state.value,
        "leases": [lease(each) for each in record.leases],
        "lease_count": record.lease_count,
        "holds": [asdict(hold) for hold in record.holds],
        "fencing_token": record.fencing_token,
        "generation": record.generation,
        "revision": record.revision,
        "cleanup": None
        if record.cleanup is None
        else {"handler": record.cleanup.handler, "parameters": dict(record.cleanup.parameters)},
        "target": record.target or None,
        "grace_ms": record.grace_ms,
        "labels": dict(record.labels),
        "created_ms": record.created_ms,
        "orphaned_ms": record.orphaned_ms or None,
        "due_ms": record.due_ms or None,
        "cleaned_ms": record.cleaned_ms or None,
        "attempts": record.attempts,
        "last_error": record.last_error or None,
        "claim": None if record.claim is None else asdict(record.claim),
    }


def cleanup(record: PendingCleanup) -> Fields:
    return {
        "resource": record.resource,
        "namespace": record.namespace,
        "state": record.state.value,
        "handler": record.cleanup.handler,
        "parameters": dict(record.cleanup.parameters),
        "target": record.target,
        "attempts": record.attempts,
        "orphaned_ms": record.orphaned_ms,
        "due_ms": record.due_ms or None,
        "blocked_by": record.blocked_by or None,
        "last_error": record.last_error or None,
        "claim": None if record.claim is None else asdict(record.claim),
        "generation": record.generation,
    }


def namespace(record: Namespace) -> Fields:
    return {
        "namespace": record.name,
        "revision": record.revision,
        "limits": asdict(record.limits),
        "cleanup": asdict(record.cleanup),
        "cleanups_paused": record.cleanups_paused,
        "pause_is_global": record.pause_is_global,
        "pause_reason": record.pause_reason or None,
        "brake": asdict(record.brake),
        "brake_state": asdict(record.brake_state),
        "usage": asdict(record.usage),
    }


def status(record: ClusterStatus) -> Fields:
    return {
        "cluster_id": record.cluster_id,
        "healthy": record.healthy,
        "leader": record.leader_id or None,
        "term": record.term,
        "clock_ms": record.clock_ms,
        "nodes": [
            {
                "id": node.id,
                "api": node.api,
                "role": node.role.value,
                "applied_index": node.applied_index,
                "commit_index": node.commit_index,
                "term": node.term,
                "version": node.version,
                "digest": node.digest.hex(),
                "feature_level": node.feature_level,
            }
            for node in record.nodes
        ],
        "leases": record.leases,
        "sessions": record.sessions,
        "resources": record.resources,
        "cleanup": {
            "due": record.cleanup.due,
            "claimed": record.cleanup.claimed,
            "dead_letter": record.cleanup.dead_letter,
            "paused": record.cleanup.paused,
            "pause_reason": record.cleanup.pause_reason or None,
            "braked": list(record.cleanup.braked),
            "oldest_overdue_ms": record.cleanup.oldest_overdue_ms,
            "unknown_handlers": dict(record.cleanup.unknown_handlers),
            "fleet_brake": asdict(record.cleanup.fleet_brake),
            "breakers": list(map(asdict, record.cleanup.breakers)),
        },
        "feature_level": record.feature_level,
        "warnings": list(record.warnings),
        "age_ms": record.age_ms,
    }


def member(record: Member) -> Fields:
    return asdict(record)


def event(record: Event) -> Fields:
    return {key: value for key, value in asdict(record).items() if value not in ("", 0)}
