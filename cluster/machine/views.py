"""How leases and sessions are shown: computed at a moment, never stored."""

from garbagetruck.cluster.machine.model import (
    EndedLease,
    EndedSession,
    EndReason,
    Lease,
    LeaseState,
    Session,
)
from garbagetruck.cluster.machine.outcomes import LeaseView, Reason, Refused, SessionView
from garbagetruck.cluster.machine.state import State

EXPIRED_REASONS = (EndReason.EXPIRED, EndReason.SESSION_EXPIRED)


def lease_deadline_ms(state: State, lease: Lease) -> int | None:
    """Cluster time past which a lease may be ended; None when its session is over already."""
    if not lease.session_id:
        return lease.deadline_ms
    session = state.sessions.get(lease.session_id)
    return session.deadline_ms if session is not None else None


def is_over(state: State, lease: Lease) -> bool:
    """Whether its session is over, so that it only waits to be swept."""
    return lease_deadline_ms(state, lease) is None


def view_lease(state: State, lease: Lease, clock_ms: int) -> LeaseView:
    deadline_ms = lease_deadline_ms(state, lease)
    if deadline_ms is None:
        return view_ended_lease(end_of(state, lease))
    return LeaseView(
        lease.id,
        lease.namespace,
        lease.resource,
        lease.holder,
        lease.token,
        lease.ttl_ms,
        max(0, deadline_ms - clock_ms),
        lease.session_id,
        LeaseState.ACTIVE,
        "",
        0,
        lease.labels,
    )


def end_of(state: State, lease: Lease) -> EndedLease:
    """What will be remembered of a lease whose session is over."""
    session = state.draining[lease.session_id]
    return EndedLease(
        lease.id,
        lease.namespace,
        lease.resource,
        lease.holder,
        lease.token,
        lease.ttl_ms,
        lease.session_id,
        session.ended_ms,
        EndReason.SESSION_EXPIRED if session.reason is EndReason.EXPIRED else EndReason.SESSION_CLOSED,
        lease.labels,
    )


def view_ended_lease(ended: EndedLease) -> LeaseView:
    return LeaseView(
        ended.id,
        ended.namespace,
        ended.resource,
        ended.holder,
        ended.token,
        ended.ttl_ms,
        0,
        ended.session_id,
        LeaseState.EXPIRED if ended.reason in EXPIRED_REASONS else LeaseState.RELEASED,
        ended.reason.value,
        ended.ended_ms,
        ended.labels,
    )


def find_lease(state: State, lease_id: str, clock_ms: int) -> LeaseView | None:
    lease = state.leases.get(lease_id)
    if lease is not None:
        return view_lease(state, lease, clock_ms)
    ended = state.ended_leases.get(lease_id)
    return view_ended_lease(ended) if ended is not None else None


def view_session(state: State, session: Session, clock_ms: int) -> SessionView:
    return SessionView(
        session.id,
        session.namespace,
        session.holder,
        session.ttl_ms,
        max(0, session.deadline_ms - clock_ms),
        state.leases_by_session.count(session.id),
        True,
        "",
        0,
    )


def view_ended_session(state: State, ended: EndedSession) -> SessionView:
    return SessionView(
        ended.id,
        ended.namespace,
        ended.holder,
        ended.ttl_ms,
        0,
        state.leases_by_session.count(ended.id),
        False,
        ended.reason.value,
        ended.ended_ms,
    )


def find_session(state: State, session_id: str, clock_ms: int) -> SessionView | None:
    session = state.sessions.get(session_id)
    if session is not None:
        return view_session(state, session, clock_ms)
    ended = state.draining.get(session_id) or state.ended_sessions.get(session_id)
    return view_ended_session(state, ended) if ended is not None else None


def refuse_ended_lease(state: State, lease_id: str, namespace: str) -> Refused:
    """Why a lease cannot be renewed or released: never known, forgotten, or over (then when and why)."""
    view = find_lease(state, lease_id, state.clock_ms)
    if view is None or view.namespace != namespace:
        return Refused(
            Reason.LEASE_NOT_FOUND,
            f"no lease {lease_id!r} in namespace {namespace!r}: it never existed here, or ended too long ago",
            "lease_id",
        )
    ago_ms = state.clock_ms - view.ended_ms
    return Refused(
        Reason.LEASE_ENDED,
        f"lease {lease_id!r} on {view.resource!r} ended {ago_ms} ms ago ({view.end_reason}); acquire it again",
        "lease_id",
        metadata=(
            ("ended_ms", str(view.ended_ms)),
            ("end_reason", view.end_reason),
            ("resource", view.resource),
        ),
    )


def refuse_ended_session(state: State, session_id: str, namespace: str) -> Refused:
    view = find_session(state, session_id, state.clock_ms)
    if view is None or view.namespace != namespace:
        return Refused(
            Reason.SESSION_NOT_FOUND,
            f"no session {session_id!r} in namespace {namespace!r}: it never existed here, or ended too long ago",
            "session_id",
        )
    return Refused(
        Reason.SESSION_ENDED,
        f"session {session_id!r} ended {state.clock_ms - view.ended_ms} ms ago ({view.end_reason}); open a new one",
        "session_id",
        metadata=(("ended_ms", str(view.ended_ms)), ("end_reason", view.end_reason)),
    )
