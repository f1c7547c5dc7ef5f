"""Claims and reports on their way to the machine, many in one proposal.

Duty: gather what attempts want to propose while proposals are in flight, propose it together, and hand each its
outcome with the moment at which its proposal began: a claim's deadline counts from there.
Invariants: bounded operations in a proposal and bounded proposals in flight; what a cancelled attempt still had waiting
is not proposed.
Must not know: what the operations are for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from garbagetruck.cluster.cleanup.ledger import CleanupOperation, ProposalError
from garbagetruck.cluster.machine.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """An operation's outcome."""

    outcome: Outcome
    proposed_at_ns: int
    """On the monotonic clock, just before the proposal left: never later than its stamp."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    operation: CleanupOperation
    future: asyncio.Future[Answer]


class Proposals:
    """Runs on the node's main loop. `propose` is the ledger's."""

    def __init__(
        self,
        propose: Callable[[Sequence[CleanupOperation]], Awaitable[Sequence[Outcome]]],
        *,
        monotonic_ns: Callable[[], int],
        operations_max: int,
        in_flight_max: int,
    ) -> None:
        self._propose = propose
        self._monotonic_ns = monotonic_ns
        self._operations_max = operations_max
        self._in_flight_max = in_flight_max
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False

    async def submit(self, operation: CleanupOperation) -> Answer:
        """Propose one operation, together with whatever else waits. Raises `ProposalError`."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(operation, loop.create_future())
        self._waiting.append(waiting)
        if not self._pump_scheduled:
            # At the loop's next turn: so that all that become ready in this one leave together.
            self._pump_scheduled = True
            loop.call_soon(self._pump)
        return await waiting.future

    async def stop(self) -> None:
        """Cancel what is in flight, and wait for it."""
        tasks = tuple(self._in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft().future.cancel()

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._waiting and len(self._in_flight) < self._in_flight_max:
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self._operations_max:
                waiting = self._waiting.popleft()
                if not waiting.future.done():
                    batch.append(waiting)
            if batch:
                task = asyncio.get_running_loop().create_task(self._send(batch))
                self._in_flight.add(task)
                task.add_done_callback(self._landed)

    async def _send(self, batch: list[_Waiting]) -> None:
        proposed_at_ns = self._monotonic_ns()
        try:
            outcomes = await self._propose([waiting.operation for waiting in batch])
            assert len(outcomes) == len(batch), "there is one outcome for each operation"
        except ProposalError as error:
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(type(error)(*error.args))
        except BaseException as error:
            for waiting in batch:
                if isinstance(error, asyncio.CancelledError):
                    waiting.future.cancel()
                elif not waiting.future.done():
                    waiting.future.set_exception(error)
            raise
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(Answer(outcome, proposed_at_ns))

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # seen: it was handed to everyone who waited for the batch
        self._pump()
