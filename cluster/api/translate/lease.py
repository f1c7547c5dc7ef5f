"""Leases on the wire."""

from collections.abc import Mapping, Sequence

from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.machine.model import CleanupSpec, LeaseState
from garbagetruck.cluster.machine.operations import AcquireLease
from garbagetruck.cluster.machine.outcomes import LeaseView
from garbagetruck.cluster.machine.questions import LeaseFilter
from garbagetruck.v1 import error_pb2, header_pb2, lease_pb2

STATES: Mapping[LeaseState, lease_pb2.LeaseState.ValueType] = {
    LeaseState.ACTIVE: lease_pb2.LEASE_STATE_ACTIVE,
    LeaseState.EXPIRED: lease_pb2.LEASE_STATE_EXPIRED,
    LeaseState.RELEASED: lease_pb2.LEASE_STATE_RELEASED,
}


def acquire_operation(
    request: lease_pb2.AcquireRequest | lease_pb2.AcquireItem,
    *,
    entered_ms: int,
    namespace: str,
    request_id: str,
    lease_id: str,
    cleanup: CleanupSpec | None,
) -> AcquireLease:
    """What a request, or one item of a batch, asks the machine for. An absent grace is 0: the namespace's minimum."""
    return AcquireLease(
        entered_ms,
        namespace,
        request_id,
        lease_id,
        request.resource,
        request.holder,
        request.ttl_ms,
        request.session_id,
        cleanup,
        request.grace_ms,
        header.labels(request.labels),
    )


def lease_message(view: LeaseView) -> lease_pb2.Lease:
    return lease_pb2.Lease(
        id=view.id,
        namespace=view.namespace,
        resource=view.resource,
        holder=view.holder,
        fencing_token=view.fencing_token,
        ttl_ms=view.ttl_ms,
        remaining_ms=view.remaining_ms,
        session_id=view.session_id,
        state=STATES[view.state],
        end_reason=view.end_reason,
        ended_ms=view.ended_ms,
        labels=dict(view.labels) if view.labels else None,
    )


def lease_filter(request: lease_pb2.ListLeasesRequest) -> LeaseFilter:
    return LeaseFilter(
        header.namespace(request.namespace),
        request.resource,
        request.holder,
        request.session_id,
        header.labels(request.labels),
    )


def keep_alive_response(
    where: header_pb2.ResponseHeader,
    request: lease_pb2.KeepAliveRequest,
    remaining_ms: Sequence[int],
    errors: Sequence[error_pb2.ItemError],
) -> lease_pb2.KeepAliveResponse:
    return lease_pb2.KeepAliveResponse(
        header=where, sequence=request.sequence, remaining_ms=remaining_ms, errors=errors
    )
