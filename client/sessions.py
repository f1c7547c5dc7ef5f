"""Opening, renewing, closing and reading sessions, one call at a time.

Duty: the calls of SessionService in Python's terms. `Session`, which keeps one alive by itself, is built on them.
"""

from garbagetruck.client.caller import Caller, Listing, Page, consistency
from garbagetruck.client.connection import Answer
from garbagetruck.client.records import SessionRecord
from garbagetruck.client.translate import milliseconds, session_record
from garbagetruck.v1 import session_pb2


class Sessions:
    """The sessions of one namespace."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def open(self, *, holder: str, ttl: float, timeout: float | None = None) -> SessionRecord:
        """Open a session that nobody renews but you; `Truck.session` does it by itself.

        Raises `InvalidArgument`, `QuotaExceeded`, `NamespaceNotFound`; `Unavailable`, `OutcomeUnknown`.
        """
        answer = await self.call_open(holder, ttl, timeout)
        return session_record(answer.message.session)

    async def renew(self, session_id: str, *, timeout: float | None = None) -> float:
        """Begin a session's time anew; returns its TTL in seconds. Raises `SessionEnded`, `SessionNotFound`."""
        answer = await self.call_renew(session_id, timeout)
        return answer.message.remaining_ms / 1_000

    async def close(self, session_id: str, *, timeout: float | None = None) -> int:
        """Close a session and give its leases back; returns how many it had.

        Raises `SessionNotFound`, and `SessionEnded` when it had expired. A second close is no error.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.session.CloseSession,
            timeout,
            session_pb2.CloseSessionRequest,
            namespace=self._caller.namespace,
            session_id=session_id,
        )
        return answer.message.lease_count

    async def get(self, session_id: str, *, stale: bool = False, timeout: float | None = None) -> SessionRecord:
        """Read one session, also for some time after it ended; raises `SessionNotFound`."""
        answer = await self._caller.read(
            lambda stubs: stubs.session.GetSession,
            timeout,
            session_pb2.GetSessionRequest,
            namespace=self._caller.namespace,
            consistency=consistency(stale=stale),
            session_id=session_id,
        )
        return session_record(answer.message.session)

    def list(
        self, *, holder: str = "", page_size: int = 0, stale: bool = False, timeout: float | None = None
    ) -> Listing[SessionRecord]:
        """Go through the active sessions, of one holder or of all. `timeout` is for each page."""

        async def fetch(size: int, token: str) -> Page[SessionRecord]:
            answer = await self._caller.read(
                lambda stubs: stubs.session.ListSessions,
                timeout,
                session_pb2.ListSessionsRequest,
                namespace=self._caller.namespace,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
                holder=holder,
            )
            return Page(tuple(map(session_record, answer.message.sessions)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    async def call_open(
        self, holder: str, ttl: float, timeout: float | None
    ) -> Answer[session_pb2.OpenSessionResponse]:
        """Open a session, and tell when that was sent."""
        return await self._caller.mutate(
            lambda stubs: stubs.session.OpenSession,
            timeout,
            session_pb2.OpenSessionRequest,
            namespace=self._caller.namespace,
            holder=holder,
            ttl_ms=milliseconds(ttl, "ttl_ms"),
        )

    async def call_renew(self, session_id: str, timeout: float | None) -> Answer[session_pb2.RenewSessionResponse]:
        """Renew a session, and tell when that was sent."""
        return await self._caller.mutate(
            lambda stubs: stubs.session.RenewSession,
            timeout,
            session_pb2.RenewSessionRequest,
            namespace=self._caller.namespace,
            session_id=session_id,
        )
