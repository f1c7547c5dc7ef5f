"""What happens around every call: counted, admitted or turned away, its failure told, its stream ended by a drain.

One interceptor does it all, since each more costs every call. It wraps a method's handler once, at its first call.

Invariants: whatever a servicer raises reaches the client as one of the published errors, with details; a drained server
takes no call of a client's and keeps no stream but those that tell its health.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never, TypeAlias

import grpc
import structlog
from grpc import aio
from typing_extensions import override

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.door import Context
from garbagetruck.cluster.api.errors import CallError
from garbagetruck.cluster.api.gateway import Draining, Header, OperatingError, Overloaded
from garbagetruck.cluster.api.ports import CallObserver, MethodObserver
from garbagetruck.cluster.api.wire import reader

HEALTH_SERVICE = "grpc.health.v1.Health"
NANOSECONDS = 1_000_000_000
DRAINED = "the node is shutting down; go on with another one"

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in its stubs only

Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls one node serves at a time. More are UNAVAILABLE (OVERLOADED)."""

    concurrent_requests_max: int = 2_000
    concurrent_streams_max: int = 10_000


class CallInterceptor(aio.ServerInterceptor):
    """Runs on the node's main loop; one for each server."""

    def __init__(
        self, observer: CallObserver, header: Callable[[], Header], limits: CallLimits, monotonic_ns: Callable[[], int]
    ) -> None:
        """`header`: where this node stands."""
        self._observer = observer
        self._header = header
        self._limits = limits
        self._monotonic_ns = monotonic_ns
        self._handlers: dict[str, Handler] = {}
        """Wrapped handlers by method; unknown methods have none, so it is as large as the API."""
        self._requests = 0
        self._streams: set[_Stream] = set()
        self._draining = False
        self._idle = asyncio.Event()

    # -- draining ---------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no more calls of clients, and end their streams with UNAVAILABLE (DRAINING). Idempotent."""
        if self._draining:
            return
        self._draining = True
        for stream in self._streams:
            stream.end()
        self._note_idle()

    async def wait_idle(self) -> None:
        """Wait until no call of a client's is left. Only after `drain`."""
        await self._idle.wait()

    def _note_idle(self) -> None:
        if self._draining and not self._requests and not self._streams:
            self._idle.set()

    # -- wrapping ---------------------------------------------------------------------------------------------

    @override
    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            inner = await continuation(handler_call_details)
            if inner is None:
                return None  # grpc answers UNIMPLEMENTED
            handler = self._handlers[method] = self._wrap(method, inner)
        return handler

    def _wrap(self, path: str, handler: Handler) -> Handler:
        _, service, method = path.split("/")
        deserializer: Any = handler.request_deserializer  # the bound FromString of the request's class
        read = reader(deserializer, deserializer.__self__.DESCRIPTOR)
        if handler.unary_unary is not None:
            observer = self._observer.method(service, method, "unary")
            return grpc.unary_unary_rpc_method_handler(
                self._unary(service, method, handler.unary_unary, read, observer),
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream is not None:
            observer = self._observer.method(service, method, "server_stream")
            return grpc.unary_stream_rpc_method_handler(
                self._stream(service, method, handler.unary_stream, observer, read),
                response_serializer=handler.response_serializer,
            )
        assert handler.stream_stream is not None, "the API has no client streams"
        observer = self._observer.method(service, method, "bidi_stream")
        return grpc.stream_stream_rpc_method_handler(
            self._stream(service, method, handler.stream_stream, observer, None),
            request_deserializer=read,
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, service: str, method: str, behaviour: Any, read: Callable[[bytes], Any], observer: MethodObserver
    ) -> Any:
        exempt = service == HEALTH_SERVICE

        async def call(raw: bytes, context: Context) -> Any:
            started_ns = self._monotonic_ns()
            observer.started()
            code = "OK"
            self._requests += 1
            try:
                if not exempt:
                    self._admit(self._requests, self._limits.concurrent_requests_max)
                return await behaviour(read(raw), context)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except aio.BaseError:
                code = _code_of(context)
                raise
            except Exception as error:  # noqa: BLE001 - the last line: whatever it is, the client is told
                told = self._told(error, service, method)
                code = told.answer.code.name
                await self._abort(context, told)
            finally:
                self._requests -= 1
                observer.finished(code, (self._monotonic_ns() - started_ns) / NANOSECONDS)
                if self._draining:
                    self._note_idle()

        return call

    def _stream(
        self,
        service: str,
        method: str,
        behaviour: Any,
        observer: MethodObserver,
        read: Callable[[bytes], Any] | None,
    ) -> Any:
        """`read`: for a single request; the requests of a stream are read by grpc, which calls the same."""
        exempt = service == HEALTH_SERVICE

        async def call(request: Any, context: Context) -> None:
            started_ns = self._monotonic_ns()
            observer.started()
            code = "OK"
            stream = _Stream(asyncio.current_task())
            if not exempt:
                self._streams.add(stream)
            try:
                if not exempt:
                    self._admit(len(self._streams), self._limits.concurrent_streams_max)
                await stream.run(behaviour, read(request) if read is not None else request, context)
            except asyncio.CancelledError:
                code = "CANCELLED"
                if not stream.was_ended_by_cancelling():
                    raise  # the client left
                code = grpc.StatusCode.UNAVAILABLE.name
                await self._abort(context, self._told(Draining(DRAINED), service, method))
            except aio.BaseError:
                code = _code_of(context)
                raise
            except Exception as error:  # noqa: BLE001 - as above
                told = self._told(error, service, method)
                code = told.answer.code.name
                await self._abort(context, told)
            finally:
                self._streams.discard(stream)
                observer.finished(code, (self._monotonic_ns() - started_ns) / NANOSECONDS)
                if self._draining:
                    self._note_idle()

        return call

    def _admit(self, present: int, most: int) -> None:
        if self._draining:
            raise Draining(DRAINED)
        if present > most:
            raise Overloaded(f"the node serves {most} calls already; ask another one, or later")

    def _told(self, error: Exception, service: str, method: str) -> CallError:
        if isinstance(error, CallError):
            return error
        if isinstance(error, OperatingError):
            if error.leader is None:
                error.leader = self._header().leader_api or None
            return errors.of_operating_error(error)
        _log.error("call_failed_by_a_bug", service=service, method=method, exc_info=error)
        return errors.of_door("INTERNAL", f"{method} failed by a bug of the server; its log tells more")

    async def _abort(self, context: Context, error: CallError) -> Never:
        header = self._header()
        error.of_life(header.cluster_id, header.incarnation)
        status = error.status()
        await context.abort(error.answer.code, status.message, errors.trailing_metadata(status, error.leader()))


class _Stream:
    """One stream that is being served.

    A drain ends it between two writes: gRPC sends no status while a write is on its way, so a stream that was cancelled
    in the middle of one would never end for its client.
    """

    __slots__ = ("_cancelled", "_ended", "_task", "_writing")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        assert task is not None, "grpc.aio runs every call in a task"
        self._task = task
        self._writing = False
        self._ended = False
        self._cancelled = False

    def end(self) -> None:
        """Let `run` raise `Draining`, or be cancelled, as soon as may be."""
        self._ended = True
        if not self._writing:
            self._cancelled = True
            self._task.cancel()

    def was_ended_by_cancelling(self) -> bool:
        """Whether a cancellation that was caught is `end`'s, and its only one; then it counts as handled."""
        return self._cancelled and self._task.uncancel() == 0

    async def run(self, behaviour: Any, request: Any, context: Context) -> None:
        """Run a streaming method of either of grpc's two styles, and close its generator whatever happens."""
        if inspect.iscoroutinefunction(behaviour):
            await behaviour(request, context)
            return
        responses: AsyncIterator[Any] = behaviour(request, context)
        async with aclosing(responses):  # type: ignore[type-var]  # every servicer returns a generator
            async for response in responses:
                self._writing = True
                await context.write(response)
                self._writing = False
                if self._ended:
                    raise Draining(DRAINED)


def _code_of(context: Context) -> str:
    """The code that the call was aborted with by library code; none means that the client had left."""
    code: grpc.StatusCode | None = context.code()
    return code.name if code is not None else grpc.StatusCode.CANCELLED.name
