"""What a superuser says to a server of our own, past everything that storage does.

Duty: one statement after the other, each a transaction of its own, so that also those can be said that stand in none.
For whoever hurts such a server to see what comes of it, and for nothing that has to be kept. Must not know: any schema.
"""

from collections.abc import Sequence

import asyncpg

from garbagetruck.storage.errors import StorageUnreachable
from garbagetruck.storage.postgres.failures import hiding

TIMEOUT_S = 15.0


async def say(dsn: str, password: str, statements: Sequence[str]) -> None:
    """Say them in their order, up to the first that fails. Raises StorageUnreachable, with what the server said."""
    try:
        connection = await asyncpg.connect(dsn, password=password, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close(timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StorageUnreachable(hiding(str(error) or type(error).__name__, (password,))) from None
