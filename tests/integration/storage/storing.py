"""A node that keeps copies in PostgreSQL, and what is seen there past the node."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.server_node import ServerNode
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.postgres.storage import PostgresStorage
from tests.integration.node.test_one_node import Place, prepared, running

SHORT = {
    "archive_interval": "50ms",
    "connect_timeout": "500ms",
    "lock_timeout": "500ms",
    "statement_timeout": "1500ms",
    "answer_timeout": "2s",
}
WAIT_S = 30.0


@dataclass
class Kept:
    """A cluster of one node, and its storage. Each has a schema of its own, so that all can be called `tests`."""

    place: Place
    server: EmbeddedPostgres
    schema: str = field(default_factory=lambda: f"t{secrets.token_hex(6)}")

    @property
    def config(self) -> Path:
        return self.place.folder / "n1.toml"

    def configure(self, **more: object) -> None:
        """Have the node write there."""
        config = tomlkit.parse(self.config.read_text())
        config["storage"] = {
            "kind": "postgres",
            "dsn": self.server.dsn,
            "password_file": str(self.server.password_file),
            "schema": self.schema,
            **SHORT,
            **more,
        }
        self.config.write_text(tomlkit.dumps(config))

    def open(self) -> PostgresStorage:
        return self.open_as("tests")

    def open_as(self, cluster_id: str) -> PostgresStorage:
        """Of another cluster in the same schema."""
        return PostgresStorage(
            PostgresSettings(dsn=self.server.dsn, password_file=self.server.password_file, schema=self.schema),
            cluster_id,
        )

    @asynccontextmanager
    async def running(
        self, *, bootstrap: bool = False, disk_id: str = "disk-1", node: Mapping[str, str] | None = None, **raft: int
    ) -> AsyncIterator[ServerNode]:
        async with running(self.place, bootstrap=bootstrap, disk_id=disk_id, node=node, **raft) as served:
            await served.become_ready()
            yield served
        assert self.place.died == []

    async def replayed(self, incarnation: int = 1) -> Machine:
        """What the archive alone makes of a cluster."""
        machine = Machine()
        async with self.open() as storage:
            (span,) = await storage.archive.spans(incarnation)
            assert span.first_index == 1
            async for entry in storage.archive.read(incarnation, 1):
                if entry.payload:
                    machine.apply(entry.payload)
        return machine


def kept(folder: Path, server: EmbeddedPostgres, **more: object) -> Kept:
    found = Kept(prepared(folder), server)
    found.configure(**more)
    return found


def beside(old: Kept, folder: Path, data_dir: Path) -> Kept:
    """The node that an operator makes elsewhere of what was restored into `data_dir`: what is outside is the same."""
    new = kept(folder, old.server)
    new.schema = old.schema
    new.configure()
    config = tomlkit.parse(new.config.read_text())
    config["node"]["data_dir"] = str(data_dir)
    config["handlers"]["file"]["roots"] = {"files": str(old.place.files)}
    new.config.write_text(tomlkit.dumps(config))
    return new


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # another process's doing, which has no event for us
            await asyncio.sleep(0.01)


async def until_archived(node: ServerNode, index: int | None = None) -> None:
    """Return when everything up to `index`, or to what is applied by now, is archived."""
    assert node.storage is not None
    storage, wanted = node.storage, node.core.applier.applied_index if index is None else index
    await until(lambda: storage.archived_index >= wanted)
