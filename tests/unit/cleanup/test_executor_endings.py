"""The executor over a fake ledger: failures, deadlines, and how they are reported."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.cleanup.handler import (
    ERROR_CHARACTERS_MAX,
    CleanupCall,
    CleanupResult,
    ObservationError,
)
from garbagetruck.cluster.cleanup.ledger import CleanupOperation, NotProposedError, ProposalUnknownError
from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.cleanup.settings import MARGIN_MS, ExecutorSettings
from garbagetruck.cluster.machine.model import ReportResult
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from tests.unit.cleanup.fakes import FakeLedger, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading, turns


@pytest.mark.parametrize(
    ("result", "reported", "end"),
    [
        (CleanupResult.done(), ReportResult.DONE, AttemptEnd.DONE),
        (CleanupResult.already_gone(), ReportResult.DONE, AttemptEnd.ALREADY_GONE),
        (CleanupResult.failed("disk on fire"), ReportResult.FAILED, AttemptEnd.FAILED),
        (CleanupResult.failed("no", retryable=False), ReportResult.FAILED_FOR_GOOD, AttemptEnd.FAILED_FOR_GOOD),
    ],
)
async def test_each_result_has_its_report(result: CleanupResult, reported: ReportResult, end: AttemptEnd) -> None:
    ledger = FakeLedger(due("r1"))
    handler = ProbeHandler()

    async def answer(_call: CleanupCall) -> CleanupResult:
        return result

    handler.on_clean = answer
    stage = Stage(ledger, {"probe": handler})
    async with leading(stage):
        await ledger.reports_reach(1)
    assert (ledger.reports[0].result, ledger.reports[0].error) == (reported, result.error)
    assert stage.meter.ends == [end]


async def test_i4_the_last_attempt_that_a_handler_is_given_fails_for_good() -> None:
    ledger = FakeLedger(*(replace(due(f"r{failures}"), failures=failures) for failures in range(4)))
    handler = ProbeHandler()

    async def fail(_call: CleanupCall) -> CleanupResult:
        return CleanupResult.failed("x" * 600)

    handler.on_clean = fail
    async with leading(Stage(ledger, {"probe": handler}, attempts={"probe": 3})):
        await ledger.reports_reach(4)
    reports = {report.resource: report for report in ledger.reports}
    assert {name: report.result for name, report in reports.items()} == {
        "r0": ReportResult.FAILED,
        "r1": ReportResult.FAILED,
        "r2": ReportResult.FAILED_FOR_GOOD,
        "r3": ReportResult.FAILED_FOR_GOOD,
    }
    assert reports["r2"].error.endswith("(the last of 3 attempts that this handler is given)")
    assert len(reports["r2"].error) == ERROR_CHARACTERS_MAX


async def test_a_last_attempt_may_still_succeed_and_what_was_not_attempted_is_none() -> None:
    ledger = FakeLedger(replace(due("r1"), failures=7), replace(due("r2"), failures=7))
    handler = ProbeHandler()
    stage = Stage(ledger, {"probe": handler}, attempts={"probe": 1})

    async def commit_too_late(operations: Sequence[CleanupOperation]) -> None:
        if any(isinstance(each, ClaimCleanup) and each.resource == "r2" for each in operations):
            stage.clock.advance_ms(stage.settings.attempt_timeout_ms)

    async with leading(stage):
        await ledger.reports_reach(2)
        ledger.after_proposal = commit_too_late
        ledger.add(replace(due("r2"), failures=7))
        await ledger.reports_reach(3)
    assert [report.result for report in ledger.reports[:2]] == [ReportResult.DONE] * 2
    assert ledger.reports[2].result is ReportResult.NOT_ATTEMPTED


async def test_whatever_a_handler_raises_is_a_failed_attempt() -> None:
    ledger = FakeLedger(due("r1"), due("r2"), due("r3"), due("r4"))
    handler = ProbeHandler()

    async def fall_over(call: CleanupCall) -> CleanupResult:
        match call.resource:
            case "r1":
                raise RuntimeError("boom")
            case "r2":
                raise TimeoutError("its own")
            case "r3":
                raise asyncio.CancelledError
            case _:
                return None  # type: ignore[return-value]

    handler.on_clean = fall_over
    async with leading(Stage(ledger, {"probe": handler})):
        await ledger.reports_reach(4)
    errors = {report.resource: report.error for report in ledger.reports}
    assert "boom" in errors["r1"]
    assert "its own" in errors["r2"]
    assert "timed out" not in errors["r2"]
    assert "cancelled itself" in errors["r3"]
    assert "None" in errors["r4"]
    assert {report.result for report in ledger.reports} == {ReportResult.FAILED}


async def test_i4_what_cannot_be_observed_is_claimed_and_reported_as_failed() -> None:
    ledger = FakeLedger(due("r1"), due("r2"), due("r3"), due("r4"))
    handler = ProbeHandler()

    async def look(parameters: Mapping[str, str]) -> str:
        match parameters["name"]:
            case "r1":
                raise ObservationError("the disk is away")
            case "r2":
                raise ObservationError("a symbolic link", retryable=False)
            case "r3":
                raise RuntimeError("boom")
            case _:
                await asyncio.Event().wait()
                raise AssertionError

    handler.on_observe = look
    async with leading(Stage(ledger, {"probe": handler}, ExecutorSettings(observe_timeout_ms=50))):
        await ledger.reports_reach(4)
    assert {name: results[0].name for name, results in ledger.results().items()} == {
        "r1": "FAILED",
        "r2": "FAILED_FOR_GOOD",
        "r3": "FAILED",
        "r4": "FAILED",
    }
    assert handler.calls == []
    assert {claim.identity for claim in ledger.claims} == {""}


async def test_i1_the_deadline_counts_from_proposing_and_the_claim_stands_longer_by_a_margin() -> None:
    ledger = FakeLedger(due("r1"))
    stage = Stage(ledger, settings=ExecutorSettings(attempt_timeout_ms=10_000))
    handler = ProbeHandler()
    stage.handlers = {"probe": handler}
    remaining: list[float] = []

    async def slow_commit(_operations: Sequence[CleanupOperation]) -> None:
        stage.clock.advance_ms(4_000)

    async def note(call: CleanupCall) -> CleanupResult:
        remaining.append(call.remaining_s())
        stage.clock.advance_ms(6_000)
        assert not call.may_proceed(), "out of time, though it leads"
        assert call.still_leading()
        return CleanupResult.failed("stopped")

    ledger.before_proposal = slow_commit
    handler.on_clean = note
    async with leading(stage):
        await ledger.reports_reach(1)
    assert remaining == [6.0]
    assert ledger.claims[0].duration_ms == 10_000 + MARGIN_MS


async def test_a_claim_that_was_committed_too_late_is_reported_as_not_attempted() -> None:
    ledger = FakeLedger(due("r1"))
    stage = Stage(ledger, settings=ExecutorSettings(attempt_timeout_ms=1_000))

    async def very_slow_commit(operations: Sequence[CleanupOperation]) -> None:
        if isinstance(operations[0], ClaimCleanup):
            stage.clock.advance_ms(1_000)

    ledger.before_proposal = very_slow_commit
    async with leading(stage):
        await ledger.reports_reach(1)
    assert ledger.reports[0].result is ReportResult.NOT_ATTEMPTED
    handler = stage.handlers["probe"]
    assert isinstance(handler, ProbeHandler)
    assert handler.calls == []


async def test_an_attempt_that_takes_too_long_is_cancelled_and_may_not_go_on_behind_our_back() -> None:
    ledger = FakeLedger(due("r1"))
    handler = ProbeHandler()

    async def hang(_call: CleanupCall) -> CleanupResult:
        await asyncio.Event().wait()
        raise AssertionError

    handler.on_clean = hang
    stage = Stage(ledger, {"probe": handler}, ExecutorSettings(attempt_timeout_ms=100))
    async with leading(stage):
        await ledger.reports_reach(1)
    assert ledger.reports[0].result is ReportResult.FAILED
    assert "timed out after 100 ms" in ledger.reports[0].error
    assert not handler.calls[0].still_leading(), "a thread that it left behind asks this before each effect"


async def test_a_report_is_repeated_until_it_is_known() -> None:
    ledger = FakeLedger(due("r1"))
    failures = 0

    async def fail_reports(operations: Sequence[CleanupOperation]) -> None:
        nonlocal failures
        if isinstance(operations[0], ReportCleanup) and failures < 3:
            failures += 1
            raise NotProposedError("the queue is full")

    ledger.before_proposal = fail_reports
    async with leading(Stage(ledger, settings=ExecutorSettings(report_retry_ms_min=1))):
        await ledger.reports_reach(1)
    assert failures == 3
    assert ledger.results() == {"r1": [ReportResult.DONE]}


async def test_i6_a_report_that_was_applied_unknown_to_us_is_known_by_its_refusal() -> None:
    ledger = FakeLedger(due("r1"))
    asked, asked_again = 0, asyncio.Event()

    async def lose_the_answer(operations: Sequence[CleanupOperation]) -> None:
        nonlocal asked
        if isinstance(operations[0], ReportCleanup):
            asked += 1
            if asked == 1:
                raise ProposalUnknownError("no outcome in time")
            asked_again.set()

    ledger.after_proposal = lose_the_answer
    stage = Stage(ledger, settings=ExecutorSettings(report_retry_ms_min=1))
    async with leading(stage):
        await ledger.reports_reach(1)
        await asyncio.wait_for(asked_again.wait(), 20)
        await turns()
    assert asked == 2
    assert len(ledger.reports) == 1
    assert not stage.meter.lost.is_set()


async def test_a_report_is_given_up_when_its_claim_is_over() -> None:
    ledger = FakeLedger(due("r1"))
    stage = Stage(ledger, settings=ExecutorSettings(report_retry_ms_min=1, attempt_timeout_ms=1_000))

    async def refuse_reports(operations: Sequence[CleanupOperation]) -> None:
        if isinstance(operations[0], ReportCleanup):
            stage.clock.advance_ms(700)
            raise NotProposedError("no quorum")

    ledger.before_proposal = refuse_reports
    async with leading(stage):
        await asyncio.wait_for(stage.meter.lost.wait(), 20)
    asked = [each for operations in ledger.proposals for each in operations if isinstance(each, ReportCleanup)]
    assert len(asked) == 3, "at 700, 1,400 and 2,100 ms, by when the claim of 2,000 ms is over"
    assert ledger.reports == []


async def test_a_refused_claim_is_left_alone_for_a_while_and_tried_again() -> None:
    ledger = FakeLedger(due("r1"))
    ledger.refusals.append(Refused(Reason.SWEEP_BEHIND, "expiries are still being swept"))
    handler = ProbeHandler()
    stage = Stage(ledger, {"probe": handler}, ExecutorSettings(rest_ms=20))
    async with leading(stage):
        await turns(50)
        assert len(ledger.claims) == 1
        assert handler.calls == []
        await ledger.reports_reach(1)
    assert stage.meter.refused == ["SWEEP_BEHIND"]
    assert len(ledger.claims) == 2


async def test_a_claim_that_was_not_applied_is_tried_again() -> None:
    ledger = FakeLedger(due("r1"))
    failures = 0

    async def fail_once(_operations: Sequence[CleanupOperation]) -> None:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise NotProposedError("the queue is full")

    ledger.before_proposal = fail_once
    stage = Stage(ledger, settings=ExecutorSettings(rest_ms=20))
    async with leading(stage):
        await ledger.reports_reach(1)
    assert stage.meter.refused == ["NotProposedError"]


async def test_a_bug_in_the_ledger_ends_the_node_and_is_not_taken_for_a_failed_cleanup() -> None:
    ledger = FakeLedger(due("r1"))

    async def break_down(_operations: Sequence[CleanupOperation]) -> None:
        raise ZeroDivisionError

    ledger.before_proposal = break_down
    stage = Stage(ledger)
    executor = stage.executor()
    executor.started_leading(1)
    await turns(50)
    await executor.stop()
    assert [type(error) for error in stage.errors] == [ZeroDivisionError]
    assert ledger.reports == []


async def test_stopping_twice_and_stopping_before_starting_are_no_errors() -> None:
    executor = Stage(FakeLedger(due("r1"))).executor()
    await executor.stop()
    executor.started_leading(1)
    await turns()
    await executor.stop()
    await executor.stop()
    executor.stopped_leading(1)
