"""How often attempts may begin: bursts, even flow, and the executor that keeps to it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.cluster.cleanup.rates import BURST_MAX, Rate, Rates
from tests.unit.cleanup.fakes import FakeLedger, ManualClock, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading, turns


def take_all(rates: Rates, handler: str = "a") -> int:
    taken = 0
    while rates.may(handler):
        rates.take(handler)
        taken += 1
    return taken


def test_a_burst_may_begin_at_once_and_then_one_after_the_other() -> None:
    clock = ManualClock()
    rates = Rates({"a": Rate(10, 1_000, 5)}, clock)
    assert take_all(rates) == 5
    assert rates.spent() == {"a"}
    assert rates.wait_s() == pytest.approx(0.1)
    clock.advance_ms(99)
    assert take_all(rates) == 0
    clock.advance_ms(1)
    assert take_all(rates) == 1
    clock.advance_ms(350)
    assert take_all(rates) == 3


def test_what_is_not_used_is_kept_up_to_one_burst() -> None:
    clock = ManualClock()
    rates = Rates({"a": Rate(10, 1_000, 5)}, clock)
    take_all(rates)
    clock.advance_ms(3_600_000)
    assert take_all(rates) == 5


def test_a_handler_without_a_rate_may_always_begin_and_none_waits_for_another() -> None:
    rates = Rates({"a": Rate(1, 60_000, 1), "b": None}, ManualClock())
    assert take_all(rates) == 1
    assert rates.spent() == {"a"}
    for _ in range(1_000):
        assert rates.may("b")
        rates.take("b")
    assert rates.wait_s() == pytest.approx(60.0)
    assert Rates({"b": None}, ManualClock()).wait_s() is None


@given(
    st.integers(1, 1_000),
    st.sampled_from([1_000, 60_000, 3_600_000]),
    st.integers(1, 50),
    st.lists(st.integers(0, 10_000), max_size=50),
)
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_burst(
    attempts: int, period_ms: int, burst: int, pauses_ms: list[int]
) -> None:
    clock = ManualClock()
    rate = Rate(attempts, period_ms, burst)
    rates = Rates({"a": rate}, clock)
    began_ns: list[int] = []
    for pause_ms in pauses_ms:
        clock.advance_ms(pause_ms)
        began_ns += [clock.now_ns] * take_all(rates)
    for first in range(len(began_ns)):
        for last in range(first, len(began_ns)):
            stretch_ns = began_ns[last] - began_ns[first]
            assert last - first + 1 <= burst + stretch_ns / rate.apart_ns


@pytest.mark.parametrize(("attempts", "period_ms", "burst"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, BURST_MAX + 1)])
def test_a_rate_out_of_bounds_is_refused(attempts: int, period_ms: int, burst: int) -> None:
    with pytest.raises(ValueError, match="it must be from 1 to"):
        Rate(attempts, period_ms, burst)


# -- the executor -----------------------------------------------------------------------------------------------


async def test_the_executor_begins_no_more_than_the_rate_allows_and_nobody_else_waits() -> None:
    ledger = FakeLedger(
        *(due(f"s{number}", "slow", target=f"probe:/s{number}") for number in range(1_000)),
        *(due(f"q{number}", "quick", target=f"probe:/q{number}") for number in range(100)),
    )
    handlers = {"slow": ProbeHandler("slow"), "quick": ProbeHandler("quick")}
    stage = Stage(ledger, handlers, rates={"slow": Rate(1, 1_000, 3)})
    async with leading(stage):
        await ledger.reports_reach(103)
        await turns()
        assert len(ledger.claims) == 103, "a claim is proposed only for what may begin"
        stage.clock.advance_ms(2_000)
        ledger.add()
        await ledger.reports_reach(105)
        await turns()
    assert sum(report.resource.startswith("s") for report in ledger.reports) == 5


async def test_the_executor_wakes_by_itself_when_the_next_may_begin() -> None:
    ledger = FakeLedger(*(due(f"r{number}") for number in range(6)))
    stage = Stage(ledger, rates={"probe": Rate(50, 1_000, 1)})
    executor = stage.executor(monotonic_ns=lambda: int(asyncio.get_running_loop().time() * 1e9))
    executor.started_leading(1)
    await ledger.reports_reach(6)
    await executor.stop()
    assert stage.errors == []
