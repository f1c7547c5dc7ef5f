"""Machine, executor and file handler together: from the last lease's end to the file's."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import MARGIN_MS, ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.model import ResourceState, Tombstone
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason
from tests.integration.cleanup.calls import names_in
from tests.integration.cleanup.machine_ledger import MachineLedger
from tests.unit.cleanup.fakes import CountingMeter
from tests.unit.machine.scribe import Scribe, accepted, refused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
async def registry(root: Path) -> AsyncIterator[HandlerRegistry]:
    settings = [HandlerSettings(name="file", kind="file", options={"roots": [str(root)]})]
    made = build_registry(settings, run_blocking=run_directly, environ={})
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def ledger() -> MachineLedger:
    return MachineLedger(Scribe().begin())


@pytest.fixture
def meter() -> CountingMeter:
    return CountingMeter()


@pytest.fixture
async def executor(
    ledger: MachineLedger, registry: HandlerRegistry, meter: CountingMeter
) -> AsyncIterator[CleanupExecutor]:
    errors: list[BaseException] = []
    made = CleanupExecutor(
        node_id="n1",
        ledger=ledger,
        registry=registry,
        settings=ExecutorSettings(slots_max=16, attempt_timeout_ms=5_000),
        monotonic_ns=time.monotonic_ns,
        random=Random(1),
        on_fatal=errors.append,
        meter=meter,
    )
    made.started_leading(1)
    yield made
    await made.stop()
    assert errors == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - every turn of the loop may be the one
            await asyncio.sleep(0)


def acquire(
    ledger: MachineLedger, registry: HandlerRegistry, path: str, holder: str = "h", ttl_ms: int = 10_000
) -> str:
    spec = registry.complete("file", {"path": path})
    operation = ledger.scribe.acquiring(path, holder, ttl_ms, cleanup=spec)
    (outcome,) = ledger.apply(operation)
    return accepted(outcome, LeaseGranted).lease.id


def state_of(ledger: MachineLedger, path: str) -> ResourceState:
    found = ledger.scribe.machine.resource("default", path)
    if isinstance(found, Tombstone):
        return ResourceState.CLEANED
    assert found is not None
    return found.state


async def test_i4_the_files_of_expired_leases_are_removed_and_those_in_use_stay(
    root: Path, ledger: MachineLedger, registry: HandlerRegistry, executor: CleanupExecutor, meter: CountingMeter
) -> None:
    for number in range(100):
        (root / str(number)).write_text("x")
        acquire(ledger, registry, str(number), ttl_ms=10_000 if number % 2 else 60_000)
    ledger.advance(20_000)
    await until(lambda: sum(state_of(ledger, str(number)) is ResourceState.CLEANED for number in range(100)) == 50)
    assert names_in(root) == {str(number) for number in range(0, 100, 2)}
    await until(lambda: len(meter.lateness_s) == 50)


async def test_i1_two_holders_keep_it_until_the_second_is_gone(
    root: Path, ledger: MachineLedger, registry: HandlerRegistry, executor: CleanupExecutor
) -> None:
    (root / "42").write_text("x")
    acquire(ledger, registry, "42", "one", 10_000)
    acquire(ledger, registry, "42", "two", 60_000)
    ledger.advance(30_000)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (root / "42").exists()
    ledger.advance(60_000)
    await until(lambda: state_of(ledger, "42") is ResourceState.CLEANED)
    assert not (root / "42").exists()


async def test_i5_a_new_generation_begins_when_the_old_one_is_cleaned_and_keeps_its_file(
    root: Path, ledger: MachineLedger, registry: HandlerRegistry, executor: CleanupExecutor
) -> None:
    for _ in range(5):
        (root / "42").write_text("x")
        lease = acquire(ledger, registry, "42")
        ledger.apply(ledger.scribe.releasing(lease))
        ledger.advance(1)
        await until(lambda: state_of(ledger, "42") is ResourceState.CLEANED)
        assert names_in(root) == set()
    (root / "42").write_text("kept")
    acquire(ledger, registry, "42")
    for _ in range(50):
        await asyncio.sleep(0)
    assert (root / "42").read_text() == "kept"


async def test_i4_what_cannot_be_cleaned_ends_as_a_dead_letter_with_its_reason(
    root: Path, ledger: MachineLedger, registry: HandlerRegistry, executor: CleanupExecutor
) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "keep").touch()
    ledger.apply(ledger.scribe.releasing(acquire(ledger, registry, "folder")))
    ledger.advance(1)
    await until(lambda: state_of(ledger, "folder") is ResourceState.DEAD_LETTER)
    assert "is a directory" in ledger.scribe.resource("folder").last_error
    assert (root / "folder" / "keep").exists()


async def test_i4_a_failure_is_retried_after_its_delay_until_it_succeeds(
    root: Path, ledger: MachineLedger, registry: HandlerRegistry, executor: CleanupExecutor
) -> None:
    away = root.with_name("away")
    (root / "42").write_text("x")
    lease = acquire(ledger, registry, "42")
    root.rename(away)
    ledger.apply(ledger.scribe.releasing(lease))
    ledger.advance(1)
    await until(lambda: ledger.scribe.resource("42").failures == 1)
    assert "root" in ledger.scribe.resource("42").last_error
    away.rename(root)
    ledger.advance(2_000)
    await until(lambda: state_of(ledger, "42") is ResourceState.CLEANED)
    assert names_in(root) == set()


async def test_i1_while_a_claim_stands_the_resource_cannot_be_acquired(
    root: Path,
    ledger: MachineLedger,
    registry: HandlerRegistry,
    executor: CleanupExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal tells when the claim is over: the attempt has stopped by then, since it counts from proposing."""
    (root / "42").write_text("x")
    spec = registry.complete("file", {"path": "42"})
    lease = acquire(ledger, registry, "42")
    registered = registry.find("file")
    assert registered is not None
    entered, release = asyncio.Event(), asyncio.Event()
    really_clean = registered.handler.clean

    async def clean_later(call: object) -> object:
        entered.set()
        await release.wait()
        return await really_clean(call)  # type: ignore[arg-type]

    monkeypatch.setattr(registered.handler, "clean", clean_later)
    ledger.apply(ledger.scribe.releasing(lease))
    ledger.advance(1)
    await asyncio.wait_for(entered.wait(), 10)
    (outcome,) = ledger.apply(ledger.scribe.acquiring("42", cleanup=spec))
    refusal = refused(outcome, Reason.RESOURCE_BEING_CLEANED)
    assert 0 < refusal.retry_after_ms <= 5_000 + MARGIN_MS
    release.set()
    await until(lambda: state_of(ledger, "42") is ResourceState.CLEANED)
    acquire(ledger, registry, "42")
