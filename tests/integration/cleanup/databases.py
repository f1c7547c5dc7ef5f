"""A database for one test, seen past the handler, and `sql` handlers over it.

Duty: a schema with tables, and the rows in them. It must not know: how the handler works.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from garbagetruck.cluster.cleanup.handlers.sql import SqlHandler, sql_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.storage.embedded.server import HOST, USER, EmbeddedPostgres

UPLOADS = """
CREATE TABLE uploads (id bigint PRIMARY KEY, fencing_token bigint NOT NULL, owner text NOT NULL DEFAULT '');
CREATE TABLE parts (upload bigint NOT NULL REFERENCES uploads DEFERRABLE INITIALLY DEFERRED, number int NOT NULL);
"""
FENCED = "DELETE FROM {schema}.uploads WHERE id = :id AND fencing_token < :fencing_token"
BARE = "DELETE FROM {schema}.uploads WHERE id = :id"
OBSERVE = "SELECT xmin, fencing_token FROM {schema}.uploads WHERE id = :id"


class Database:
    """One schema."""

    def __init__(self, server: EmbeddedPostgres, schema: str) -> None:
        self.server = server
        self.schema = schema
        self._connection: Any = None

    @asynccontextmanager
    async def made(self) -> AsyncIterator["Database"]:
        password = self.server.password_file.read_text(encoding="utf-8")
        self._connection = await asyncpg.connect(self.server.dsn, password=password)
        try:
            await self._connection.execute(f"CREATE SCHEMA {self.schema}; SET search_path TO {self.schema}")
            await self._connection.execute(UPLOADS)
            yield self
            await self._connection.execute(f"DROP SCHEMA {self.schema} CASCADE")
        finally:
            await self._connection.close()

    async def execute(self, statement: str, *arguments: object) -> list[Any]:
        found: list[Any] = await self._connection.fetch(statement, *arguments)
        return found

    async def write(self, key: int, token: int, owner: str = "") -> None:
        await self.execute("INSERT INTO uploads VALUES ($1, $2, $3)", key, token, owner)

    async def rows(self) -> dict[int, int]:
        """Tokens by id."""
        return dict(await self.execute("SELECT id, fencing_token FROM uploads"))

    def dsn(self, port: int | None = None) -> str:
        """Without the password; by another port where there is a relay."""
        return f"postgresql://{USER}@{HOST}:{port or self.server.port}/postgres?sslmode=disable"

    def statement(self, *steps: str, rows_max: int = 1, **options: object) -> dict[str, object]:
        """A statement's table, as an operator writes it; `{schema}` is filled in."""
        texts = [{"sql": step.replace("{schema}", self.schema), "rows_max": rows_max} for step in steps]
        filled = {
            name: each.replace("{schema}", self.schema) if isinstance(each, str) else each
            for name, each in options.items()
        }
        return {"parameters": {"id": "integer"}, "steps": texts, **filled}

    def made_handler(self, port: int | None = None, /, **options: object) -> SqlHandler:
        given: dict[str, object] = {"dsn": self.dsn(port), "password_file": str(self.server.password_file)}
        return sql_handlers(run_directly)({**given, **options}, "orders")

    @asynccontextmanager
    async def handler(
        self, statement: dict[str, object], port: int | None = None, /, **options: object
    ) -> AsyncIterator[SqlHandler]:
        """A started handler with one statement; each stands for a process of its own."""
        handler = self.made_handler(port, statements={"upload": statement}, **options)
        await handler.start()
        try:
            yield handler
        finally:
            await handler.stop()
