"""One PostgreSQL server for the tests of nodes that write to it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.server import EmbeddedPostgres


@pytest.fixture(scope="session")
def shared_server() -> Iterator[EmbeddedPostgres]:
    # Not in pytest's own folder, which is closed to the account that the server has when tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-postgres-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "server", find_binaries(None), durable=False)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def server(shared_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """Up, whatever the test before did to it."""
    if shared_server.pid is None:
        shared_server.start()
    return shared_server
