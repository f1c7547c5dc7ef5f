"""How handlers run what blocks.

Duty: the type of the callable that the composition root gives to handlers (a thread pool in a node, a direct call in
the simulator and in tests), and a way to send many short calls through it together.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from typing_extensions import override

ResultT = TypeVar("ResultT")

CALLS_PER_HOP_MAX = 16
HOPS_MAX = 4


class RunBlocking(Protocol):
    """Runs a blocking call off the event loop, and answers with its result or its exception.

    When the awaiting task is cancelled, the call may go on running: it has to ask by itself whether it may proceed.
    """

    def __call__(self, call: Callable[[], ResultT], /) -> Awaitable[ResultT]: ...


async def run_directly(call: Callable[[], ResultT]) -> ResultT:
    """Run it on the event loop: for the simulator and for tests."""
    return call()


class GatheredCalls(RunBlocking):
    """Runs short blocking calls one after the other, up to `CALLS_PER_HOP_MAX` to a hop, `HOPS_MAX` hops at once.

    For calls of a few hundred microseconds each: the hop to a thread and back would cost more than the call. A call that
    takes long holds up those that share its hop, so it belongs elsewhere. Made without a loop; used on one.
    """

    def __init__(self, run_blocking: RunBlocking) -> None:
        self._run_blocking = run_blocking
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._hops: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False

    @override
    async def __call__(self, call: Callable[[], ResultT], /) -> ResultT:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._waiting.append((call, future))
        if not self._pump_scheduled:
            self._pump_scheduled = True
            loop.call_soon(self._pump)
        return await future

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._waiting and len(self._hops) < HOPS_MAX:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), CALLS_PER_HOP_MAX))]
            hop = asyncio.get_running_loop().create_task(self._hop(taken))
            self._hops.add(hop)
            hop.add_done_callback(self._landed)

    async def _hop(self, taken: list[tuple[Callable[[], Any], asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._run_blocking(lambda: [_answer(call, future) for call, future in taken])
        except BaseException as failure:
            for _, future in taken:
                if not future.done():
                    future.set_exception(RuntimeError(f"blocking calls cannot be run: {failure!r}"))
            raise
        for (_, future), (result, error) in zip(taken, answers, strict=True):
            if future.done():
                pass  # cancelled meanwhile
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _landed(self, hop: asyncio.Task[None]) -> None:
        self._hops.discard(hop)
        if not hop.cancelled():
            hop.exception()  # seen: everyone who waited for the hop was told
        self._pump()


def _answer(call: Callable[[], Any], future: "asyncio.Future[Any]") -> tuple[Any, Exception | None]:
    """Run one call where it may block. What was cancelled meanwhile is not begun."""
    if future.done():
        return None, None
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - it is its caller's, not its neighbours'
        return None, error
