"""A handler's breaker: what speaks of the handler, when it is enough, and what the executor does then."""

import asyncio

import pytest

from garbagetruck.cluster.cleanup.breaker import ATTEMPTS_MAX, FailureWatch
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult
from garbagetruck.cluster.cleanup.ledger import NotProposedError
from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.cleanup.settings import BreakerSettings, ExecutorSettings
from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.model import ReportResult
from tests.unit.cleanup.fakes import FakeLedger, ManualClock, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading, turns

SETTINGS = BreakerSettings(failures_min=4, share=0.5, window_ms=10_000)


def watch_of(*ends: AttemptEnd, settings: BreakerSettings = SETTINGS) -> FailureWatch:
    watch = FailureWatch(settings, ManualClock())
    for end in ends:
        watch.ended("http", end)
    return watch


@pytest.mark.parametrize(
    ("done", "failed", "opens"), [(0, 3, False), (0, 4, True), (4, 4, False), (3, 4, True), (100, 50, False)]
)
def test_it_takes_a_least_number_of_failures_and_more_than_the_share(done: int, failed: int, opens: bool) -> None:
    watch = watch_of(*[AttemptEnd.DONE] * done, *[AttemptEnd.FAILED] * failed)
    assert (watch.verdict("http") is not None) is opens
    assert watch.verdict("file") is None


@pytest.mark.parametrize("end", [AttemptEnd.FAILED_FOR_GOOD, AttemptEnd.CANCELLED, AttemptEnd.NOT_ATTEMPTED])
def test_what_does_not_speak_of_the_handler_does_not_count(end: AttemptEnd) -> None:
    assert watch_of(*[end] * 50).verdict("http") is None
    assert watch_of(*[end] * 50, *[AttemptEnd.FAILED] * 4).verdict("http") == "4 of 4 attempts within 10000 ms failed"


def test_what_is_longer_ago_than_the_window_does_not_count() -> None:
    clock = ManualClock()
    watch = FailureWatch(SETTINGS, clock)
    for _ in range(4):
        watch.ended("http", AttemptEnd.FAILED)
        clock.advance_ms(4_000)
    assert watch.verdict("http") is None


def test_without_a_least_number_it_never_opens() -> None:
    assert watch_of(*[AttemptEnd.FAILED] * 50, settings=BreakerSettings(failures_min=0)).verdict("http") is None


def test_what_is_kept_is_bounded() -> None:
    watch = watch_of(*[AttemptEnd.DONE] * 5_000, *[AttemptEnd.FAILED] * ATTEMPTS_MAX)
    assert watch.verdict("http") == f"{ATTEMPTS_MAX} of {ATTEMPTS_MAX} attempts within 10000 ms failed"
    watch.forget("http")
    assert watch.verdict("http") is None


def failing(name: str = "http") -> ProbeHandler:
    handler = ProbeHandler(name)

    async def fail(_call: CleanupCall) -> CleanupResult:
        return CleanupResult.failed("connection refused")

    handler.on_clean = fail
    return handler


def two_handlers(handler: ProbeHandler, ledger: FakeLedger) -> Stage:
    settings = ExecutorSettings(slots_max=4, breaker=SETTINGS)
    return Stage(ledger, {"http": handler, "file": ProbeHandler("file")}, settings)


async def test_a_handler_that_keeps_failing_has_its_breaker_opened_and_the_others_go_on() -> None:
    ledger = FakeLedger(*(due(f"h{number}", "http", target=f"probe:/h{number}") for number in range(100)))
    handler = failing()
    async with leading(two_handlers(handler, ledger)):
        await ledger.reports_reach(4)
        await turns(50)
        assert list(ledger.breakers) == ["http"]
        assert "attempts within 10000 ms failed" in ledger.breakers["http"]
        tried = len(handler.calls)
        ledger.add(*(due(f"f{number}", "file", target=f"probe:/f{number}") for number in range(20)))
        await ledger.reports_reach(tried + 20)
        await turns(50)
    opened = [each for operations in ledger.proposals for each in operations if isinstance(each, OpenBreaker)]
    assert len(opened) == 1
    assert tried < 10
    assert len(handler.calls) == tried
    assert tried < 10, "what was under way when it opened"


async def test_under_an_open_breaker_there_is_one_attempt_at_a_time() -> None:
    ledger = FakeLedger(*(due(f"h{number}", "http", target=f"probe:/h{number}") for number in range(10)))
    ledger.breakers["http"], ledger.is_trial = "it failed", True
    handler, release = ProbeHandler("http"), asyncio.Event()

    async def wait(_call: CleanupCall) -> CleanupResult:
        await release.wait()
        return CleanupResult.done()

    handler.on_clean = wait
    async with leading(two_handlers(handler, ledger)):
        await turns(50)
        assert (handler.running, len(ledger.claims)) == (1, 1)
        del ledger.breakers["http"]
        release.set()
        await ledger.reports_reach(10)


async def test_what_fails_under_an_open_breaker_does_not_open_it_again_when_it_is_closed() -> None:
    ledger = FakeLedger(*(due(f"h{number}", "http", target=f"probe:/h{number}") for number in range(8)))
    ledger.breakers["http"], ledger.is_trial = "it failed", True
    handler = failing()
    async with leading(two_handlers(handler, ledger)):
        await ledger.reports_reach(8)
        await turns()
        handler.on_clean = None
        del ledger.breakers["http"]
        ledger.add(*(due(f"m{number}", "http", target=f"probe:/m{number}") for number in range(2)))
        await ledger.reports_reach(10)
        await turns()
    assert ledger.breakers == {}


async def test_where_it_cannot_be_opened_the_handler_goes_on_and_it_is_tried_again() -> None:
    ledger = FakeLedger(*(due(f"h{number}", "http", target=f"probe:/h{number}") for number in range(12)))
    asked = 0

    async def refuse(operations: object) -> None:
        nonlocal asked
        if isinstance(operations, tuple) and isinstance(operations[0], OpenBreaker):
            asked += 1
            raise NotProposedError("a member is of an older feature level")

    ledger.before_proposal = refuse
    async with leading(two_handlers(failing(), ledger)):
        await ledger.reports_reach(12)
        await turns()
    assert asked > 1
    assert ledger.breakers == {}


async def test_a_last_attempt_that_fails_is_a_failure_of_the_handler_too() -> None:
    """A handler that gives each cleanup one attempt would else turn all of them into dead letters while it is down."""
    ledger = FakeLedger(*(due(f"h{number}", "http", target=f"probe:/h{number}") for number in range(100)))
    stage = two_handlers(failing(), ledger)
    stage.attempts = {"http": 1}
    async with leading(stage):
        await ledger.reports_reach(4)
        await turns(50)
    assert list(ledger.breakers) == ["http"]
    assert [each.result for each in ledger.reports][:4] == [ReportResult.FAILED_FOR_GOOD] * 4


async def test_a_trial_under_an_open_breaker_is_no_last_attempt() -> None:
    ledger = FakeLedger(due("h", "http", target="probe:/h"))
    ledger.breakers["http"], ledger.is_trial = "it failed", True
    stage = two_handlers(failing(), ledger)
    stage.attempts = {"http": 1}
    async with leading(stage):
        await ledger.reports_reach(1)
    assert [each.result for each in ledger.reports] == [ReportResult.FAILED]
