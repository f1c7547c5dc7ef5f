"""An executor with fakes around it, and the ways to run it.

Duty: build, lead, stop. It must not know: what the executor is expected to do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.handler import Handler
from garbagetruck.cluster.cleanup.rates import Rate
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, Registered
from garbagetruck.cluster.cleanup.settings import ExecutorSettings, HandlerSettings
from tests.unit.cleanup.fakes import CountingMeter, FakeLedger, ManualClock, ProbeHandler


@dataclass
class Stage:
    """An executor with fakes around it. `errors` holds what it thinks the node should die of."""

    ledger: FakeLedger
    handlers: Mapping[str, Handler] = field(default_factory=lambda: {"probe": ProbeHandler()})
    settings: ExecutorSettings = field(default_factory=ExecutorSettings)
    slots: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, Rate] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=ManualClock)
    meter: CountingMeter = field(default_factory=CountingMeter)
    errors: list[BaseException] = field(default_factory=list)

    def executor(self, monotonic_ns: Callable[[], int] | None = None) -> CleanupExecutor:
        registered = [Registered(self._settings_of(name), handler) for name, handler in self.handlers.items()]
        return CleanupExecutor(
            node_id="n1",
            ledger=self.ledger,
            registry=HandlerRegistry(registered),
            settings=self.settings,
            monotonic_ns=monotonic_ns or self.clock,
            random=Random(1),
            on_fatal=self.errors.append,
            meter=self.meter,
        )

    def _settings_of(self, name: str) -> HandlerSettings:
        return HandlerSettings(
            name=name,
            kind="probe",
            options={},
            slots_max=self.slots.get(name),
            attempts_max=self.attempts.get(name),
            rate=self.rates.get(name),
        )


@asynccontextmanager
async def leading(stage: Stage) -> AsyncIterator[CleanupExecutor]:
    """An executor that leads, and is stopped afterwards; it must not have met a bug of its own."""
    executor = stage.executor()
    executor.started_leading(1)
    try:
        yield executor
    finally:
        await executor.stop()
    assert stage.errors == []
    assert executor.running == 0


async def turns(count: int = 20) -> None:
    """Let everything happen that can happen by itself."""
    for _ in range(count):
        await asyncio.sleep(0)
