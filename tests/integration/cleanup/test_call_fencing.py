"""The whole story of a call that comes too late: machine, two leaders' executors, and a service that compares tokens.

The first leader's call is on its way when it is deposed. The next leader cleans, the row is leased and written anew, and
then the first call arrives.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import MARGIN_MS, ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.model import ResourceState, Tombstone
from garbagetruck.cluster.machine.outcomes import LeaseGranted
from tests.integration.cleanup.examples_of_services import example
from tests.integration.cleanup.http_service import ENVIRON, LOOPBACK
from tests.integration.cleanup.machine_ledger import MachineLedger
from tests.integration.cleanup.test_example_services import rows, write
from tests.unit.machine.scribe import Scribe, accepted

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Over = Callable[[Path, "Gate"], AbstractAsyncContextManager[HandlerSettings]]

NAME = "rows/42"
TIMEOUT_MS = 5_000


class Gate:
    """Holds up the first call, in the service, until it is opened; says when it came and when it was through."""

    def __init__(self) -> None:
        self.came, self.opened, self.through = threading.Event(), threading.Event(), threading.Event()

    def hold(self) -> bool:
        """Whether this call was the first, and was held."""
        if self.came.is_set():
            return False
        self.came.set()
        self.opened.wait(30)
        return True


@asynccontextmanager
async def over_http(database: Path, gate: Gate) -> AsyncIterator[HandlerSettings]:
    @web.middleware
    async def hold(request: web.Request, handler: Answer) -> web.StreamResponse:
        await request.read()  # it has arrived whole: nobody can take it back
        held = await asyncio.to_thread(gate.hold)
        response = await handler(request)
        if held:
            gate.through.set()
        return response

    with example("http_service") as module:
        application = module.application(str(database), ENVIRON["SECRET"].encode())
        application.middlewares.append(hold)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            base = f"http://127.0.0.1:{runner.addresses[0][1]}/cleanups"
            secret = {"env": "SECRET"}
            options = {"base_url": base, "signing_secret": secret, "allow_addresses": LOOPBACK}
            yield HandlerSettings(name="rows", kind="http", options=options)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def over_grpc(database: Path, gate: Gate) -> AsyncIterator[HandlerSettings]:
    with example("grpc_service") as module:
        delete = module.RowCleanups._delete

        def held(self: object, path: str, token: int) -> object:
            first = gate.hold()
            answer = delete(self, path, token)
            if first:
                gate.through.set()
            return answer

        module.RowCleanups._delete = held
        server, port = await module.start(str(database), "127.0.0.1:0")
        try:
            options = {"address": f"127.0.0.1:{port}", "insecure_plaintext": True, "allow_addresses": LOOPBACK}
            yield HandlerSettings(name="rows", kind="grpc", options=options)
        finally:
            await server.stop(None)


@asynccontextmanager
async def leader(node_id: str, ledger: MachineLedger, settings: HandlerSettings) -> AsyncIterator[CleanupExecutor]:
    """One node's handlers and executor, which does not lead yet."""
    errors: list[BaseException] = []
    registry = build_registry([settings], run_blocking=run_directly, environ=ENVIRON)
    await registry.start()
    executor = CleanupExecutor(
        node_id=node_id,
        ledger=ledger,
        registry=registry,
        settings=ExecutorSettings(slots_max=4, attempt_timeout_ms=TIMEOUT_MS),
        monotonic_ns=time.monotonic_ns,
        random=Random(1),
        on_fatal=errors.append,
    )
    try:
        yield executor
    finally:
        await executor.stop()
        await registry.stop()
    assert errors == []


def lease(ledger: MachineLedger, settings: HandlerSettings) -> LeaseGranted:
    registry: HandlerRegistry = build_registry([settings], run_blocking=run_directly, environ=ENVIRON)
    spec = registry.complete("rows", {"path": NAME})
    (outcome,) = ledger.apply(ledger.scribe.acquiring(NAME, "h", 10_000, cleanup=spec))
    return accepted(outcome, LeaseGranted)


@pytest.mark.parametrize("over", [over_http, over_grpc], ids=["http", "grpc"])
async def test_i5_a_deposed_leaders_call_that_arrives_late_does_not_delete_what_was_leased_since(
    over: Over, tmp_path: Path
) -> None:
    database, gate = tmp_path / "rows.db", Gate()
    ledger = MachineLedger(Scribe().begin())
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(over(database, gate))
        stack.callback(gate.opened.set)
        deposed = await stack.enter_async_context(leader("n1", ledger, settings))
        following = await stack.enter_async_context(leader("n2", ledger, settings))
        first = lease(ledger, settings).lease
        write(database, NAME, first.fencing_token)
        deposed.started_leading(1)
        ledger.apply(ledger.scribe.releasing(first.id))
        ledger.advance(1)
        assert await asyncio.to_thread(gate.came.wait, 10), "the first leader's call has arrived"
        deposed.stopped_leading(1)

        following.started_leading(2)
        async with asyncio.timeout(20):
            while not isinstance(ledger.scribe.machine.resource("default", NAME), Tombstone):
                ledger.advance(TIMEOUT_MS + MARGIN_MS + 1)
                await asyncio.sleep(0.02)
        assert rows(database) == {}, "the second leader's call has deleted it"

        again = lease(ledger, settings).lease
        write(database, NAME, again.fencing_token)
        gate.opened.set()
        assert await asyncio.to_thread(gate.through.wait, 10), "the first call has been answered"
        assert rows(database) == {NAME: again.fencing_token}
        assert ledger.scribe.resource(NAME).state is ResourceState.LIVE
