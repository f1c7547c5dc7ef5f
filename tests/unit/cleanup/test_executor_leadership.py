"""The executor over a fake ledger: leading, losing it, draining."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult
from garbagetruck.cluster.cleanup.ledger import CleanupOperation
from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.cleanup.settings import ExecutorSettings
from garbagetruck.cluster.machine.model import ReportResult
from tests.unit.cleanup.fakes import FakeLedger, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading, turns


async def test_i8_losing_leadership_cancels_what_runs_and_reports_nothing() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(20)))
    handler, entered = ProbeHandler(), asyncio.Event()

    async def hang(_call: CleanupCall) -> CleanupResult:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    handler.on_clean = hang
    stage = Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=4))
    async with leading(stage) as executor:
        await entered.wait()
        calls = tuple(handler.calls)
        executor.stopped_leading(1)
        assert not any(call.may_proceed() for call in calls), "at once, before anything is awaited"
        await turns()
        assert handler.running == 0
        proposed = len(ledger.proposals)
        ledger.add(due("more"))
        await turns()
        assert len(ledger.proposals) == proposed, "nothing is claimed any more"
    assert ledger.reports == []
    assert set(stage.meter.ends) == {AttemptEnd.CANCELLED}


async def test_i8_the_ledgers_word_is_enough_to_stop_effects_and_claims() -> None:
    ledger = FakeLedger(due("r1"), due("r2"))
    handler, asked, release = ProbeHandler(), asyncio.Event(), asyncio.Event()
    answers: list[bool] = []

    async def ask(call: CleanupCall) -> CleanupResult:
        ledger.leading = False
        thread = threading.Thread(target=lambda: answers.append(call.may_proceed()))
        thread.start()
        thread.join()
        asked.set()
        await release.wait()
        return CleanupResult.failed("stopped")

    handler.on_clean = ask
    async with leading(Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=1, rest_ms=1))):
        await asked.wait()
        assert answers == [False], "from any thread"
        release.set()
        await ledger.reports_reach(1)
        await turns(50)
        assert len(ledger.claims) == 1, "nothing more is claimed"


async def test_what_was_done_is_reported_though_leadership_cannot_be_proved_for_a_moment() -> None:
    ledger = FakeLedger(due("r1"))
    handler = ProbeHandler()

    async def stall(_call: CleanupCall) -> CleanupResult:
        ledger.leading = False
        return CleanupResult.done()

    handler.on_clean = stall
    async with leading(Stage(ledger, {"probe": handler})):
        await ledger.reports_reach(1)
    assert ledger.results() == {"r1": [ReportResult.DONE]}


async def test_i8_a_claim_granted_while_leadership_cannot_be_proved_is_not_attempted() -> None:
    ledger = FakeLedger(due("r1"))

    async def lose(_operations: Sequence[CleanupOperation]) -> None:
        ledger.leading = False

    ledger.after_proposal = lose
    stage = Stage(ledger)
    async with leading(stage):
        await ledger.reports_reach(1)
    assert ledger.results() == {"r1": [ReportResult.NOT_ATTEMPTED]}
    handler = stage.handlers["probe"]
    assert isinstance(handler, ProbeHandler)
    assert handler.calls == []


async def test_i8_leadership_lost_while_observing_claims_nothing() -> None:
    ledger = FakeLedger(due("r1"))
    handler = ProbeHandler()

    async def lose(_parameters: Mapping[str, str]) -> str:
        ledger.leading = False
        return "seen"

    handler.on_observe = lose
    async with leading(Stage(ledger, {"probe": handler})):
        await turns(50)
    assert ledger.claims == []


async def test_a_handler_that_swallows_its_cancellation_still_reports_nothing() -> None:
    ledger = FakeLedger(due("r1"))
    handler, entered = ProbeHandler(), asyncio.Event()

    async def stubborn(_call: CleanupCall) -> CleanupResult:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return CleanupResult.done()
        raise AssertionError

    handler.on_clean = stubborn
    async with leading(Stage(ledger, {"probe": handler})) as executor:
        await entered.wait()
        executor.stopped_leading(1)
        await turns()
    assert ledger.reports == []


async def test_leading_again_starts_afresh() -> None:
    ledger = FakeLedger(due("r1"))
    async with leading(Stage(ledger)) as executor:
        await ledger.reports_reach(1)
        executor.stopped_leading(1)
        ledger.add(due("r2"), due("u", "elsewhere", target="x:/u"))
        await turns()
        executor.started_leading(2)
        await ledger.reports_reach(2)


async def test_draining_lets_attempts_end_and_claims_nothing_new() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(10)))
    handler, entered, release = ProbeHandler(), asyncio.Event(), asyncio.Event()

    async def wait(_call: CleanupCall) -> CleanupResult:
        entered.set()
        await release.wait()
        return CleanupResult.done()

    handler.on_clean = wait
    async with leading(Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=2))) as executor:
        await entered.wait()
        assert not await executor.drain(0.01), "they are still running"
        release.set()
        assert await executor.drain(5.0)
        assert len(ledger.reports) == 2
        await turns()
        assert len(ledger.claims) == 2
