"""`kill -9` of a real node at each point of a cleanup: it ends after the restart, once it is due again, and takes nothing else (I4, I1).

The node kills itself at the point, so that the point is hit.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

import garbagetruck
from garbagetruck.client import ResourceState
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.cluster_fixtures.ports import free_base_port
from tests.integration.cleanup.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SeaweedServer
from tests.integration.cleanup.stores import Bucket, bucket_of

PATIENCE_S = 60.0
LEASED_S = 600.0

DOOMED_NODE = textwrap.dedent(
    """
    import os, signal, sys
    from garbagetruck.cluster.cleanup.attempt import Attempt
    from garbagetruck.cluster.cleanup.handlers.file import removal
    from garbagetruck.cluster.cleanup.handlers.s3.store import Store
    from garbagetruck.cluster.cleanup.handlers.sql.connections import Prepared
    from garbagetruck.cluster.cleanup.proposals import Proposals
    from garbagetruck.cluster.machine.operations import ReportCleanup
    from garbagetruck.cluster.node.__main__ import main

    point = sys.argv.pop(1)
    rename, change, send = removal.rename_no_replace, Prepared.change, Proposals._send
    delete = Store.delete_version

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    async def die_before(self, *_arguments):
        die()

    def rename_and_die(*arguments):
        rename(*arguments)
        die()

    async def change_and_die(self, values):
        await change(self, values)
        die()

    async def delete_and_die(self, bucket, found):
        await delete(self, bucket, found)
        die()

    async def send_and_die(self, batch):
        await send(self, batch)
        if any(isinstance(each.operation, ReportCleanup) for each in batch):
            die()

    if point == "after the claim":
        Attempt._clean = die_before
    elif point == "in the handler":
        removal.rename_no_replace, Prepared.change = rename_and_die, change_and_die
        Store.delete_version = delete_and_die
    elif point == "after the handler":
        Attempt._report = die_before
    elif point == "after the record":
        Proposals._send = send_and_die
    sys.exit(main())
    """
)
CASES = (
    ("file", "after the claim"),
    ("file", "in the handler"),
    ("file", "after the handler"),
    ("file", "after the record"),
    ("orders", "in the handler"),
    ("orders", "after the handler"),
    ("blobs", "in the handler"),
)
HANDLERS = """
[handlers.file]
attempt_timeout = "1s"

[handlers.orders]
kind = "sql"
attempt_timeout = "1s"
dsn = { file = "DSN" }
password_file = "PASSWORD"

[handlers.orders.statements.upload]
parameters = { id = "integer" }
steps = [{ sql = "DELETE FROM uploads WHERE id = :id AND fencing_token < :fencing_token" }]

[handlers.blobs]
kind = "s3"
attempt_timeout = "5s"
endpoint_url = "ENDPOINT"
fence = "version"
buckets = { BUCKET = ["*"] }
credentials = { access_key_id = "KEY_ID", secret_access_key = { file = "SECRET" } }
"""
PARAMETERS = {"file": "path", "orders": "id", "blobs": "key"}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-postgres-"))
    folder.chmod(0o711)
    made = EmbeddedPostgres(folder / "server", find_binaries(None), durable=False)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[SeaweedServer]:
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-s3-"))
    try:
        with SeaweedServer(folder / "s3") as made:
            yield made
    finally:
        shutil.rmtree(folder)


@dataclass
class Rig:
    """A planned cluster of one node, the folder of its files, the database, and the bucket."""

    config: Path
    api: str
    files: Path
    server: EmbeddedPostgres
    connection: asyncpg.Connection
    bucket: Bucket

    async def write(self, handler: str, number: int, token: int) -> None:
        match handler:
            case "file":
                (self.files / str(number)).write_text("an image")
            case "orders":
                await self.connection.execute("INSERT INTO uploads VALUES ($1, $2)", number, token)
            case _:
                await self.bucket.write(str(number))

    async def left(self, handler: str) -> set[str]:
        """Everything that is there, whatever an attempt may have left behind included."""
        if handler == "file":
            return {path.name for path in self.files.iterdir() if "fence" not in path.name}
        if handler == "blobs":
            return {key for key, _ in await self.bucket.versions()}
        return {str(row["id"]) for row in await self.connection.fetch("SELECT id FROM uploads")}


@pytest.fixture
async def rig(tmp_path: Path, server: EmbeddedPostgres, s3_server: SeaweedServer) -> AsyncIterator[Rig]:
    connection = await asyncpg.connect(server.dsn, password=server.password_file.read_text(encoding="utf-8"))
    await connection.execute("DROP TABLE IF EXISTS uploads")
    await connection.execute("CREATE TABLE uploads (id bigint PRIMARY KEY, fencing_token bigint NOT NULL)")
    (tmp_path / "dsn").write_text(server.dsn)
    (tmp_path / "secret").write_text(SECRET_ACCESS_KEY)
    async with bucket_of(s3_server, versioned=True) as bucket:
        filled = {
            "DSN": tmp_path / "dsn",
            "PASSWORD": server.password_file,
            "ENDPOINT": s3_server.url,
            "BUCKET": bucket.name,
            "KEY_ID": ACCESS_KEY_ID,
            "SECRET": tmp_path / "secret",
        }
        handlers = re.sub(r"\b[A-Z_]{3,}\b", lambda found: str(filled.get(found[0], found[0])), HANDLERS)
        (tmp_path / "handlers.toml").write_text(handlers)
        options = UpOptions(
            data_dir=tmp_path / "cluster", nodes=1, base_port=free_base_port(1), handlers=tmp_path / "handlers.toml"
        )
        options.data_dir.mkdir()
        cluster = plan(options, new_cluster_id="tests")
        prepare(cluster, options)
        (node,) = cluster.nodes
        yield Rig(node.config, node.api, options.data_dir / "files", server, connection, bucket)
    await connection.close()


@contextmanager
def process(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A node's process, from `ready` on; gone afterwards, whatever happens."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            told = []
            for line in running.stderr:
                told.append(line)
                if json.loads(line)["event"] == "ready":
                    break
            assert running.poll() is None, told
            yield running
        finally:
            running.kill()


@asynccontextmanager
async def talking_to(rig: Rig) -> AsyncIterator[garbagetruck.Truck]:
    async with garbagetruck.connect(rig.api, timeout=PATIENCE_S) as truck:
        yield truck


@pytest.mark.parametrize(("handler", "point"), CASES)
async def test_i4_a_cleanup_whose_node_is_killed_hard_is_done_after_the_restart(
    rig: Rig, handler: str, point: str
) -> None:
    parameter = PARAMETERS[handler]
    with process(["-c", DOOMED_NODE, point, "--config", str(rig.config), "--bootstrap"]) as doomed:
        async with talking_to(rig) as truck:
            for number in (42, 43):
                cleanup = garbagetruck.Cleanup(handler, **{parameter: str(number)})
                lease = await truck.acquire(f"uploads/{number}", holder="tests", ttl=LEASED_S, cleanup=cleanup)
                await rig.write(handler, number, lease.fencing_token)
                if number == 42:
                    await truck.release(lease.id)
        assert await asyncio.to_thread(doomed.wait, PATIENCE_S) == -9, "it killed itself at the point"
    if point == "after the claim":
        assert await rig.left(handler) == {"42", "43"}
    with process(["-m", "garbagetruck.cluster.node", "--config", str(rig.config)]):
        async with talking_to(rig) as truck, asyncio.timeout(PATIENCE_S):
            while (await truck.resources.get("uploads/42")).state is not ResourceState.CLEANED:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert await rig.left(handler) == {"43"}, "what is leased stays, and nothing is left over"
