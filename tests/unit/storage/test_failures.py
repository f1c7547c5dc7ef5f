"""What PostgreSQL and its driver say, and what it means to us."""

import ssl

import asyncpg
import pytest

from garbagetruck.storage import errors
from garbagetruck.storage.postgres.failures import HIDDEN, translated


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.DiskFullError("no space left on device"), errors.StorageFull),
        (asyncpg.QueryCanceledError("statement timeout"), errors.StorageTimedOut),
        (asyncpg.LockNotAvailableError("lock timeout"), errors.StorageTimedOut),
        (asyncpg.IdleInTransactionSessionTimeoutError("idle"), errors.StorageTimedOut),
        (asyncpg.DeadlockDetectedError("deadlock"), errors.StorageTimedOut),
        (asyncpg.CannotConnectNowError("starting up"), errors.StorageUnreachable),
        (asyncpg.AdminShutdownError("going away"), errors.StorageUnreachable),
        (asyncpg.TooManyConnectionsError("sorry, too many clients"), errors.StorageUnreachable),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), errors.StorageUnreachable),
        (asyncpg.ConnectionDoesNotExistError("closed"), errors.StorageUnreachable),
        (asyncpg.InterfaceError("closed"), errors.StorageUnreachable),
        (asyncpg.InvalidPasswordError("no"), errors.StorageMisconfigured),
        (asyncpg.InvalidCatalogNameError("no such database"), errors.StorageMisconfigured),
        (asyncpg.InsufficientPrivilegeError("permission denied"), errors.StorageMisconfigured),
        (asyncpg.UndefinedTableError("no such table"), errors.StorageMisconfigured),
        (asyncpg.ClientConfigurationError("bad address"), errors.StorageMisconfigured),
        (asyncpg.PostgresSyntaxError("a bug"), errors.StorageFailed),
        (ssl.SSLCertVerificationError("self-signed"), errors.StorageMisconfigured),
        (ConnectionRefusedError("refused"), errors.StorageUnreachable),
        (TimeoutError(), errors.StorageTimedOut),
    ],
)
def test_each_failure_is_one_of_ours(error: Exception, expected: type[errors.StorageFailed]) -> None:
    found = translated(error, "archiving", ())
    assert type(found) is expected
    assert str(found).startswith("archiving in PostgreSQL: ")


@pytest.mark.parametrize("error", [AssertionError("a bug"), KeyError("a bug"), asyncpg.DataError("not a number")])
def test_a_bug_is_not_made_a_failure(error: Exception) -> None:
    assert translated(error, "archiving", ()) is None


def test_a_secret_does_not_come_through() -> None:
    found = translated(asyncpg.PostgresError("login of u with hunter2 failed"), "archiving", ("hunter2",))
    assert str(found) == f"archiving in PostgreSQL: login of u with {HIDDEN} failed"


def test_refusals_failures_and_damage_are_kept_apart() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.StorageError) and kind is not errors.StorageError:
            roots = (errors.StorageRefused, errors.StorageDamaged, errors.StorageFailed)
            assert sum(issubclass(kind, root) for root in roots) == 1, name
