"""A plug-in on a loop of its own: whatever it does there, the node's loop and the other handlers go on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from garbagetruck.cluster.cleanup import own_loop
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, ObservationError, Verdict
from garbagetruck.cluster.cleanup.own_loop import CALLS_LEFT_MAX, on_own_loop
from garbagetruck.cluster.cleanup.registry import build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.model import ReportResult
from tests.integration.cleanup.calls import call_of
from tests.unit.cleanup.fakes import FakeLedger, ProbeHandler, due
from tests.unit.cleanup.stage import Stage, leading

NAMED = {"name": "x"}


def make_thread(target: Callable[[], None], name: str) -> threading.Thread:
    return threading.Thread(target=target, name=name, daemon=True)


async def its_thread_has_ended() -> None:
    for thread in threading.enumerate():
        if thread.name == "handler-probe":
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()


@asynccontextmanager
async def started(inner: Handler) -> AsyncIterator[Handler]:
    handler = on_own_loop(inner, "probe", make_thread)
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()
        await its_thread_has_ended()


def cleaning(clean: Callable[[CleanupCall], Awaitable[CleanupResult]]) -> ProbeHandler:
    probe = ProbeHandler()
    probe.on_clean = clean
    return probe


async def test_calls_run_on_another_thread_and_their_answers_come_back() -> None:
    threads: list[str] = []

    async def note(_call: CleanupCall) -> CleanupResult:
        threads.append(threading.current_thread().name)
        return CleanupResult.already_gone()

    async with started(cleaning(note)) as handler:
        assert handler.scheme == "probe"
        assert handler.canonical_target(NAMED) == "probe:/x"
        assert await handler.observe(NAMED) == "seen-x"
        assert await handler.clean(call_of(handler, NAMED)) == CleanupResult.already_gone()
    assert threads == ["handler-probe"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()])
async def test_whatever_it_raises_comes_back_as_an_error_and_its_loop_goes_on(error: BaseException) -> None:
    async def fall_over(_call: CleanupCall) -> CleanupResult:
        raise error

    probe = cleaning(fall_over)
    async with started(probe) as handler:
        with pytest.raises(RuntimeError):
            await handler.clean(call_of(handler, NAMED))
        probe.on_clean = None
        assert await handler.clean(call_of(handler, NAMED)) == CleanupResult.done()


async def test_a_plug_in_that_blocks_its_loop_holds_up_neither_the_nodes_loop_nor_its_attempts_end() -> None:
    release = threading.Event()

    async def block(_call: CleanupCall) -> CleanupResult:
        release.wait(30)
        return CleanupResult.done()

    async with started(cleaning(block)) as handler:
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handler.clean(call_of(handler, NAMED))
        assert time.monotonic() - began_s < 10, "nobody waited for the plug-in"
        release.set()
        assert await handler.observe(NAMED) == "seen-x", "it goes on when it can"


async def test_calls_that_were_given_up_before_a_blocked_loop_could_begin_them_are_never_begun() -> None:
    release, blocked = threading.Event(), threading.Event()
    begun: list[int] = []

    async def block_first(call: CleanupCall) -> CleanupResult:
        begun.append(call.attempt)
        if call.attempt == 1:
            blocked.set()
            release.wait(30)
        return CleanupResult.done()

    async with started(cleaning(block_first)) as handler:
        attempts = [
            asyncio.create_task(handler.clean(call_of(handler, NAMED, attempt=number)))
            for number in range(1, CALLS_LEFT_MAX + 1)
        ]
        assert await asyncio.to_thread(blocked.wait, 10)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.wait(attempts)
        assert (await handler.clean(call_of(handler, NAMED, attempt=98))).verdict is Verdict.FAILED
        release.set()
        async with asyncio.timeout(10):
            while (await handler.clean(call_of(handler, NAMED, attempt=99))).verdict is Verdict.FAILED:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert begun == [1, 99]


async def test_a_call_that_is_cancelled_is_cancelled_there_and_may_no_longer_proceed() -> None:
    began, ended = asyncio.Event(), threading.Event()
    here = asyncio.get_running_loop()

    async def wait(_call: CleanupCall) -> CleanupResult:
        here.call_soon_threadsafe(began.set)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with started(cleaning(wait)) as handler:
        attempt = asyncio.create_task(handler.clean(call_of(handler, NAMED)))
        await began.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert await asyncio.to_thread(ended.wait, 10)


async def test_calls_that_do_not_stop_are_left_behind_up_to_a_bound_and_it_recovers_when_they_end() -> None:
    release = threading.Event()

    began = asyncio.Semaphore(0)
    here = asyncio.get_running_loop()

    async def ignore_cancellation(_call: CleanupCall) -> CleanupResult:
        here.call_soon_threadsafe(began.release)
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return CleanupResult.done()

    probe = cleaning(ignore_cancellation)
    async with started(probe) as handler:
        for _ in range(CALLS_LEFT_MAX):
            attempt = asyncio.create_task(handler.clean(call_of(handler, NAMED)))
            await began.acquire()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        result = await handler.clean(call_of(handler, NAMED))
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "16 earlier calls of the plug-in were cancelled and go on" in result.error
        with pytest.raises(ObservationError, match="16 earlier calls"):
            await handler.observe(NAMED)
        release.set()
        probe.on_clean = None
        async with asyncio.timeout(10):
            while (await handler.clean(call_of(handler, NAMED))).verdict is not Verdict.DONE:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)


async def test_a_plug_in_that_does_not_start_says_so_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(ProbeHandler):
        @override
        async def start(self) -> None:
            raise OSError("no disk")

    class Hanging(ProbeHandler):
        @override
        async def start(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(own_loop, "START_S_MAX", 0.1)
    with pytest.raises(OSError, match="no disk"):
        await on_own_loop(Refusing(), "probe", make_thread).start()
    with pytest.raises(OSError, match=r"handlers\.probe: it did not start in"):
        await on_own_loop(Hanging(), "probe", make_thread).start()
    await its_thread_has_ended()


async def test_a_plug_in_that_blocks_for_ever_is_left_behind_when_the_node_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, blocked = threading.Event(), threading.Event()

    async def block(_call: CleanupCall) -> CleanupResult:
        blocked.set()
        release.wait(30)
        return CleanupResult.done()

    monkeypatch.setattr(own_loop, "STOP_S_MAX", 0.05)
    handler = on_own_loop(cleaning(block), "probe", make_thread)
    await handler.start()
    attempt = asyncio.create_task(handler.clean(call_of(handler, NAMED)))
    assert await asyncio.to_thread(blocked.wait, 10)
    attempt.cancel()
    with pytest.raises(TimeoutError):
        await handler.stop()
    release.set()
    await its_thread_has_ended()


async def test_i4_one_plug_in_that_blocks_delays_nobody_elses_cleanups() -> None:
    """With the executor around them: the blocked one's attempts fail at their time, the others are done meanwhile."""
    release = threading.Event()

    async def block(_call: CleanupCall) -> CleanupResult:
        release.wait(30)
        return CleanupResult.done()

    ledger = FakeLedger(
        *(due(f"b{number}", "blocking", target=f"probe:/b{number}") for number in range(4)),
        *(due(f"q{number}", "quick", target=f"probe:/q{number}") for number in range(100)),
    )
    settings = ExecutorSettings(slots_max=8, attempt_timeout_ms=500)
    async with started(cleaning(block)) as blocking:
        stage = Stage(ledger, {"blocking": blocking, "quick": ProbeHandler("quick")}, settings)
        async with leading(stage):
            await ledger.reports_reach(100)
            assert {report.resource[0] for report in ledger.reports} == {"q"}
            await ledger.reports_reach(104)
        release.set()
    late = [report for report in ledger.reports if report.resource.startswith("b")]
    assert {report.result for report in late} == {ReportResult.FAILED}
    assert all("timed out after 500 ms" in report.error or "TimeoutError" in report.error for report in late)


def test_only_plug_ins_get_a_loop_of_their_own() -> None:
    made: list[Mapping[str, object]] = []

    def factory(options: Mapping[str, object], name: str) -> Handler:
        made.append(options)
        return ProbeHandler(name)

    settings = [
        HandlerSettings(name="mine", kind="probe", options={}),
        HandlerSettings(name="files", kind="file", options={"roots": ["/srv/files"]}),
    ]
    registry = build_registry(
        settings, run_blocking=run_directly, environ={}, find_factory=lambda _kind: factory, make_thread=make_thread
    )
    kinds = {name: type(found.handler).__name__ for name in registry.names if (found := registry.find(name))}
    assert kinds == {"mine": "Plugin", "files": "FileHandler"}
    assert made == [{}]
