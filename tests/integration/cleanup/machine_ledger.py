"""A ledger over a real machine: one replica, no log, no network, and a clock that the test moves.

Duty: let the executor and the machine meet. It must not know: what the executor does between two proposals.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import override

from garbagetruck.cluster.cleanup.ledger import CleanupOperation, Ledger
from garbagetruck.cluster.machine.model import Resource
from garbagetruck.cluster.machine.operations import Operation
from garbagetruck.cluster.machine.outcomes import Outcome
from tests.unit.machine.scribe import Scribe


class MachineLedger(Ledger):
    """What is applied is kept in `scribe`; whoever applies on the side calls `changed`."""

    def __init__(self, scribe: Scribe) -> None:
        self.scribe = scribe
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    def apply(self, *operations: Operation) -> tuple[Outcome, ...]:
        outcomes = self.scribe.many(*operations)
        self.changed()
        return outcomes

    def advance(self, by_ms: int) -> None:
        self.scribe.advance(by_ms)
        self.scribe.settle()
        self.changed()

    @override
    def cluster_id(self) -> str:
        return self.scribe.machine.cluster_id

    @override
    def waiting_counts(self) -> Mapping[str, int]:
        return self.scribe.machine.ready_counts()

    @override
    def waiting(self, handler: str) -> Mapping[str, Iterator[Resource]]:
        return self.scribe.machine.waiting(handler)

    @override
    def has_breaker(self, handler: str) -> bool:
        return self.scribe.machine.breaker(handler) is not None

    @override
    async def propose(self, operations: Sequence[CleanupOperation]) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        return self.apply(*operations)

    @override
    def is_leading(self) -> bool:
        return True

    @override
    async def wait_for_work(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    @override
    def clock_ms(self) -> int:
        return self.scribe.machine.clock_ms
