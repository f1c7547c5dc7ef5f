"""How the settings of storage fit together, and what its backends are built with.

Duty: the relations within `storage`, and `postgres_settings`. Invariants: pure; a problem names one key and a value that
would do, and holds no password. Must not know: the backends themselves.
"""

from collections.abc import Iterator

from garbagetruck.cluster.node.config.problems import Problem
from garbagetruck.cluster.node.config.storage_section import StorageSection
from garbagetruck.durations import format_duration
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.retention import Retention


def check_storage(storage: StorageSection) -> Iterator[Problem]:
    """Yield everything that does not fit together."""
    if storage.kind == "postgres" and storage.dsn is None:
        yield Problem("storage.dsn", "it is missing, and storage.kind is postgres", "name the server")
        return
    if storage.snapshots_min > storage.snapshots_max:
        yield Problem(
            "storage.snapshots_min",
            f"{storage.snapshots_min} is more than storage.snapshots_max",
            f"use at most {storage.snapshots_max}",
        )
    if storage.lock_timeout_ms > storage.statement_timeout_ms:
        most = format_duration(storage.statement_timeout_ms)
        yield Problem("storage.lock_timeout", "it is longer than storage.statement_timeout", f"use at most {most}")
    elif storage.statement_timeout_ms >= storage.answer_timeout_ms:
        least = format_duration(storage.statement_timeout_ms + 1_000)
        yield Problem("storage.answer_timeout", "it is no longer than storage.statement_timeout", f"use {least}")
    elif storage.kind == "postgres":
        try:
            postgres_settings(storage)
        except ValueError as error:
            yield Problem("storage", str(error), "change what it names")


def postgres_settings(storage: StorageSection, *, application_name: str = "garbagetruck") -> PostgresSettings:
    """Raises ValueError, without a secret in it, when the parts do not fit together."""
    assert storage.dsn is not None, "postgres has an address"
    return PostgresSettings(
        dsn=storage.dsn.value,
        password_file=storage.password_file,
        schema=storage.schema,
        application_name=application_name,
        migrate=storage.migrate,
        connections_max=storage.connections_max,
        connect_timeout_ms=storage.connect_timeout_ms,
        lock_timeout_ms=storage.lock_timeout_ms,
        statement_timeout_ms=storage.statement_timeout_ms,
        idle_in_transaction_timeout_ms=storage.statement_timeout_ms,
        answer_timeout_ms=storage.answer_timeout_ms,
    )


def retention(storage: StorageSection) -> Retention:
    """What is kept of all snapshots."""
    return Retention(
        count_min=storage.snapshots_min, count_max=storage.snapshots_max, age_ms_max=storage.snapshot_age_ms_max
    )
