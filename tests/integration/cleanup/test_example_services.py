"""The example services do what their README says: above all, they refuse a call that comes too late.

Each story is that of a leader which was stopped between its claim and its effect. Meanwhile the next leader cleaned, the
thing was made anew under a new lease, and then the first one's call arrives.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handler import CleanupResult, Handler, Verdict
from garbagetruck.cluster.cleanup.handlers.grpc import grpc_handlers
from garbagetruck.cluster.cleanup.handlers.http import http_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.certificates import HOST, write_certificates
from tests.integration.cleanup.examples_of_services import example
from tests.integration.cleanup.http_service import ENVIRON, LOOPBACK, Names

ROW = {"path": "rows/42"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "rows.db"


def rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT path, fencing_token FROM rows"))


def write(database: Path, path: str, token: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (path, token))


@asynccontextmanager
async def http_example(database: Path) -> AsyncIterator[str]:
    with example("http_service") as module:
        runner = web.AppRunner(module.application(str(database), ENVIRON["SECRET"].encode()), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def over_http(database: Path) -> AsyncIterator[Handler]:
    async with http_example(database) as url:
        make = http_handlers(run_directly, ENVIRON)
        options = {
            "base_url": f"{url}/cleanups",
            "signing_secret": {"env": "SECRET"},
            "allow_addresses": LOOPBACK,
        }
        async with started(make(options, "rows")) as handler:
            yield handler


@asynccontextmanager
async def over_grpc(database: Path) -> AsyncIterator[Handler]:
    with example("grpc_service") as module:
        server, port = await module.start(str(database), "127.0.0.1:0")
        try:
            options = {
                "address": f"127.0.0.1:{port}",
                "insecure_plaintext": True,
                "allow_addresses": LOOPBACK,
            }
            async with started(grpc_handlers(run_directly, {})(options, "rows")) as handler:
                yield handler
        finally:
            await server.stop(None)


@asynccontextmanager
async def started(handler: Handler) -> AsyncIterator[Handler]:
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()


SERVICES = pytest.mark.parametrize("over", [over_http, over_grpc], ids=["http", "grpc"])


@SERVICES
async def test_a_row_is_deleted_once_and_its_absence_is_a_success(over: object, database: Path) -> None:
    async with over(database) as handler:  # type: ignore[operator]
        write(database, "rows/42", 50)
        write(database, "rows/43", 51)
        assert await handler.clean(call_of(handler, ROW, token=60)) == CleanupResult.done()
        assert await handler.clean(call_of(handler, ROW, token=61, attempt=2)) == CleanupResult.already_gone()
    assert rows(database) == {"rows/43": 51}


@SERVICES
async def test_i5_the_late_call_of_a_stopped_leader_deletes_nothing_that_was_made_since(
    over: object, database: Path
) -> None:
    async with over(database) as handler:  # type: ignore[operator]
        write(database, "rows/42", 50)
        stopped = call_of(handler, ROW, token=60)
        assert await handler.clean(call_of(handler, ROW, token=70, attempt=2)) == CleanupResult.done()
        write(database, "rows/42", 80)  # under a new lease
        result = await handler.clean(stopped)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "the row bears token 80, the call only 60" in result.error
    assert rows(database) == {"rows/42": 80}


@SERVICES
async def test_i5_a_call_that_the_network_held_up_deletes_nothing_that_was_made_since(
    over: object, database: Path
) -> None:
    """The same, with the first call on its way before the second begins, and arriving last."""
    async with over(database) as handler:  # type: ignore[operator]
        write(database, "rows/42", 50)
        held_up, passed_on = asyncio.Event(), asyncio.Event()

        async def late() -> CleanupResult:
            held_up.set()
            await passed_on.wait()
            result: CleanupResult = await handler.clean(call_of(handler, ROW, token=60))
            return result

        first = asyncio.create_task(late())
        await held_up.wait()
        assert await handler.clean(call_of(handler, ROW, token=70, attempt=2)) == CleanupResult.done()
        write(database, "rows/42", 80)
        passed_on.set()
        assert (await first).verdict is Verdict.FAILED
    assert rows(database) == {"rows/42": 80}


async def test_the_http_example_asks_for_a_signature_and_takes_rows(database: Path) -> None:
    async with http_example(database) as url, aiohttp.ClientSession() as session:
        async with session.put(f"{url}/rows/a/b", headers={"Fencing-Token": "7"}) as response:
            assert response.status == 201
        async with session.delete(f"{url}/cleanups/a/b", headers={"GarbageTruck-Fencing-Token": "9"}) as response:
            assert response.status == 401
        make = http_handlers(run_directly, ENVIRON, wall_s=lambda: time.time() - 3_600)
        options = {"base_url": f"{url}/cleanups", "signing_secret": {"env": "SECRET"}, "allow_addresses": LOOPBACK}
        async with started(make(options, "rows")) as handler:
            result = await handler.clean(call_of(handler, {"path": "a/b"}, token=9))
    assert "too old" in result.error
    assert rows(database) == {"a/b": 7}


async def test_the_grpc_example_lets_only_nodes_in(database: Path, tmp_path: Path) -> None:
    folder = write_certificates(tmp_path / "certificates")
    with example("grpc_service") as module:
        credentials = module.mutual_tls(folder / "index.pem", folder / "index.key", folder / "ca.pem")
        server, port = await module.start(str(database), "127.0.0.1:0", credentials)
        assert isinstance(server, grpc.aio.Server)
        try:
            make = grpc_handlers(run_directly, {}, resolve=Names(["127.0.0.1"]))
            tls = {"authority": str(folder / "ca.pem")}
            own = {"certificate": str(folder / "node.pem"), "key": str(folder / "node.key")}
            options = {"address": f"{HOST}:{port}", "allow_addresses": LOOPBACK}
            async with started(make({**options, "tls": {**tls, **own}}, "rows")) as handler:
                assert await handler.clean(call_of(handler, ROW)) == CleanupResult.already_gone()
            async with started(make({**options, "tls": tls}, "rows")) as handler:
                assert (await handler.clean(call_of(handler, ROW))).verdict is Verdict.FAILED
        finally:
            await server.stop(None)
