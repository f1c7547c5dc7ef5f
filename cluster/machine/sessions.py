"""Sessions: one heartbeat that carries any number of leases.

When a session is over its leases are over with it, for every reader and writer at once; they are *swept* a bounded
number a batch, so that a session with a hundred thousand leases stalls nobody.
"""

from msgspec.structs import replace

from garbagetruck.cluster.machine import brake, requests
from garbagetruck.cluster.machine.model import EndedSession, EndReason, EventType, Session
from garbagetruck.cluster.machine.operations import CloseSession, OpenSession, RenewSessions
from garbagetruck.cluster.machine.outcomes import (
    Reason,
    Refused,
    SessionClosed,
    SessionOpened,
    SessionsRenewed,
    SessionView,
)
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.views import find_session, refuse_ended_session, view_session


def open_session(state: State, operation: OpenSession) -> SessionOpened | Refused:
    key: RequestKey = (operation.namespace, operation.holder, operation.request_id)
    payload = 0
    if operation.request_id:
        payload = requests.payload_hash(operation, "session_id")
        first = requests.recall(state, key, payload, requests.SESSION)
        if isinstance(first, Refused):
            return first
        if first is not None:
            opened = first.subject.removeprefix(requests.SESSION)
            view = find_session(state, opened, state.clock_ms)
            return SessionOpened(view or _forgotten(opened, operation, first.recorded_ms))
    limits = state.namespaces[operation.namespace].limits
    if find_session(state, operation.session_id, state.clock_ms) is not None:
        return Refused(Reason.SESSION_ID_TAKEN, "the drawn session id exists already; try again", "session_id", 0)
    if state.session_counts.get(operation.namespace, 0) >= limits.sessions_max:
        return Refused(
            Reason.QUOTA_EXCEEDED,
            f"namespace {operation.namespace!r} has reached sessions_max = {limits.sessions_max}; close sessions, "
            "or raise the limit with `namespace set`",
            metadata=(("limit", "sessions_max"), ("value", str(limits.sessions_max))),
        )
    session = Session(
        operation.session_id,
        state.namespaces[operation.namespace].name,
        state.known_holder(operation.namespace, operation.holder),
        state.next_token(),
        operation.ttl_ms,
        state.clock_ms + operation.ttl_ms,
        state.clock_ms,
    )
    state.add_session(session)
    if operation.request_id:
        requests.remember(state, key, payload, requests.SESSION + session.id)
    state.emit(EventType.SESSION_OPENED, session.namespace, session_id=session.id, holder=session.holder)
    brake.note_return(state, session.namespace, session.holder)
    return SessionOpened(view_session(state, session, state.clock_ms))


def _forgotten(session_id: str, operation: OpenSession, ended_ms: int) -> SessionView:
    """The session that the first attempt opened, whose end is no longer remembered."""
    reason = EndReason.RELEASED.value
    return SessionView(
        session_id, operation.namespace, operation.holder, operation.ttl_ms, 0, 0, False, reason, ended_ms
    )


def renew(state: State, session: Session) -> Session:
    """Give a session its full TTL again."""
    if session.namespace in state.brake_missing:
        brake.note_return(state, session.namespace, session.holder)
    deadline_ms = state.clock_ms + session.ttl_ms
    if deadline_ms == session.deadline_ms:
        return session
    renewed = replace(session, deadline_ms=deadline_ms)
    state.sessions.prolong({session.id: renewed})
    return renewed


def renew_sessions(state: State, operation: RenewSessions) -> SessionsRenewed:
    remaining: list[int] = []
    refusals: list[tuple[int, Refused]] = []
    for position, session_id in enumerate(operation.session_ids):
        session = state.sessions.get(session_id)
        if session is None or session.namespace != operation.namespace:
            refusals.append((position, refuse_ended_session(state, session_id, operation.namespace)))
            remaining.append(-1)
        else:
            remaining.append(renew(state, session).ttl_ms)
    return SessionsRenewed(tuple(remaining), tuple(refusals))


def close_session(state: State, operation: CloseSession) -> SessionClosed | Refused:
    session = state.sessions.get(operation.session_id)
    if session is None or session.namespace != operation.namespace:
        view = find_session(state, operation.session_id, state.clock_ms)
        closed = view is not None and view.end_reason == EndReason.RELEASED.value
        if view is not None and closed and view.namespace == operation.namespace:
            return SessionClosed(0)  # a repeated close is the same close
        return refuse_ended_session(state, operation.session_id, operation.namespace)
    ending = state.leases_by_session.count(session.id)
    end(state, session, EndReason.RELEASED)
    return SessionClosed(ending)


def end(state: State, session: Session, reason: EndReason) -> None:
    state.drop_session(session)
    ended = EndedSession(session.id, session.namespace, session.holder, session.ttl_ms, state.clock_ms, reason)
    if state.leases_by_session.count(session.id):
        state.draining.put(session.id, ended)
    else:
        state.remember_session(ended)
    state.emit(
        EventType.SESSION_EXPIRED if reason is EndReason.EXPIRED else EventType.SESSION_CLOSED,
        session.namespace,
        session_id=session.id,
        holder=session.holder,
        detail=reason.value,
    )
