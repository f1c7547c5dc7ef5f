"""Deletes rows of an SQLite table, fenced by a token in each row: an example of a handler of one's own.

Duty: one row for each cleanup, in a table and by a column that the operator names; a client names the key alone.
The writer of a row puts its lease's fencing token into `token_column`. The statement that deletes compares it with the
claim's: so a delete that comes too late, from a leader that was stopped for an hour, finds a higher token and does
nothing, whoever wins the race to the database.

It must not know: anything of GarbageTruck but the interface.
"""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import quote

from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import (
    ABSENT,
    CleanupCall,
    CleanupResult,
    Handler,
    InvalidParametersError,
    ObservationError,
)

KEY_BYTES_MAX = 512
BUSY_TIMEOUT_S = 2.0
OPTIONS = ("database", "table", "key_column", "token_column")

T = TypeVar("T")


class SqliteRowsHandler(Handler):
    """One table of one database. The names were checked by `make`, since SQL takes no names as parameters."""

    scheme: ClassVar[str] = "sqlite"

    def __init__(self, database: str, table: str, key_column: str, token_column: str) -> None:
        self._database = database
        self._table = table
        self._select = f'SELECT "{token_column}" FROM "{table}" WHERE "{key_column}" = ?'  # noqa: S608 - checked names
        self._delete = f'DELETE FROM "{table}" WHERE "{key_column}" = ? AND "{token_column}" < ?'  # noqa: S608 - likewise

    @override
    def check(self) -> tuple[str, ...]:
        missing = f"there is no database {self._database}; create it with its table, or mount what holds it"
        return () if Path(self._database).is_file() else (missing,)

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        # Encoded, so that a slash in a key makes no second segment: `a` would otherwise contain `a/b`.
        return f"sqlite:{self._database}/{self._table}/{quote(_key(parameters), safe='')}"

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        key = _key(parameters)
        try:
            row = await self._run(lambda connection: connection.execute(self._select, (key,)).fetchone())
        except sqlite3.Error as error:
            raise ObservationError(str(error)) from error
        return ABSENT if row is None else f"token-{row[0]}"

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        key = _key(call.parameters)

        def delete(connection: sqlite3.Connection) -> CleanupResult:
            if not call.may_proceed():  # asked in the thread, as late as can be
                return CleanupResult.failed("out of time, or this node leads no more")
            with connection:
                if connection.execute(self._delete, (key, call.fencing_token)).rowcount:
                    return CleanupResult.done()
                row = connection.execute(self._select, (key,)).fetchone()
            if row is None:
                return CleanupResult.already_gone()
            return CleanupResult.failed(f"the row bears token {row[0]}, the claim only {call.fencing_token}")

        try:
            return await self._run(delete)
        except sqlite3.Error as error:
            return CleanupResult.failed(str(error))

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._with_connection, work)

    def _with_connection(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Never created by us: an empty database would make everything look gone.
        address = f"file:{quote(self._database)}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
            return work(connection)


def make(options: Mapping[str, object], name: str) -> SqliteRowsHandler:
    """What the entry point names. Performs no I/O. Raises `ValueError`, which the operator is shown."""
    if set(options) != set(OPTIONS):
        message = f"{name} needs exactly the options {', '.join(OPTIONS)}"
        raise ValueError(message)
    database, *names = (str(options[option]) for option in OPTIONS)
    plain = Path(database)
    if not plain.is_absolute() or ".." in plain.parts:
        message = "database: is not an absolute path without `..`"
        raise ValueError(message)
    for option, column in zip(OPTIONS[1:], names, strict=True):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", column):
            message = f"{option}: is not a plain name"
            raise ValueError(message)
    return SqliteRowsHandler(str(plain), *names)


def _key(parameters: Mapping[str, str]) -> str:
    if set(parameters) != {"id"}:
        raise InvalidParametersError("", "has another key than `id`, or none", "give `id` alone")
    key = parameters["id"]
    if not key.isprintable() or not 1 <= len(key.encode()) <= KEY_BYTES_MAX:
        remedy = f"use 1 to {KEY_BYTES_MAX} bytes of printable text"
        raise InvalidParametersError("id", "is empty, too long or not printable", remedy)
    return key
