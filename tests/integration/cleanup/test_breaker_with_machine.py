"""Machine, executor and a handler whose service goes down and comes back: no dead letters, and no operator."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from msgspec.structs import replace

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, Registered
from garbagetruck.cluster.cleanup.settings import BreakerSettings, ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.model import CleanupSpec, EventType, ResourceState
from garbagetruck.cluster.machine.operations import RegisterMember
from garbagetruck.cluster.machine.outcomes import Acknowledged
from tests.integration.cleanup.machine_ledger import MachineLedger
from tests.unit.cleanup.fakes import ProbeHandler
from tests.unit.machine.scribe import AT_ONCE, MEMBER, Scribe, accepted

CLEANUPS = 60
BREAKER = BreakerSettings(failures_min=5, share=0.5, window_ms=60_000, pause_ms=1_000, pause_ms_max=4_000)


class Service:
    """What is behind a handler: it answers, or it does not."""

    def __init__(self) -> None:
        self.is_up = False
        self.tries = 0

    async def clean(self, _call: CleanupCall) -> CleanupResult:
        self.tries += 1
        await asyncio.sleep(0)
        return CleanupResult.done() if self.is_up else CleanupResult.failed("connection refused")


@asynccontextmanager
async def leading(ledger: MachineLedger, service: Service) -> AsyncIterator[None]:
    handler = ProbeHandler("svc")
    handler.on_clean = service.clean
    errors: list[BaseException] = []
    executor = CleanupExecutor(
        node_id="n1",
        ledger=ledger,
        registry=HandlerRegistry([Registered(HandlerSettings(name="svc", kind="probe", options={}), handler)]),
        settings=ExecutorSettings(slots_max=8, rest_ms=1, idle_pause_ms=1, breaker=BREAKER),
        monotonic_ns=time.monotonic_ns,
        random=Random(1),
        on_fatal=errors.append,
    )
    executor.started_leading(1)
    try:
        yield
    finally:
        await executor.stop()
    assert errors == []


def backlog() -> MachineLedger:
    scribe = Scribe().begin(cleanup=replace(AT_ONCE, attempts_max=3, retry_delay_ms_min=100, retry_delay_ms_max=100))
    accepted(scribe.one(RegisterMember(replace(MEMBER, feature_level=4))), Acknowledged)
    for number in range(CLEANUPS):
        spec = CleanupSpec("svc", (("name", f"r{number}"),), f"probe:/r{number}")
        scribe.release(scribe.lease(f"r{number}", cleanup=spec).id)
    return MachineLedger(scribe)


async def pass_time(ledger: MachineLedger, span_ms: int) -> None:
    """In small steps, in each of which everything happens that can."""
    for _ in range(span_ms // 100):
        ledger.advance(100)
        await asyncio.sleep(0.005)


async def test_i4_an_outage_that_outlasts_all_attempts_costs_a_few_trials_and_ends_by_itself() -> None:
    ledger, service = backlog(), Service()
    machine = ledger.scribe.machine
    async with leading(ledger, service):
        async with asyncio.timeout(10):
            while machine.breaker("svc") is None:  # noqa: ASYNC110 - every turn of the loop may be the one
                await asyncio.sleep(0)
        at_opening = service.tries
        await pass_time(ledger, 20_000)
        assert service.tries - at_opening <= 8 + 20, "what was under way, and one trial after each pause"
        assert machine.summary().dead_letter == 0
        service.is_up = True
        async with asyncio.timeout(20):
            while machine.summary().resources:
                await pass_time(ledger, 500)
    assert machine.breakers() == ()
    assert len(ledger.scribe.events(EventType.BREAKER_CLOSED)) == 1
    cleaned = [machine.resource("default", f"r{number}") for number in range(CLEANUPS)]
    assert all(each is not None for each in cleaned)
    assert not any(getattr(each, "state", None) is ResourceState.DEAD_LETTER for each in cleaned)


async def test_i4_a_later_leader_goes_on_with_the_breaker_that_it_finds() -> None:
    ledger, service = backlog(), Service()
    machine = ledger.scribe.machine
    async with leading(ledger, service), asyncio.timeout(10):
        while machine.breaker("svc") is None:  # noqa: ASYNC110 - every turn of the loop may be the one
            await asyncio.sleep(0)
    tries = service.tries
    async with leading(ledger, service):
        await pass_time(ledger, 900)
        assert service.tries == tries, "before the first trial is due"
        await pass_time(ledger, 400)
        assert service.tries == tries + 1
