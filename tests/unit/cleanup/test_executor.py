"""The executor over a fake ledger: what is claimed, when it stops, what it reports."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, ObservationError
from garbagetruck.cluster.cleanup.ledger import CleanupOperation, NotProposedError, ProposalUnknownError
from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.cleanup.settings import MARGIN_MS, ExecutorSettings
from garbagetruck.cluster.machine.model import ReportResult
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from tests.unit.cleanup.fakes import FakeLedger, ProbeHandler, Stage, due


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


async def test_i4_everything_that_is_due_is_claimed_cleaned_and_reported() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(500)))
    stage = Stage(ledger, settings=ExecutorSettings(slots_max=32))
    async with leading(stage):
        await ledger.reports_reach(500)
        await turns()
    assert all(results == [ReportResult.DONE] for results in ledger.results().values())
    assert len(stage.meter.lateness_s) == 500


async def test_what_becomes_due_later_is_found_when_the_ledger_says_so() -> None:
    ledger = FakeLedger()
    async with leading(Stage(ledger)):
        await turns()
        ledger.add(due("late"))
        await ledger.reports_reach(1)


async def test_a_claim_carries_what_was_observed_and_the_call_carries_the_claim() -> None:
    ledger = FakeLedger(due("r1", generation=7))
    handler = ProbeHandler()
    async with leading(Stage(ledger, {"probe": handler})):
        await ledger.reports_reach(1)
    (claim,) = ledger.claims
    assert (claim.identity, claim.executor, claim.generation, claim.revision) == ("seen-r1", "n1", 7, 3)
    (call,) = handler.calls
    assert (call.identity, call.fencing_token, call.attempt, call.target) == ("seen-r1", 101, 1, "probe:/r1")
    assert (call.namespace, call.resource, call.generation, dict(call.parameters)) == (
        "default",
        "r1",
        7,
        {"name": "r1"},
    )


async def test_the_idempotency_key_is_the_same_for_a_generation_and_for_nothing_else() -> None:
    handler = ProbeHandler()
    for resource in (
        due("r1", generation=7),
        due("r1", generation=7),
        due("r1", generation=8),
        due("r2", generation=7),
    ):
        ledger = FakeLedger(resource)
        async with leading(Stage(ledger, {"probe": handler})):
            await ledger.reports_reach(1)
    keys = [call.idempotency_key for call in handler.calls]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)


async def test_never_more_attempts_run_than_there_are_slots_and_none_is_claimed_without_one() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(40)))
    handler, release = ProbeHandler(), asyncio.Event()

    async def wait(_call: CleanupCall) -> CleanupResult:
        await release.wait()
        return CleanupResult.done()

    handler.on_clean = wait
    stage = Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=5))
    async with leading(stage):
        await turns(50)
        assert handler.running == 5
        assert len(ledger.claims) == 5, "a claim is proposed for a free slot only"
        release.set()
        await ledger.reports_reach(40)
    assert handler.running_max == 5
    assert stage.meter.slots_max == 5


async def test_a_slow_handler_delays_only_its_own_cleanups() -> None:
    ledger = FakeLedger(
        *(due(f"s{number}", "slow", target=f"probe:/s{number}") for number in range(1_000)),
        *(due(f"q{number}", "quick", target=f"probe:/q{number}") for number in range(100)),
    )
    slow, quick = ProbeHandler("slow"), ProbeHandler("quick")

    async def never(_call: CleanupCall) -> CleanupResult:
        await asyncio.Event().wait()
        raise AssertionError

    slow.on_clean = never
    async with leading(Stage(ledger, {"slow": slow, "quick": quick}, ExecutorSettings(slots_max=8))):
        await ledger.reports_reach(100)
        assert slow.running == 4, "its share, and not more"
    assert {report.resource[0] for report in ledger.reports} == {"q"}


async def test_a_handlers_own_bound_holds() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(50)))
    handler = ProbeHandler()
    async with leading(Stage(ledger, {"probe": handler}, slots={"probe": 2})):
        await ledger.reports_reach(50)
    assert handler.running_max == 2


async def test_claims_and_reports_travel_many_to_a_proposal() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(1_000)))

    async def commit(_operations: Sequence[CleanupOperation]) -> None:
        await asyncio.sleep(0.001)

    ledger.before_proposal = commit
    settings = ExecutorSettings(slots_max=100, operations_per_proposal_max=64)
    async with leading(Stage(ledger, settings=settings)):
        await ledger.reports_reach(1_000)
    sizes = [len(operations) for operations in ledger.proposals]
    assert max(sizes) <= 64
    assert len(sizes) < 200, f"2,000 operations took {len(sizes)} proposals"


# -- handlers that are not there, or not the same ---------------------------------------------------------------


async def test_an_unknown_handler_uses_up_no_attempt_and_is_told_of_once() -> None:
    ledger = FakeLedger(*(due(f"u{number}", "elsewhere", target=f"x:/{number}") for number in range(200)), due("known"))
    stage = Stage(ledger, settings=ExecutorSettings(slots_max=4))
    async with leading(stage):
        await ledger.reports_reach(1)
        ledger.add(due("another"))
        await ledger.reports_reach(2)
    assert [claim.resource for claim in ledger.claims] == ["known", "another"]
    assert stage.meter.unknown == ["elsewhere"]
    assert len(ledger.due) == 200, "they wait for a leader that knows their handler"


async def test_i1_a_target_that_this_nodes_handler_derives_otherwise_is_refused_for_good_and_not_touched() -> None:
    ledger = FakeLedger(due("r1", target="probe:/another"))
    handler = ProbeHandler()
    async with leading(Stage(ledger, {"probe": handler})):
        await ledger.reports_reach(1)
    (report,) = ledger.reports
    assert report.result is ReportResult.FAILED_FOR_GOOD
    assert "probe:/r1" in report.error
    assert "probe:/another" in report.error
    assert handler.calls == []


async def test_parameters_that_this_nodes_handler_refuses_are_refused_for_good() -> None:
    ledger = FakeLedger(due("r1", parameters={"path": "r1"}))
    handler = ProbeHandler()
    async with leading(Stage(ledger, {"probe": handler})):
        await ledger.reports_reach(1)
    assert ledger.reports[0].result is ReportResult.FAILED_FOR_GOOD
    assert handler.calls == []


# -- failures ---------------------------------------------------------------------------------------------------


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


# -- deadlines --------------------------------------------------------------------------------------------------


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


# -- leadership -------------------------------------------------------------------------------------------------


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


# -- proposals that fail ----------------------------------------------------------------------------------------


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
        await asyncio.wait_for(asked_again.wait(), 5)
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
        await asyncio.wait_for(stage.meter.lost.wait(), 5)
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
