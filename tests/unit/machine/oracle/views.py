"""How leases and sessions look, and how they are refused once they are over."""

from garbagetruck.cluster.machine.model import EndReason, LeaseState
from garbagetruck.cluster.machine.outcomes import LeaseView, Reason, Refused, SessionView
from tests.unit.machine.oracle.books import Books, Ended, no


def over(books: Books, lease_id: str) -> Ended | None:
    """How a lease ended, if it did: a lease is over with its session, swept or not."""
    lease = books.leases.get(lease_id)
    if lease is None:
        return books.ended.get(lease_id)
    if not lease.session or lease.session in books.sessions:
        return None
    session = books.draining[lease.session]
    why = EndReason.SESSION_EXPIRED if session.why == EndReason.EXPIRED else EndReason.SESSION_CLOSED
    return Ended(
        lease.namespace,
        lease.resource,
        lease.holder,
        lease.token,
        lease.ttl_ms,
        lease.session,
        session.ended_ms,
        why.value,
    )


def view(books: Books, lease_id: str) -> LeaseView | None:
    ended = over(books, lease_id)
    if ended is not None:
        expired = ended.why in (EndReason.EXPIRED, EndReason.SESSION_EXPIRED)
        return LeaseView(
            lease_id,
            ended.namespace,
            ended.resource,
            ended.holder,
            ended.token,
            ended.ttl_ms,
            0,
            ended.session,
            LeaseState.EXPIRED if expired else LeaseState.RELEASED,
            ended.why,
            ended.ended_ms,
            (),
        )
    if lease_id not in books.leases:
        return None
    lease = books.leases[lease_id]
    deadline_ms = books.sessions[lease.session].deadline_ms if lease.session else lease.deadline_ms
    return LeaseView(
        lease_id,
        lease.namespace,
        lease.resource,
        lease.holder,
        lease.token,
        lease.ttl_ms,
        max(0, deadline_ms - books.clock),
        lease.session,
        LeaseState.ACTIVE,
        "",
        0,
        (),
    )


def view_session(books: Books, session_id: str) -> SessionView | None:
    count = len(books.leases_in(session_id))
    session = books.sessions.get(session_id)
    if session is not None:
        left_ms = max(0, session.deadline_ms - books.clock)
        return SessionView(session_id, session.namespace, session.holder, session.ttl_ms, left_ms, count, True, "", 0)
    ended = books.draining.get(session_id) or books.ended_sessions.get(session_id)
    if ended is None:
        return None
    return SessionView(
        session_id, ended.namespace, ended.holder, ended.ttl_ms, 0, count, False, ended.why, ended.ended_ms
    )


def refuse_lease(books: Books, lease_id: str, namespace: str) -> Refused:
    seen = view(books, lease_id)
    known = seen is not None and seen.namespace == namespace
    return no(Reason.LEASE_ENDED if known else Reason.LEASE_NOT_FOUND, "lease_id")


def refuse_session(books: Books, session_id: str, namespace: str) -> Refused:
    seen = view_session(books, session_id)
    known = seen is not None and seen.namespace == namespace
    return no(Reason.SESSION_ENDED if known else Reason.SESSION_NOT_FOUND, "session_id")
