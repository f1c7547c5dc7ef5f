"""The backends, each with a way to open it twice, and to damage what it keeps."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import asyncpg
from typing_extensions import override

from garbagetruck.storage.directory.storage import DirectoryStorage
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.memory import MemoryStorage, Vault
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.postgres.storage import PostgresStorage
from garbagetruck.storage.protocol import Storage

SCHEMA = "contract"
SHORT: dict[str, Any] = {
    "connect_timeout_ms": 1_000,
    "lock_timeout_ms": 400,
    "statement_timeout_ms": 500,
    "idle_in_transaction_timeout_ms": 600,
    "answer_timeout_ms": 700,
}
"""Timeouts for tests that wait for them to pass."""


class Rig(Protocol):
    """One backend. Storages that it opens share what they keep, as those of several nodes do."""

    def open(self, cluster_id: str = "c-1") -> Storage: ...

    async def damage_chunk(self, snapshot_id: str, number: int) -> None: ...

    async def lose_chunk(self, snapshot_id: str, number: int) -> None: ...

    async def damage_entry(self, incarnation: int, index: int) -> None: ...

    async def lose_entry(self, incarnation: int, index: int) -> None: ...


class MemoryRig(Rig):
    def __init__(self) -> None:
        self._vault = Vault()

    @override
    def open(self, cluster_id: str = "c-1") -> Storage:
        return MemoryStorage(self._vault, cluster_id)

    @override
    async def damage_chunk(self, snapshot_id: str, number: int) -> None:
        chunks = self._vault.clusters["c-1"].snapshots[snapshot_id].chunks
        chunks[number] = bytes([chunks[number][0][0] ^ 1]) + chunks[number][0][1:], chunks[number][1]

    @override
    async def lose_chunk(self, snapshot_id: str, number: int) -> None:
        del self._vault.clusters["c-1"].snapshots[snapshot_id].chunks[number]

    @override
    async def damage_entry(self, incarnation: int, index: int) -> None:
        entries = self._vault.clusters["c-1"].archives[incarnation].entries
        entries[index] = entries[index][0], b"12345678"

    @override
    async def lose_entry(self, incarnation: int, index: int) -> None:
        del self._vault.clusters["c-1"].archives[incarnation].entries[index]


class DirectoryRig(Rig):
    def __init__(self, root: Path, executor: ThreadPoolExecutor) -> None:
        self._root = root
        self._executor = executor

    @override
    def open(self, cluster_id: str = "c-1") -> Storage:
        return DirectoryStorage(self._root, cluster_id, self._executor)

    @override
    async def damage_chunk(self, snapshot_id: str, number: int) -> None:
        self._change_chunk(snapshot_id, number, lambda head, body: head + bytes([body[0] ^ 1]) + body[1:])

    @override
    async def lose_chunk(self, snapshot_id: str, number: int) -> None:
        self._change_chunk(snapshot_id, number, lambda head, body: b"")

    @override
    async def damage_entry(self, incarnation: int, index: int) -> None:
        self._change_entry(incarnation, index, lambda head, body: head + bytes([body[0] ^ 1]) + body[1:])

    @override
    async def lose_entry(self, incarnation: int, index: int) -> None:
        self._change_entry(incarnation, index, lambda head, body: b"")

    def _change_chunk(self, snapshot_id: str, number: int, change: Callable[[bytes, bytes], bytes]) -> None:
        path = self._root / "cluster-c-1" / "snapshots" / f"{snapshot_id}.snap"
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:4], "little")
        for _ in range(number):
            start += 12 + int.from_bytes(content[start : start + 4], "little")
        end = start + 12 + int.from_bytes(content[start : start + 4], "little")
        path.write_bytes(
            content[:start] + change(content[start : start + 12], content[start + 12 : end]) + content[end:]
        )

    def _change_entry(self, incarnation: int, index: int, change: Callable[[bytes, bytes], bytes]) -> None:
        for path in (self._root / "cluster-c-1" / "archive" / f"{incarnation:020d}").glob("*.seg"):
            content, start = path.read_bytes(), 0
            while start < len(content):
                end = start + 36 + int.from_bytes(content[start + 24 : start + 28], "little")
                if int.from_bytes(content[start : start + 8], "little") == index:
                    head, body = content[start : start + 36], content[start + 36 : end]
                    path.write_bytes(content[:start] + change(head, body) + content[end:])
                    return
                start = end
        raise AssertionError(f"entry {index} is nowhere")


class PostgresRig(Rig):
    """Clusters of one test have a prefix of their own, so that tests can share a schema."""

    def __init__(self, server: EmbeddedPostgres, schema: str = SCHEMA) -> None:
        self.server = server
        self.schema = schema
        self._prefix = secrets.token_hex(6)

    def cluster_id(self, name: str = "c-1") -> str:
        return f"{self._prefix}-{name}"

    def settings(self, **changes: Any) -> PostgresSettings:
        given: dict[str, Any] = {"dsn": self.server.dsn, "schema": self.schema} | changes
        if "password_file" not in given and "dsn" not in changes:
            given["password_file"] = self.server.password_file
        return PostgresSettings(**given)

    @override
    def open(self, cluster_id: str = "c-1", **changes: Any) -> PostgresStorage:
        return PostgresStorage(self.settings(**changes), self.cluster_id(cluster_id))

    async def execute(self, statement: str, *arguments: object) -> list[Any]:
        """As the superuser, past the storage."""
        password = self.server.password_file.read_text(encoding="utf-8")
        connection = await asyncpg.connect(self.server.dsn, password=password)
        try:
            await connection.execute(f"SET search_path TO {self.schema}; SET synchronous_commit TO on")
            found: list[Any] = await connection.fetch(statement, *arguments)
            return found
        finally:
            await connection.close()

    @override
    async def damage_chunk(self, snapshot_id: str, number: int) -> None:
        await self.execute(
            "UPDATE snapshot_chunks SET chunk = set_byte(chunk, 0, get_byte(chunk, 0) # 1)"
            " WHERE cluster_id = $1 AND snapshot_id = $2 AND number = $3",
            self.cluster_id(),
            snapshot_id,
            number,
        )

    @override
    async def lose_chunk(self, snapshot_id: str, number: int) -> None:
        await self.execute(
            "DELETE FROM snapshot_chunks WHERE cluster_id = $1 AND snapshot_id = $2 AND number = $3",
            self.cluster_id(),
            snapshot_id,
            number,
        )

    @override
    async def damage_entry(self, incarnation: int, index: int) -> None:
        await self.execute(
            "UPDATE archive_entries SET payload = set_byte(payload, 0, get_byte(payload, 0) # 1)"
            " WHERE cluster_id = $1 AND incarnation = $2 AND index = $3",
            self.cluster_id(),
            incarnation,
            index,
        )

    @override
    async def lose_entry(self, incarnation: int, index: int) -> None:
        await self.execute(
            "DELETE FROM archive_entries WHERE cluster_id = $1 AND incarnation = $2 AND index = $3",
            self.cluster_id(),
            incarnation,
            index,
        )


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    """Return as soon as `condition` holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110  # another process's doing, which has no event for us
            await asyncio.sleep(0.01)
