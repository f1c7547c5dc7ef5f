"""An event loop on a thread of its own, and the way to its other side.

Duty: let code without `await` use the asynchronous client, without writing any of it twice: a method of a synchronous
class is made from the asynchronous one by `blocking`, `iterating` or `entering`, and keeps its parameters and types.
Invariants: everything asynchronous runs on the portal's loop and nowhere else; a caller who is interrupted cancels
what it waits for. This is the one place of the client that makes a thread.
It must not know: leases, sessions, calls.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


class Portal:
    """A loop to run coroutines on, from any thread but its own. `with` starts and stops it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def __enter__(self) -> Self:
        assert self._thread is None, "started twice"
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: a program that forgets to close its truck may still end.
        self._thread = threading.Thread(target=self._work, args=(ready,), name="garbagetruck-client", daemon=True)
        self._thread.start()
        self._loop, self._stopping = ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stopping is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop = None

    def run(self, awaitable: Awaitable[T]) -> T:
        """Wait for something to be done on the loop; returns or raises what it does."""
        if self._loop is None:
            message = "not connected; use `with garbagetruck.connect_sync(...)`"
            raise RuntimeError(message)
        future = asyncio.run_coroutine_threadsafe(_coroutine(awaitable), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, iterator: AsyncIterator[T]) -> Iterator[T]:
        """Go through what is produced on the loop."""
        end = object()
        try:
            while (item := self.run(_next_or(iterator, end))) is not end:
                yield item  # type: ignore[misc]  # `end` is no T, but has just been ruled out by identity
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                self.run(close())

    def _work(self, ready: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        async def serve() -> None:
            stopping = asyncio.Event()
            ready.set_result((asyncio.get_running_loop(), stopping))
            await stopping.wait()

        asyncio.run(serve())


class Face(Generic[T]):
    """The synchronous side of an object that lives on a portal's loop."""

    def __init__(self, portal: Portal, wrapped: T) -> None:
        self.portal = portal
        """Where the object lives."""
        self.wrapped = wrapped
        """The asynchronous object itself; touch it on its loop only."""


class SyncContext(Generic[T, S]):
    """The synchronous side of an asynchronous context manager."""

    def __init__(self, portal: Portal, context: AbstractAsyncContextManager[T], wrap: Callable[[Portal, T], S]) -> None:
        self._portal = portal
        self._context = context
        self._wrap = wrap

    def __enter__(self) -> S:
        return self._wrap(self._portal, self._portal.run(self._context.__aenter__()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._portal.run(self._context.__aexit__(kind, error, traceback))


class SyncMethod(Generic[P, S]):
    """A method of a `Face`, made from one of the object that it wraps."""

    def __init__(self, method: Callable[..., Any], act: Callable[[Portal, Any], S]) -> None:
        self._method = method
        self._act = act
        self.__doc__ = method.__doc__

    def __get__(self, face: Face[Any], owner: type[Face[Any]]) -> Callable[P, S]:
        @wraps(self._method)
        def bound(*args: P.args, **kwargs: P.kwargs) -> S:
            return self._act(face.portal, self._method(face.wrapped, *args, **kwargs))

        return bound


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> SyncMethod[P, T]:
    """The method that waits until the asynchronous one is done."""
    return SyncMethod(method, lambda portal, coroutine: portal.run(coroutine))


def blocking_as(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], wrap: Callable[[Portal, T], S]
) -> SyncMethod[P, S]:
    """As `blocking`, with the result brought to this side by `wrap`."""
    return SyncMethod(method, lambda portal, coroutine: wrap(portal, portal.run(coroutine)))


def plain_as(method: Callable[Concatenate[Any, P], T], wrap: Callable[[Portal, T], S]) -> SyncMethod[P, S]:
    """The method whose asynchronous side needs no `await` itself, with the result brought to this side by `wrap`."""
    return SyncMethod(method, wrap)


def iterating(method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> SyncMethod[P, Iterator[T]]:
    """The method that returns an iterator where the asynchronous one returns an asynchronous iterator."""
    return SyncMethod(method, lambda portal, iterator: portal.iterate(iterator))


def entering(
    method: Callable[Concatenate[Any, P], AbstractAsyncContextManager[T]], wrap: Callable[[Portal, T], S]
) -> SyncMethod[P, SyncContext[T, S]]:
    """The method that returns a context manager where the asynchronous one returns an asynchronous context manager."""
    return SyncMethod(method, lambda portal, context: SyncContext(portal, context, wrap))


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _next_or(iterator: AsyncIterator[T], end: S) -> T | S:
    try:
        return await anext(iterator)
    except StopAsyncIteration:
        return end
