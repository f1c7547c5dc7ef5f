"""Connections to the operator's database, and what goes wrong there.

Duty: a bounded pool; transactions of one snapshot that end in bounded time; prepared statements with bound values; errors as
failures of an attempt, without secrets.

Every transaction is `REPEATABLE READ`: its first statement decides what all of them see. What is inserted later is invisible to it,
and what was changed later makes it fail. So between a comparison and the deletion after it a leader may be stopped for an hour, and
still touches nothing that was made meanwhile (invariant I5).

Invariants: no wait for the server is without a bound. A connection on which anything failed, or whose user was cancelled, is closed: the server rolls
back what was not committed. Must not know: which statements there are.

Threads: one event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from garbagetruck.cluster.cleanup.handlers.sql.options import Access
from garbagetruck.cluster.cleanup.handlers.sql.parameters import ACCEPTED, BUILT_IN, CAST_AS, Convert, ParameterKind
from garbagetruck.cluster.cleanup.handlers.sql.placeholders import SqlText
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

CLOSE_TIMEOUT_S = 2.0
ANSWER_MARGIN_S = 2.0
"""How much longer than the server's own timeout we wait for its answer."""
ISOLATION = "repeatable_read"
HIDDEN = "[hidden]"
MESSAGE_CHARACTERS_MAX = 300


class DatabaseError(Exception):
    """Something did not work; `str()` is for the operator, and holds no secret.

    With `retryable=False` the same would happen again.
    """

    def __init__(self, error: str, *, retryable: bool = True) -> None:
        super().__init__(error)
        self.retryable = retryable


class Transaction:
    """One transaction on one connection, for one task, while it is lent."""

    def __init__(self, connection: Any, kinds: Mapping[str, ParameterKind]) -> None:
        self._connection = connection
        self._kinds = kinds

    async def prepare(self, sql: SqlText) -> "Prepared":
        """Let the server read a statement, and see that its parameters can be bound. Raises `DatabaseError`."""
        prepared = await self._connection.prepare(sql.text)
        inferred = [each.name for each in prepared.get_parameters()]
        if len(inferred) != len(sql.names):
            message = "the server found other parameters in it than we did; write it more plainly"
            raise DatabaseError(message, retryable=False)
        bound = tuple((name, self._convert(name, type_)) for name, type_ in zip(sql.names, inferred, strict=True))
        return Prepared(prepared, bound)

    async def rehearse(self, sql: SqlText) -> None:
        """Have the server plan a statement, which tells what this account may not do, without running it."""
        explain = await self._connection.prepare(f"EXPLAIN {sql.text}")
        await explain.fetch(*(None for _ in sql.names))

    def _convert(self, name: str, inferred: str) -> Convert:
        kind = self._kinds.get(name)
        accepted = BUILT_IN[name] if kind is None else ACCEPTED[kind]
        if inferred not in accepted:
            cast = "bigint" if name == "fencing_token" else "text" if kind is None else CAST_AS.get(kind, kind.value)
            message = f":{name} would be of type {inferred}, which it cannot be bound to; write CAST(:{name} AS {cast})"
            raise DatabaseError(message, retryable=False)
        return accepted[inferred]


class Prepared:
    """A statement that the server has read, within its transaction."""

    def __init__(self, prepared: Any, bound: tuple[tuple[str, Convert], ...]) -> None:
        self._prepared = prepared
        self._bound = bound

    async def change(self, values: Mapping[str, str]) -> int:
        """Run it; how many rows it touched, or returned if it is a SELECT."""
        await self._prepared.fetch(*self._arguments(values))
        return int(self._prepared.get_statusmsg().rpartition(" ")[2])

    async def rows(self, values: Mapping[str, str], limit: int) -> list[tuple[object, ...]]:
        """Its rows, `limit` at most."""
        cursor = await self._prepared.cursor(*self._arguments(values))
        return [tuple(row) for row in await cursor.fetch(limit)]

    def _arguments(self, values: Mapping[str, str]) -> list[object]:
        return [convert(values[name]) for name, convert in self._bound]


class Connections:
    """Made without touching anything."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._pool: Any = None
        self._secrets: tuple[str, ...] = tuple(filter(None, [access.password]))

    async def open(self) -> None:
        """Connects to nothing yet: a database that is away keeps no node from starting."""
        access = self._access
        self._pool = await asyncpg.create_pool(
            access.dsn,
            min_size=0,
            max_size=access.connections_max,
            timeout=access.connect_timeout_ms / 1_000,
            command_timeout=access.statement_timeout_ms / 1_000 + ANSWER_MARGIN_S,
            password=None if access.password_file is None else self._read_password,
            server_settings={
                "application_name": "garbagetruck",
                "statement_timeout": str(access.statement_timeout_ms),
                "lock_timeout": str(access.lock_timeout_ms),
                # So that the locks of a leader that was stopped are in nobody's way for long.
                "idle_in_transaction_session_timeout": str(access.statement_timeout_ms),
                "synchronous_commit": "on",  # what is reported as cleaned must not come back
                "standard_conforming_strings": "on",  # as placeholders.py reads them
            },
        )

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
    async def transaction(
        self, kinds: Mapping[str, ParameterKind], *, readonly: bool = False
    ) -> AsyncIterator[Transaction]:
        """One transaction, committed when the block ends. Whatever is raised in it ends the connection, and so rolls it back: asking
        a server that may not answer would take its time.

        Raises `DatabaseError`; what the block raises of its own comes through.
        """
        assert self._pool is not None, "the handler was started"
        connection = None
        try:
            # Where there are more attempts than connections, they wait for each other until their own deadline.
            connection = await self._pool.acquire()
            transaction = connection.transaction(isolation=ISOLATION, readonly=readonly)
            await transaction.start()
            yield Transaction(connection, kinds)
            await transaction.commit()
        except BaseException as error:
            if connection is not None:
                _terminate(connection)
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from None  # its text might tell what ours hides
        finally:
            if connection is not None:
                await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=CLOSE_TIMEOUT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _terminate(connection)

    def _read_password(self) -> str | None:
        """On the loop: it is a small file of this machine."""
        password = self._access.read_password()
        self._secrets = tuple(filter(None, [password]))
        return password

    def _failure(self, error: BaseException) -> DatabaseError | None:
        """What an attempt failed of; None for what is not the database's."""
        match error:
            case asyncpg.ClientConfigurationError():
                return self._told(error)
            case asyncpg.InterfaceError() if isinstance(error, ValueError):
                return self._told(error, retryable=False)  # the driver cannot bind a value to its type
            case asyncpg.PostgresError():
                # Class 22 is about values; everything else may be put right, or pass by itself.
                return self._told(error, retryable=not str(error.sqlstate or "").startswith("22"))
            case TimeoutError():
                return DatabaseError("the database did not answer in time")
            case OSError() | asyncpg.InterfaceError() | asyncpg.InternalClientError() | EOFError():
                return self._told(error)
            case HandlerSettingsError():
                return DatabaseError(str(error))
            case _:
                return None

    def _told(self, error: BaseException, *, retryable: bool = True) -> DatabaseError:
        state = str(getattr(error, "sqlstate", None) or "")
        said = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            said = said.replace(secret, HIDDEN)
        return DatabaseError(f"{said[:MESSAGE_CHARACTERS_MAX]}{f' ({state})' if state else ''}", retryable=retryable)


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool noticed before us that it is closed
        connection.terminate()
