"""Where a local cluster keeps its copies when that is PostgreSQL: a server that `up` runs, or one that there is.

Duty: start and stop the server of `--postgres embedded`, and say what the nodes' configuration has to hold. Invariants: a
password is in a file of its own, which only we may read, and nowhere else. The server is stopped by who asked for it; it
outlives an `up` that is killed, as the nodes do, and the next takes it over.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from garbagetruck.cluster.node.local.layout import EMBEDDED, UpError, UpOptions, UpUsageError
from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.errors import EmbeddedPostgresError
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.postgres.settings import PostgresSettings

_SERVER = "postgres"
_PASSWORD = "postgres.password"  # noqa: S105  # the name of a file


@contextmanager
def database(options: UpOptions, folder: Path) -> Iterator[Mapping[str, object] | None]:
    """The table `storage` of the nodes' configuration, as long as the server runs; None for another kind of storage.

    Raises UpError.
    """
    if options.storage != "postgres":
        yield None
    elif options.postgres in {"", EMBEDDED}:
        try:
            server = EmbeddedPostgres(folder / _SERVER, find_binaries(None))
            server.start()
        except EmbeddedPostgresError as error:
            raise UpError(f"--postgres {EMBEDDED}: {error}") from error
        try:
            yield {"kind": "postgres", "dsn": server.dsn, "password_file": str(server.password_file)}
        finally:
            server.stop()
    else:
        yield _named(options.postgres, folder)


def _named(dsn: str, folder: Path) -> Mapping[str, object]:
    try:
        settings = PostgresSettings(dsn=dsn)
    except ValueError as error:
        raise UpUsageError(f"--postgres: {error}") from None
    table: dict[str, object] = {"kind": "postgres", "dsn": settings.described}
    if settings.password is not None:
        path = folder / _PASSWORD
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(settings.password)
        except OSError as error:
            raise UpError(f"{path} cannot be written: {error.strerror}; name another --data-dir") from error
        table["password_file"] = str(path)
    return table
