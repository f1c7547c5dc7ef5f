"""Sessions, as the oracle sees them."""

from garbagetruck.cluster.machine.model import EndReason
from garbagetruck.cluster.machine.operations import CloseSession, OpenSession, RenewSessions
from garbagetruck.cluster.machine.outcomes import (
    Outcome,
    Reason,
    Refused,
    SessionClosed,
    SessionOpened,
    SessionsRenewed,
)
from tests.unit.machine.oracle import brake
from tests.unit.machine.oracle.books import Books, Ended, Session, no
from tests.unit.machine.oracle.views import refuse_session, view_session


def split(answers: list[int | Refused]) -> tuple[tuple[int, ...], tuple[tuple[int, Refused], ...]]:
    remaining = tuple(-1 if isinstance(each, Refused) else each for each in answers)
    return remaining, tuple((place, each) for place, each in enumerate(answers) if isinstance(each, Refused))


def heard_by_renewal(books: Books, namespace: str, holder: str) -> None:
    if books.spaces[namespace].braked:
        brake.heard(books, namespace, holder)


def open_session(books: Books, asked: OpenSession) -> SessionOpened | Refused:
    if view_session(books, asked.session_id) is not None:
        return no(Reason.SESSION_ID_TAKEN, "session_id", 0)
    there = sum(each.namespace == asked.namespace for each in books.sessions.values())
    if there >= books.spaces[asked.namespace].limits.sessions_max:
        return no(Reason.QUOTA_EXCEEDED)
    books.sessions[asked.session_id] = Session(
        asked.namespace, asked.holder, books.token(), asked.ttl_ms, books.clock + asked.ttl_ms
    )
    brake.heard(books, asked.namespace, asked.holder)
    seen = view_session(books, asked.session_id)
    assert seen is not None
    return SessionOpened(seen)


def renew_session(books: Books, session: Session) -> int:
    session.deadline_ms = books.clock + session.ttl_ms
    heard_by_renewal(books, session.namespace, session.holder)
    return session.ttl_ms


def renew_sessions(books: Books, asked: RenewSessions) -> SessionsRenewed:
    answers: list[int | Refused] = []
    for session_id in asked.session_ids:
        session = books.sessions.get(session_id)
        if session is None or session.namespace != asked.namespace:
            answers.append(refuse_session(books, session_id, asked.namespace))
        else:
            answers.append(renew_session(books, session))
    return SessionsRenewed(*split(answers))


def close_session(books: Books, asked: CloseSession) -> Outcome:
    session = books.sessions.get(asked.session_id)
    if session is None or session.namespace != asked.namespace:
        seen = view_session(books, asked.session_id)
        if seen is not None and seen.namespace == asked.namespace and seen.end_reason == EndReason.RELEASED:
            return SessionClosed(0)
        return refuse_session(books, asked.session_id, asked.namespace)
    ending = len(books.leases_in(asked.session_id))
    end_session(books, asked.session_id, EndReason.RELEASED)
    return SessionClosed(ending)


def end_session(books: Books, session_id: str, why: EndReason) -> None:
    session = books.sessions.pop(session_id)
    ended = Ended(
        session.namespace, "", session.holder, session.token, session.ttl_ms, session_id, books.clock, why.value
    )
    if books.leases_in(session_id):
        books.draining[session_id] = ended
    else:
        books.ended_sessions[session_id] = ended
        books.forget_oldest()
