"""Connections to stores are encrypted and verified as the operator says, and never fall back to plain text."""

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handler import CleanupResult, ObservationError, Verdict
from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.errors import PostgresNotStarted
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.contract.storage.certificates import tls_options
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.crooked_store import crooked_store
from tests.integration.cleanup.databases import FENCED, Database
from tests.integration.cleanup.stores import Bucket

NO_TLS = "SSL is not supported by this build"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="garbagetruck-tls-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def options(folder: Path) -> dict[str, str]:
    """Of a server whose certificate `ca.pem` has signed, and `stranger.pem` has not."""
    return tls_options(folder / "certificates")


@pytest.fixture(scope="module")
def server_with_tls(folder: Path, options: dict[str, str]) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "server", find_binaries(None), durable=False, options=options)
    try:
        server.start()
    except PostgresNotStarted as error:
        if NO_TLS in str(error):
            pytest.skip("this build of PostgreSQL has no TLS")
        raise
    yield server
    server.stop()


async def cleaned(database: Database, tls: str) -> CleanupResult:
    dsn = database.dsn().replace("sslmode=disable", tls)
    async with database.handler(database.statement(FENCED), dsn=dsn) as handler:
        return await handler.clean(call_of(handler, {"id": "42"}, identity=await handler.observe({"id": "42"})))


async def test_a_database_is_verified_by_the_authority_that_is_named(
    server_with_tls: EmbeddedPostgres, folder: Path
) -> None:
    async with Database(server_with_tls, "tls").made() as database:
        await database.write(42, 50)
        named = f"sslmode=verify-full&sslrootcert={folder}/certificates"
        result = await cleaned(database, f"{named}/stranger.pem")
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "certificate verify failed" in result.error
        assert await database.rows() == {42: 50}
        assert await cleaned(database, f"{named}/ca.pem") == CleanupResult.done()


async def test_a_database_without_tls_is_not_spoken_to_where_tls_is_asked_for(database: Database) -> None:
    await database.write(42, 50)
    result = await cleaned(database, "sslmode=require")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "SSL" in result.error
    assert await database.rows() == {42: 50}


async def test_an_object_store_is_verified_by_the_authority_that_is_named(options: dict[str, str]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options["ssl_cert_file"], options["ssl_key_file"])
    folder = Path(options["ssl_cert_file"]).parent

    async def agree(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    bucket = Bucket(None, "", "bucket")
    async with crooked_store(agree, context) as (url, asked):
        async with bucket.handler("none", endpoint_url=url, tls_authority=str(folder / "ca.pem")) as handler:
            call = call_of(handler, {"key": "tmp/42"}, identity=await handler.observe({"key": "tmp/42"}))
            assert await handler.clean(call) == CleanupResult.done()
        asked.clear()
        for authority in ({"tls_authority": str(folder / "stranger.pem")}, {}):
            async with bucket.handler("none", endpoint_url=url, **authority) as handler:
                with pytest.raises(ObservationError, match=r"(?i)certificate|ssl"):
                    await handler.observe({"key": "tmp/42"})
        assert asked == []
