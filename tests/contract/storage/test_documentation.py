"""The roles in docs/storage.md: made as it says, able to do what it says, and no more."""

import re
import secrets

import pytest

from garbagetruck.storage.embedded.server import HOST, EmbeddedPostgres
from garbagetruck.storage.errors import StorageMisconfigured
from garbagetruck.storage.postgres.storage import PostgresStorage
from garbagetruck.storage.records import Span
from garbagetruck.storage.retention import Retention
from tests.architecture.checkout import ROOT
from tests.contract.storage.rigs import PostgresRig
from tests.contract.storage.samples import FIRST, LEADER, archive, archived, content, entries, header, store


class Roles:
    """As documented, but under another name: a server has its roles in common."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._name = f"documented_{secrets.token_hex(4)}"
        self._rig = PostgresRig(server, schema=self._name)
        text = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
        made, after = (
            block.replace("garbagetruck", self._name) for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
        )
        self._made, self._after = made, after

    async def make(self) -> None:
        await self._run(self._made)
        for role in ("owner", "writer", "reader"):
            await self._rig.execute(f"ALTER ROLE {self._name}_{role} PASSWORD 'w0rd'")
        async with self.open("owner", migrate=True) as owner:
            await owner.incarnations.reserved()
        await self._run(self._after)

    def open(self, role: str, *, migrate: bool = False) -> PostgresStorage:
        dsn = f"postgresql://{self._name}_{role}:w0rd@{HOST}:{self._rig.server.port}/postgres?sslmode=disable"
        return self._rig.open(dsn=dsn, migrate=migrate)

    async def _run(self, block: str) -> None:
        for statement in re.sub(r"--.*", "", block).split(";"):
            if statement.strip():
                await self._rig.execute(statement)


@pytest.fixture
async def roles(server: EmbeddedPostgres) -> Roles:
    made = Roles(server)
    await made.make()
    return made


async def test_the_writer_does_everything_that_a_node_does(roles: Roles) -> None:
    async with roles.open("writer") as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await archive(storage, 9)
        stored = await store(storage, header(5))
        await storage.archive.trim(LEADER, 6)
        await storage.snapshots.prune(FIRST, Retention(count_min=1, count_max=1, age_ms_max=0), 0)
        assert await archived(storage, 6) == entries(6, 9)
        assert await storage.snapshots.delete(stored.header.snapshot_id)


async def test_the_writer_changes_no_table_and_no_version(roles: Roles) -> None:
    async with roles.open("writer") as storage:
        for statement in (
            "DROP TABLE archive_entries",
            "ALTER TABLE clusters ADD COLUMN mine text",
            "CREATE TABLE mine ()",
            "INSERT INTO schema_migrations (version, name) VALUES (99, 'mine')",
        ):
            with pytest.raises(StorageMisconfigured):
                async with storage._connections.transaction("trying") as session:
                    await session.script(statement)


async def test_the_reader_reads_and_writes_nothing(roles: Roles) -> None:
    async with roles.open("writer") as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await archive(storage, 4)
        stored = await store(storage, header(4))
    async with roles.open("reader") as reader:
        assert await reader.snapshots.whole() == [stored]
        assert len(await content(reader, stored.header.snapshot_id)) == 5
        assert await archived(reader, 1) == entries(1, 4)
        assert await reader.archive.spans(1) == [Span(1, 4, 3)]
        await reader.incarnations.activity()
        with pytest.raises(StorageMisconfigured):
            await reader.snapshots.delete(stored.header.snapshot_id)
        with pytest.raises(StorageMisconfigured):
            await reader.archive.resume(LEADER)
        with pytest.raises(StorageMisconfigured):
            await reader.incarnations.reserve(FIRST, by="the reader")
