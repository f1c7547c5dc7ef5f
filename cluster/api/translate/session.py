"""Sessions on the wire."""

from collections.abc import Sequence

from garbagetruck.cluster.machine.model import EndReason
from garbagetruck.cluster.machine.outcomes import SessionView
from garbagetruck.v1 import error_pb2, header_pb2, session_pb2


def session_message(view: SessionView) -> session_pb2.Session:
    if view.active:
        state = session_pb2.SESSION_STATE_ACTIVE
    elif view.end_reason == EndReason.EXPIRED:
        state = session_pb2.SESSION_STATE_EXPIRED
    else:
        state = session_pb2.SESSION_STATE_CLOSED
    return session_pb2.Session(
        id=view.id,
        namespace=view.namespace,
        holder=view.holder,
        ttl_ms=view.ttl_ms,
        remaining_ms=view.remaining_ms,
        lease_count=view.lease_count,
        state=state,
        end_reason=view.end_reason,
        ended_ms=view.ended_ms,
    )


def keep_alive_response(
    where: header_pb2.ResponseHeader,
    request: session_pb2.KeepSessionAliveRequest,
    remaining_ms: Sequence[int],
    errors: Sequence[error_pb2.ItemError],
) -> session_pb2.KeepSessionAliveResponse:
    return session_pb2.KeepSessionAliveResponse(
        header=where, sequence=request.sequence, remaining_ms=remaining_ms, errors=errors
    )
