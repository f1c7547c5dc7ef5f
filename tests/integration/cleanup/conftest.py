"""One PostgreSQL server and one S3 server for the tests of the handlers that clean up there."""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.integration.cleanup.databases import Database
from tests.integration.cleanup.s3_server import SeaweedServer
from tests.integration.cleanup.stores import Bucket, bucket_of


@pytest.fixture(scope="session")
def database_server() -> Iterator[EmbeddedPostgres]:
    # Not in pytest's own folder, which is closed to the account that the server has when tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-postgres-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "server", find_binaries(None), durable=False)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def database(database_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Database]:
    """A schema of the test's own, and a table of uploads in it."""
    async with Database(database_server, f"t{secrets.token_hex(6)}").made() as made:
        yield made


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedServer]:
    # A short path: there are sockets in it.
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-s3-"))
    try:
        with SeaweedServer(folder / "s3") as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture
async def versioned(s3_server: SeaweedServer) -> AsyncIterator[Bucket]:
    """A bucket of the test's own that keeps versions."""
    async with bucket_of(s3_server, versioned=True) as bucket:
        yield bucket


@pytest.fixture
async def plain(s3_server: SeaweedServer) -> AsyncIterator[Bucket]:
    """A bucket of the test's own that keeps none."""
    async with bucket_of(s3_server, versioned=False) as bucket:
        yield bucket
