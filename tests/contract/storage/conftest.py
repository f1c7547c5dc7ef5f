"""One PostgreSQL server for all tests of a worker, and every backend on it or beside it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.errors import PostgresNotStarted
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.protocol import Storage
from tests.contract.storage.certificates import tls_options
from tests.contract.storage.rigs import DirectoryRig, MemoryRig, PostgresRig, Rig
from tests.contract.storage.samples import FIRST

BINARIES_VARIABLE = "GARBAGETRUCK_TEST_POSTGRES"
"""A folder with `initdb` and `postgres`, to try another version than the one that is found."""

NO_TLS = "SSL is not supported by this build"


def named_binaries() -> Path | None:
    named = os.environ.get(BINARIES_VARIABLE)
    return None if named is None else Path(named)


@pytest.fixture(scope="session")
def reachable_folder() -> Iterator[Path]:
    """Not in pytest's own, which is closed to the account that the server has when tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-postgres-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_server(reachable_folder: Path) -> Iterator[EmbeddedPostgres]:
    # By default this server forgets, when it is killed, what it has just committed: a storage that does not ask for more
    # is found out.
    options = {"synchronous_commit": "off", **tls_options(reachable_folder / "certificates")}
    folder, binaries = reachable_folder / "shared", find_binaries(named_binaries())
    server = EmbeddedPostgres(folder, binaries, durable=False, options=options)
    try:
        server.start()
    except PostgresNotStarted as error:
        if NO_TLS not in str(error):
            raise
        server = EmbeddedPostgres(folder, binaries, durable=False, options={"synchronous_commit": "off"})
        server.start()
    yield server
    server.stop()


@pytest.fixture
def server_with_tls(server: EmbeddedPostgres) -> EmbeddedPostgres:
    if server.log_file.exists() and NO_TLS in server.log_file.read_text(encoding="utf-8", errors="replace"):
        pytest.skip("this build of PostgreSQL has no TLS")
    return server


@pytest.fixture
def server(shared_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """Up, whatever the test before did to it."""
    if shared_server.pid is None:
        shared_server.start()
    return shared_server


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def postgres_rig(server: EmbeddedPostgres) -> PostgresRig:
    return PostgresRig(server)


@pytest.fixture(params=["memory", "directory", "postgres"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, executor: ThreadPoolExecutor) -> Rig:
    match request.param:
        case "memory":
            return MemoryRig()
        case "directory":
            return DirectoryRig(tmp_path / "storage", executor)
        case _:
            return PostgresRig(request.getfixturevalue("server"))


@pytest.fixture
async def storage(rig: Rig) -> AsyncIterator[Storage]:
    """Of a cluster in its first incarnation."""
    async with rig.open() as opened:
        await opened.incarnations.reserve(FIRST, by="n1")
        yield opened
