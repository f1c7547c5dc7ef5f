"""How a handler runs what blocks.

Duty: the type of the callable that the composition root gives to handlers: a thread pool in a node, a direct call in
the simulator and in tests.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

ResultT = TypeVar("ResultT")


class RunBlocking(Protocol):
    """Runs a blocking call off the event loop, and answers with its result or its exception.

    When the awaiting task is cancelled, the call may go on running: it has to ask by itself whether it may proceed.
    """

    def __call__(self, call: Callable[[], ResultT], /) -> Awaitable[ResultT]: ...


async def run_directly(call: Callable[[], ResultT]) -> ResultT:
    """Run it on the event loop: for the simulator and for tests."""
    return call()
