"""An asyncio event loop without a thread, a selector or a clock of its own.

Duty: run one process's callbacks when the world says so, on the world's time as that process's clock shows it.
Invariants: nothing runs outside `turn`. Tasks and futures have stable hashes, so that sets of them are walked in the
same order in every run.
Must not know: networks, nodes, faults.
"""

import asyncio
import asyncio.events
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVarTuple

from typing_extensions import override

Ts = TypeVarTuple("Ts")
RESOLUTION_S = 1e-6
UNWINDINGS_MAX = 8
"""How often what ends may wait for something as it does."""


class _Hashed:
    """A hash that depends on the order of creation alone, not on where the object lies in memory."""

    _number: int

    @override
    def __hash__(self) -> int:
        return self._number


class SimulatedTask(_Hashed, asyncio.Task[Any]):
    """A task that can be told from others in the same way in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)


class SimulatedFuture(_Hashed, asyncio.Future[Any]):
    """A future that can be told from others in the same way in every run."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)


class _NoSelector:
    """There is nothing to wait for outside the world."""

    def select(self, timeout: float | None) -> list[Any]:
        del timeout
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """One process's main loop. `monotonic_s` is that process's clock.

    `on_error` hears what asyncio would only log: a callback that raised, a task that failed unseen. `on_touched` hears
    when there is more to run.
    """

    # What BaseEventLoop keeps, and does not show to type checkers.
    _ready: "deque[asyncio.Handle]"
    _scheduled: "list[asyncio.TimerHandle]"
    if TYPE_CHECKING:

        def _run_once(self) -> None: ...

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float],
        on_error: Callable[[str, BaseException | None], None],
        on_touched: Callable[[], None],
    ) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock_resolution = RESOLUTION_S
        self._monotonic_s = monotonic_s
        self._on_error = on_error
        self._on_touched = on_touched
        self._numbers = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._abandoned = False
        self.set_task_factory(self._make_task)
        super().set_exception_handler(self._complain)

    @override
    def time(self) -> float:
        return self._monotonic_s()

    @override
    def create_future(self) -> "asyncio.Future[Any]":
        return SimulatedFuture(number=next(self._numbers), loop=self)

    @override
    def call_soon(
        self, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._on_touched()
        return super().call_soon(callback, *arguments, context=context)

    @override
    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._on_touched()
        return super().call_at(when, callback, *arguments, context=context)

    def ready(self) -> bool:
        """Whether something can run now."""
        return bool(self._ready)

    def next_timer_s(self) -> float | None:
        """When the next timer falls due, on this process's clock; None when there is none."""
        return self._scheduled[0].when() if self._scheduled else None

    def turn(self) -> None:
        """Run what is ready and what is due, once."""
        before = asyncio.events._get_running_loop()  # noqa: SLF001 - a loop is driven by hand here
        asyncio.events._set_running_loop(self)  # noqa: SLF001 - likewise
        try:
            self._run_once()
        finally:
            asyncio.events._set_running_loop(before)  # noqa: SLF001 - likewise

    def start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Start a task, from outside of the loop or from within. Its failure, if nobody awaits it, is an error."""
        self.create_task(coroutine).add_done_callback(self._seen)

    def _seen(self, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._abandoned:
            self._on_error("a task failed", error)

    def abandon(self) -> None:
        """The process is gone: nothing of it runs again, and nobody hears of what it leaves behind."""
        self._abandoned = True
        self._ready.clear()
        self._scheduled.clear()

    def bury(self) -> None:
        """Unwind what an abandoned loop left behind, now and not when memory is collected."""
        before = asyncio.events._get_running_loop()  # noqa: SLF001 - as in `turn`
        asyncio.events._set_running_loop(self)  # noqa: SLF001 - likewise
        try:
            for task in list(self._tasks.values()):
                _unwind(task)
        finally:
            asyncio.events._set_running_loop(before)  # noqa: SLF001 - likewise
        self._ready.clear()
        self._scheduled.clear()
        self._tasks.clear()
        self.close()

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> "asyncio.Task[Any]":
        assert isinstance(coroutine, Coroutine)
        number = next(self._numbers)
        task = SimulatedTask(coroutine, number=number, loop=loop, **options)
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))
        return task

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        if not self._abandoned:
            self._on_error(str(context["message"]), context.get("exception"))

    def _process_events(self, event_list: list[Any]) -> None:
        """No selector, no events."""

    def _write_to_self(self) -> None:
        """Somebody, outside of the loop, has something for it."""
        self._on_touched()

    @override
    def set_exception_handler(self, handler: Any) -> None:
        """Not to be had: what production only logs is a bug here."""


def _unwind(task: "asyncio.Task[Any]") -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it is pending on purpose
    chain: list[Any] = [task.get_coro()]
    while isinstance(inner := getattr(chain[-1], "cr_await", None), Coroutine):
        chain.append(inner)
    for coroutine in reversed(chain):  # the innermost first: each may wait again for something as it ends
        for _ in range(UNWINDINGS_MAX):
            try:
                coroutine.close()
            except RuntimeError:
                continue
            except BaseException:  # noqa: BLE001  # what an ended world does to those in it is nobody's concern
                break
            break
