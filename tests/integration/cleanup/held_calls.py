"""A way to run a handler's blocking calls that can be held back: a handler that is stopped before its next step."""

import asyncio
from collections.abc import Callable

from typing_extensions import override

from garbagetruck.cluster.cleanup.running import ResultT, RunBlocking


class HeldCalls(RunBlocking):
    """Runs them on the loop, as a rule at once."""

    def __init__(self) -> None:
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self.held = asyncio.Event()
        """Set when a call is held back."""

    def hold(self) -> None:
        self.held.clear()
        self._may_pass.clear()

    def let_go(self) -> None:
        self._may_pass.set()

    @override
    async def __call__(self, call: Callable[[], ResultT], /) -> ResultT:
        if not self._may_pass.is_set():
            self.held.set()
        await self._may_pass.wait()
        return call()
