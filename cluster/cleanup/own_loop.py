"""A plug-in on a thread and an event loop of its own: what it does there delays itself alone.

Duty: carry `start`, `observe`, `clean` and `stop` over to that loop, and their answers back.
Invariants: the node's loop waits for an answer, and never for a plug-in that does not stop: a call that is cancelled is
over here at once, whatever goes on there; of those that go on, no more than `CALLS_LEFT_MAX` are left behind before
nothing is begun any more; nothing that a plug-in raises ends its loop, or the node.
Must not know: what the plug-in does.

What it cannot keep off the node: native code that does not let go of the interpreter, memory without end, a crash; and
what blocks in `canonical_target`, which is answered on the node's own loop, as it has to be.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import structlog
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, ObservationError

CALLS_LEFT_MAX = 16
START_S_MAX = 30.0
STOP_S_MAX = 2.0

MakeThread = Callable[[Callable[[], None], str], threading.Thread]
"""A thread that is not started, and does not keep the process from ending."""

AnswerT = TypeVar("AnswerT")

_log = structlog.get_logger(__name__)


class StuckError(Exception):
    """Too many earlier calls have not ended. `str()` is for the operator."""


def on_own_loop(inner: Handler, name: str, make_thread: MakeThread) -> Handler:
    """The same handler, run on a loop of its own from `start` to `stop`."""

    class Plugin(_OwnLoop):
        scheme: ClassVar[str] = inner.scheme

    return Plugin(inner, name, make_thread)


class _OwnLoop(Handler):
    """Its methods run on the node's loop, as every handler's."""

    def __init__(self, inner: Handler, name: str, make_thread: MakeThread) -> None:
        self._inner = inner
        self._name = name
        self._make_thread = make_thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._there: set[_Call[Any]] = set()
        """The calls that have not ended there: added here, removed there."""
        self._awaited = 0

    @override
    def check(self) -> Sequence[str]:
        return self._inner.check()

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return self._inner.canonical_target(parameters)

    @override
    async def start(self) -> None:
        here, there = asyncio.get_running_loop(), asyncio.new_event_loop()
        self._loop = there
        self._ended.clear()
        self._make_thread(lambda: self._run(here, there), f"handler-{self._name}").start()
        limit = asyncio.timeout(START_S_MAX)
        try:
            async with limit:
                await self._carry(self._inner.start)
        except BaseException as error:
            await self._end()
            if isinstance(error, TimeoutError) and limit.expired():
                message = f"handlers.{self._name}: it did not start in {START_S_MAX:.0f} s"
                raise OSError(message) from error
            raise

    @override
    async def stop(self) -> None:
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self._carry(self._inner.stop)
        except StuckError as error:
            _log.error("handler_not_stopped", handler=self._name, reason=str(error))
        finally:
            await self._end()

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        try:
            return await self._carry(lambda: self._inner.observe(parameters))
        except StuckError as error:
            raise ObservationError(str(error)) from error

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        try:
            return await self._carry(lambda: self._inner.clean(call))
        except StuckError as error:
            return CleanupResult.failed(str(error))

    async def _carry(self, work: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Run it there, and wait for its answer here."""
        assert self._loop is not None, "it was started"
        left = len(self._there) - self._awaited
        if left >= CALLS_LEFT_MAX:
            message = f"{left} earlier calls of the plug-in were cancelled and go on; see what holds it up, then restart the node"
            raise StuckError(message)
        call = _Call(work)
        self._there.add(call)
        self._awaited += 1
        try:
            self._loop.call_soon_threadsafe(call.begin, self._there)
            return await asyncio.wrap_future(call.answer)
        finally:
            self._awaited -= 1

    def _run(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop) -> None:
        """The thread."""
        asyncio.set_event_loop(there)
        try:
            there.run_forever()
            left = asyncio.all_tasks(there)
            for task in left:
                task.cancel()
            if left:
                there.run_until_complete(asyncio.wait(left, timeout=STOP_S_MAX))
            there.run_until_complete(there.shutdown_asyncgens())
        finally:
            there.close()
            with contextlib.suppress(RuntimeError):  # the node's loop is closed: nobody waits
                here.call_soon_threadsafe(self._ended.set)

    async def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        try:
            async with asyncio.timeout(2 * STOP_S_MAX):
                await self._ended.wait()
        except TimeoutError:
            _log.error("handler_left_behind", handler=self._name, remedy="it blocks its loop; it ends with the process")


class _Call(Generic[AnswerT]):
    """One call on its way: made and awaited here, begun and ended there."""

    def __init__(self, work: Callable[[], Awaitable[AnswerT]]) -> None:
        self.answer: concurrent.futures.Future[AnswerT] = concurrent.futures.Future()
        self._work = work
        self._task: asyncio.Task[AnswerT] | None = None

    def begin(self, there: "set[_Call[Any]]") -> None:
        """There. A call that was cancelled meanwhile is not begun."""
        if self.answer.cancelled():
            there.discard(self)
            return
        loop = asyncio.get_running_loop()
        task = self._task = loop.create_task(self._do())
        task.add_done_callback(lambda _: self._ended(there))
        self.answer.add_done_callback(lambda answer: self._tell(loop) if answer.cancelled() else None)

    async def _do(self) -> AnswerT:
        if self.answer.cancelled():  # while this waited for the loop
            raise asyncio.CancelledError
        try:
            return await self._work()
        except (SystemExit, KeyboardInterrupt) as error:  # which would end the loop
            message = f"the plug-in raised {error!r}"
            raise RuntimeError(message) from error

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Here: nobody waits any more."""
        assert self._task is not None, "it has begun"
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the call has ended
            loop.call_soon_threadsafe(self._task.cancel)

    def _ended(self, there: "set[_Call[Any]]") -> None:
        """There."""
        there.discard(self)
        assert self._task is not None, "it has begun"
        error = None if self._task.cancelled() else self._task.exception()  # seen, whoever waits
        if self._task.cancelled():
            self.answer.cancel()
        elif self.answer.set_running_or_notify_cancel():
            if error is not None:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(self._task.result())
