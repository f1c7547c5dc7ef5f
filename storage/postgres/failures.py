"""What the driver and the server raise, as what it means to us.

Duty: one table from their errors to ours. Invariants: no secret comes through in a message.
"""

import ssl

import asyncpg

from garbagetruck.storage.errors import (
    StorageFailed,
    StorageFull,
    StorageMisconfigured,
    StorageTimedOut,
    StorageUnreachable,
)

HIDDEN = "[hidden]"
MESSAGE_LENGTH_MAX = 500

# By SQLSTATE, whole or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE: dict[str, type[StorageFailed]] = {
    "08": StorageUnreachable,  # connection exceptions
    "25006": StorageUnreachable,  # read-only: this server is not, or no more, the primary; the next connection finds it
    "25P03": StorageTimedOut,  # idle in a transaction
    "28": StorageMisconfigured,  # log-in refused
    "3D": StorageMisconfigured,  # no such database
    "3F": StorageMisconfigured,  # no such schema
    "40": StorageTimedOut,  # rolled back for others' sake
    "42501": StorageMisconfigured,  # privileges
    "42P01": StorageMisconfigured,  # tables that are not there
    "53100": StorageFull,
    "53": StorageUnreachable,  # memory, connections
    "55P03": StorageTimedOut,  # a lock
    "57014": StorageTimedOut,  # a statement
    "57": StorageUnreachable,  # shutting down, starting up
    "58030": StorageUnreachable,  # its disk
}


def translated(error: BaseException, doing: str, secrets: tuple[str, ...]) -> StorageFailed | None:
    """Ours for `error`; None when it is a bug or a cancellation, which are to go on as they are."""
    kind = _kind_of(error)
    if kind is None:
        return None
    said = str(error) or type(error).__name__
    return kind(f"{doing} in PostgreSQL: {hiding(said, secrets)[:MESSAGE_LENGTH_MAX]}")


def hiding(said: str, secrets: tuple[str, ...]) -> str:
    """What was said, without the secrets."""
    for secret in secrets:
        said = said.replace(secret, HIDDEN)
    return said


def _kind_of(error: BaseException) -> type[StorageFailed] | None:
    if isinstance(error, asyncpg.DataError):
        return None  # an argument of ours that does not fit its column
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or StorageFailed
    if isinstance(error, TimeoutError):
        return StorageTimedOut
    if isinstance(error, ssl.SSLCertVerificationError | asyncpg.ClientConfigurationError):
        return StorageMisconfigured
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | EOFError):
        return StorageUnreachable
    return None
