"""Connections to PostgreSQL: a bounded pool of them, and transactions that end in bounded time.

Duty: connect with the timeouts, TLS and password that the settings say; lend a connection for one transaction; turn what
goes wrong into errors of ours.

Invariants: no wait is without a bound. A connection on which anything failed, or whose user was cancelled, is closed, not
used again: what it still has under way is unknown, and the server ends it. A server that is away is asked again by the next
call, and by nobody in between.

Threads: one event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

import asyncpg

from garbagetruck.storage.errors import StorageFailed, StorageMisconfigured, StorageRefused
from garbagetruck.storage.postgres.failures import hiding, translated
from garbagetruck.storage.postgres.queries import query
from garbagetruck.storage.postgres.settings import PostgresSettings

TRANSACTION_STATEMENTS_MAX = 10
"""A transaction is given up after as long as this many statements may take."""
CLOSE_TIMEOUT_S = 2.0
PROBES: Mapping[str, str] = MappingProxyType(
    {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
)
"""After 20 seconds without an answer the server knows that we are gone. Its other timeouts do not hold while it waits for more
of a COPY: a machine that lost its power then would keep its row locked for the two hours that kernels wait by themselves, and
neither its successor nor a restore would get past it.
"""


class Session:
    """One transaction on one connection, for one task, while it is lent."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, name: str, *arguments: object) -> list[Any]:
        found: list[Any] = await self._connection.fetch(query(name), *arguments)
        return found

    async def row(self, name: str, *arguments: object) -> Any:
        """The first row; None without one."""
        return await self._connection.fetchrow(query(name), *arguments)

    async def value(self, name: str, *arguments: object) -> Any:
        """The first column of the first row; None without one."""
        return await self._connection.fetchval(query(name), *arguments)

    async def change(self, name: str, *arguments: object) -> int:
        """How many rows were inserted, changed or deleted."""
        status: str = await self._connection.execute(query(name), *arguments)
        return int(status.rpartition(" ")[2])

    async def copy(self, table: str, columns: tuple[str, ...], records: list[tuple[object, ...]]) -> None:
        """Insert many rows, with COPY in its binary format."""
        await self._connection.copy_records_to_table(table, records=records, columns=columns)

    async def script(self, text: str) -> None:
        """Statements that are not among the queries: those of a migration."""
        await self._connection.execute(text)


class Connections:
    """`prepare` is called before the first transaction, before the next after a failure, and on every new connection: the server,
    or its schema, may be another then. A connection that ended while nobody used it is replaced without a word.
    """

    def __init__(self, settings: PostgresSettings, prepare: Callable[[Session], Awaitable[None]]) -> None:
        self._settings = settings
        self._prepare = prepare
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._pool: Any = None
        self._secrets: tuple[str, ...] = tuple(filter(None, [settings.password]))

    async def open(self) -> None:
        """Connects to nothing yet."""
        settings = self._settings
        assert self._pool is None
        several = settings.has_several_hosts and not settings.names_session_attrs
        self._pool = await asyncpg.create_pool(
            settings.dsn,
            min_size=0,
            max_size=settings.connections_max,
            init=self._prepare_new,
            reset=_nothing,
            timeout=settings.connect_timeout_ms / 1_000,
            command_timeout=settings.answer_timeout_ms / 1_000,
            target_session_attrs="read-write" if several else None,
            password=None if settings.password_file is None else self._read_password,
            server_settings={
                "application_name": settings.application_name,
                "search_path": f"{settings.schema}, pg_temp",
                "statement_timeout": str(settings.statement_timeout_ms),
                "lock_timeout": str(settings.lock_timeout_ms),
                "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
                **PROBES,
                "synchronous_commit": "on",  # whatever the server's default is: what returns is durable
            },
        )

    async def _prepare_new(self, connection: Any) -> None:
        if self._prepared:  # else the whole storage is about to be
            async with connection.transaction():
                await self._prepare(Session(connection))

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def transaction(self, doing: str) -> AsyncIterator[Session]:
        """One transaction, committed when the block ends, rolled back by a refusal in it. Raises StorageFailed."""
        if not self._prepared:
            async with self._preparing:
                if not self._prepared:
                    async with self._lent(doing) as session:
                        await self._prepare(session)
                    self._prepared = True
        try:
            async with self._lent(doing) as session:
                yield session
        except StorageFailed:
            self._prepared = False
            raise

    @asynccontextmanager
    async def _lent(self, doing: str) -> AsyncIterator[Session]:
        assert self._pool is not None, "it was not entered, or was left"
        acquire_s = self._settings.connect_timeout_ms / 1_000 + self._settings.answer_timeout_ms / 1_000
        connection = None
        try:
            async with asyncio.timeout(TRANSACTION_STATEMENTS_MAX * self._settings.answer_timeout_ms / 1_000):
                connection = await self._pool.acquire(timeout=acquire_s)
                async with _committed(connection):
                    yield Session(connection)
        except (StorageRefused, GeneratorExit):
            raise
        except BaseException as error:
            if connection is not None:
                _terminate(connection)
            failed = translated(error, doing, self._secrets)
            if failed is None:
                raise
            tells = hiding(str(error), self._secrets) != str(error)
            raise failed from (None if tells else error)
        finally:
            if connection is not None:
                await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=CLOSE_TIMEOUT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _terminate(connection)

    def _read_password(self) -> str:
        """On the loop: it is a small file of this machine."""
        try:
            password = self._settings.read_password()
        except (OSError, ValueError) as error:
            raise StorageMisconfigured(f"the password cannot be read: {error}") from error
        if not password:
            raise StorageMisconfigured(f"the password cannot be read: {self._settings.password_file} is empty")
        self._secrets = (password,)
        return password


@asynccontextmanager
async def _committed(connection: Any) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except StorageRefused:
        await transaction.rollback()
        raise
    await transaction.commit()


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool noticed before us that it is closed
        connection.terminate()


async def _nothing(_connection: Any) -> None:
    """Nothing of a session was changed, so nothing need be reset, which would be one more round trip."""
