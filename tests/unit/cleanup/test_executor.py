"""The executor over a fake ledger: what is claimed, for which slots, of which handlers."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult
from garbagetruck.cluster.cleanup.ledger import CleanupOperation, NotProposedError
from garbagetruck.cluster.cleanup.settings import ExecutorSettings
from garbagetruck.cluster.machine.model import ReportResult
from tests.unit.cleanup.fakes import FakeLedger, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading, turns


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
    assert set(ledger.asked) == {"probe"}, "nobody looks at them"


async def test_what_waits_for_an_unknown_handler_is_told_while_the_node_leads() -> None:
    ledger = FakeLedger(*(due(f"u{number}", "elsewhere", target=f"x:/{number}") for number in range(3)))
    executor = Stage(ledger).executor()
    assert executor.unknown_handlers == {}
    executor.started_leading(1)
    assert executor.unknown_handlers == {"elsewhere": 3}
    ledger.due.popitem()
    assert executor.unknown_handlers == {"elsewhere": 2}
    await executor.stop()
    assert executor.unknown_handlers == {}


async def test_a_namespace_whose_cleanups_hang_delays_no_other_namespace_of_the_same_handler() -> None:
    ledger = FakeLedger(*(due(f"s{number}", namespace="broken") for number in range(200)))
    handler = ProbeHandler()

    async def hang(call: CleanupCall) -> CleanupResult:
        if call.namespace == "broken":
            # One of them ends now and then, as when it runs out of time.
            await (release.wait() if call.resource == "s0" else asyncio.Event().wait())
        return CleanupResult.done()

    release = asyncio.Event()
    handler.on_clean = hang
    async with leading(Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=4))):
        await turns(50)
        assert handler.running == 4
        ledger.add(*(due(f"q{number}", namespace="quick") for number in range(50)))
        release.set()
        await ledger.reports_reach(51)
    assert Counter(report.namespace for report in ledger.reports) == {"broken": 1, "quick": 50}


async def test_a_backlog_of_100000_is_looked_at_no_further_than_it_is_started() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(100_000)))
    handler = ProbeHandler()

    async def hang(_call: CleanupCall) -> CleanupResult:
        await asyncio.Event().wait()
        raise AssertionError

    handler.on_clean = hang
    async with leading(Stage(ledger, {"probe": handler}, ExecutorSettings(slots_max=64))) as executor:
        await turns(50)
        assert (len(ledger.claims), ledger.looked) == (64, 64)
        assert executor.running == 64


async def test_when_the_cluster_takes_no_claims_at_all_the_executor_leaves_alone_no_more_than_it_may() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(1_000)))

    async def refuse(_operations: Sequence[CleanupOperation]) -> None:
        raise NotProposedError("the queue is full")

    ledger.before_proposal = refuse
    settings = ExecutorSettings(slots_max=10, resting_max=50, rest_ms=60_000)
    async with leading(Stage(ledger, settings=settings)):
        await turns(500)
        assert 50 <= len(ledger.claims) < 60


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
