"""SessionService: open, renew, close, read and keep alive."""

from collections.abc import AsyncIterator

from typing_extensions import override

from garbagetruck.cluster.api import errors, pages
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.keep_alive import keep_alive
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.api.translate import session as translate
from garbagetruck.cluster.machine.operations import CloseSession, OpenSession, RenewSessions
from garbagetruck.cluster.machine.outcomes import SessionClosed, SessionOpened, SessionsRenewed
from garbagetruck.v1 import session_pb2, session_pb2_grpc


class SessionServicer(session_pb2_grpc.SessionServiceServicer):
    """Translates; see session.proto for what the methods promise."""

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def OpenSession(
        self, request: session_pb2.OpenSessionRequest, context: Context
    ) -> session_pb2.OpenSessionResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = OpenSession(
            door.entered_ms(),
            header.namespace(request.namespace),
            request.request_id,
            door.draw_id(),
            request.holder,
            request.ttl_ms,
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, SessionOpened), outcome
        return session_pb2.OpenSessionResponse(
            header=door.mutation_header(context), session=translate.session_message(outcome.session)
        )

    @override
    async def RenewSession(
        self, request: session_pb2.RenewSessionRequest, context: Context
    ) -> session_pb2.RenewSessionResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_id("session_id", request.session_id)
        operation = RenewSessions(door.entered_ms(), header.namespace(request.namespace), (request.session_id,))
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, SessionsRenewed), outcome
        for _, refused in outcome.refusals:
            raise errors.of_refusal(refused)
        return session_pb2.RenewSessionResponse(
            header=door.mutation_header(context), remaining_ms=outcome.remaining_ms[0]
        )

    @override
    async def CloseSession(
        self, request: session_pb2.CloseSessionRequest, context: Context
    ) -> session_pb2.CloseSessionResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = CloseSession(door.entered_ms(), header.namespace(request.namespace), request.session_id)
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, SessionClosed), outcome
        return session_pb2.CloseSessionResponse(header=door.mutation_header(context), lease_count=outcome.leases_ending)

    @override
    async def GetSession(
        self, request: session_pb2.GetSessionRequest, context: Context
    ) -> session_pb2.GetSessionResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_id("session_id", request.session_id)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        session = view.machine.session(request.session_id, view.clock_ms)
        if session is None or session.namespace != namespace:
            raise errors.of_door(
                "SESSION_NOT_FOUND",
                f"no session {request.session_id!r} in namespace {namespace!r}: it never existed here, or ended too "
                "long ago",
                field="session_id",
            )
        return session_pb2.GetSessionResponse(header=door.read_header(view), session=translate.session_message(session))

    @override
    async def ListSessions(
        self, request: session_pb2.ListSessionsRequest, context: Context
    ) -> session_pb2.ListSessionsResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after(request, request.page_token)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        page = view.machine.sessions(namespace, request.holder, after, size, view.clock_ms)
        return session_pb2.ListSessionsResponse(
            header=door.read_header(view),
            sessions=[translate.session_message(session) for session in page.items],
            next_page_token=pages.next_page_token(request, page.next_after),
        )

    @override
    def KeepSessionAlive(
        self, request_iterator: AsyncIterator[session_pb2.KeepSessionAliveRequest], context: Context
    ) -> AsyncIterator[session_pb2.KeepSessionAliveResponse]:
        return keep_alive(
            self._door, request_iterator, context, self._keep_alive_operation, translate.keep_alive_response
        )

    async def _keep_alive_operation(
        self, message: session_pb2.KeepSessionAliveRequest, deadline: float
    ) -> RenewSessions:
        door = self._door
        door.check_items("session_ids", len(message.session_ids))
        operation = RenewSessions(door.entered_ms(), header.namespace(message.namespace), tuple(message.session_ids))
        door.check(operation)
        await door.require_namespace(operation.namespace, deadline)
        return operation
