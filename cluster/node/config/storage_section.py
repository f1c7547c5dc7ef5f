"""The settings of what is kept outside the nodes' own disks: the `storage` part of the tree in `settings`.

Duty and invariants: as there; an address is held as a `Secret`, and shown without the password that may be in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import override

from garbagetruck.cluster.node.config.values import (
    Choice,
    Duration,
    File,
    Folder,
    InvalidValueError,
    Kind,
    Name,
    Secret,
    Switch,
    Whole,
)
from garbagetruck.storage.postgres.settings import PostgresSettings

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress(Kind):
    """`postgresql://…`. It may hold a password, so it is shown without."""

    @property
    @override
    def takes(self) -> str:
        return "address"

    @property
    @override
    def bounds(self) -> str:
        return "`postgresql://USER@HOST:PORT/DATABASE?…`"

    @override
    def parse(self, raw: object) -> Secret:
        remedy = "write postgresql://USER@HOST:PORT/DATABASE, and the password into storage.password_file"
        if not isinstance(raw, str):
            raise InvalidValueError("this is no text", remedy)
        try:
            PostgresSettings(dsn=raw)
        except ValueError as error:
            raise InvalidValueError(str(error), remedy) from None
        return Secret(raw)

    @override
    def show(self, value: object) -> str:
        assert isinstance(value, Secret)
        return f'"{PostgresSettings(dsn=value.value).described}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSection:
    """Where copies go that outlive all of the nodes' disks: of snapshots, and of the log after them (docs/storage.md)."""

    kind: Annotated[
        str,
        Choice(
            meaning="`postgres`: in the database `storage.dsn`. `directory`: in `storage.folder`; without it, and with"
            " `memory`, there are no copies outside the nodes.",
            choices=("directory", "memory", "postgres"),
        ),
    ] = "directory"
    folder: Annotated[
        Path | None,
        Folder(
            meaning="Of `directory`: a folder that all nodes share, which must then run on one machine. Better on a disk of"
            " its own."
        ),
    ] = None
    dsn: Annotated[
        Secret | None,
        PostgresAddress(meaning="Of `postgres`: the server, as libpq's. Use `sslmode=verify-full` beyond loopback."),
    ] = None
    password_file: Annotated[
        Path | None,
        File(meaning="Holds the password of `storage.dsn` and nothing else; read for every new connection."),
    ] = None
    schema: Annotated[str, Name(meaning="The schema of the tables.")] = "garbagetruck"
    migrate: Annotated[
        bool,
        Switch(meaning="Bring an older schema up to date, which needs the role that owns it."),
    ] = True
    connections_max: Annotated[
        int, Whole(meaning="Connections of this node at once.", unit="connections", minimum=2, maximum=100)
    ] = 4
    connect_timeout_ms: Annotated[
        int,
        Duration(meaning="For TCP, TLS and log-in together, over all hosts.", minimum_ms=100, maximum_ms=60_000),
    ] = 5_000
    lock_timeout_ms: Annotated[
        int,
        Duration(meaning="How long a statement waits for another writer.", minimum_ms=100, maximum_ms=600_000),
    ] = 5_000
    statement_timeout_ms: Annotated[
        int,
        Duration(
            meaning="After which the server gives a statement up. At least `storage.lock_timeout`.",
            minimum_ms=100,
            maximum_ms=600_000,
        ),
    ] = 20_000
    answer_timeout_ms: Annotated[
        int,
        Duration(
            meaning="After which this node gives the server up. Longer than `storage.statement_timeout`.",
            minimum_ms=200,
            maximum_ms=900_000,
        ),
    ] = 25_000
    archive_interval_ms: Annotated[
        int,
        Duration(
            meaning="How often the leader archives what was committed; sooner when there is much. What the loss of every"
            " disk costs is about this long.",
            minimum_ms=20,
            maximum_ms=60_000,
        ),
    ] = 250
    archive_backlog_bytes_max: Annotated[
        int,
        Whole(
            meaning="Entries that are not archived yet are kept, on disk and in memory, until the journal is this large. Past"
            " it they go, and a snapshot closes the gap once the storage is back.",
            unit="bytes",
            minimum=1_048_576,
            maximum=1_099_511_627_776,
        ),
    ] = 536_870_912
    snapshot_interval_ms: Annotated[
        int,
        Duration(
            meaning="How often each node copies a snapshot, or up to a quarter sooner, so that they do not all at once.",
            minimum_ms=1_000,
            maximum_ms=7 * _DAY_MS,
        ),
    ] = 600_000
    snapshots_min: Annotated[
        int,
        Whole(
            meaning="This many snapshots, of all nodes together, are kept however old they are.",
            unit="snapshots",
            minimum=1,
            maximum=1_000,
        ),
    ] = 4
    snapshots_max: Annotated[
        int,
        Whole(meaning="Never more than this many.", unit="snapshots", minimum=1, maximum=10_000),
    ] = 48
    snapshot_age_ms_max: Annotated[
        int,
        Duration(
            meaning="Of those between, the ones that are not older than this. The archive goes back to the oldest: so far"
            " back a cluster can be restored to any moment.",
            minimum_ms=0,
            maximum_ms=3_650 * _DAY_MS,
        ),
    ] = 2 * _DAY_MS

    @property
    def is_used(self) -> bool:
        """Whether there are copies outside the nodes at all."""
        return self.kind == "postgres" or (self.kind == "directory" and self.folder is not None)
