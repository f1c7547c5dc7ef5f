"""Faults of the PostgreSQL server that nodes keep copies in.

Duty: killed, stopped, slow, cut off, refusing, full, and with a schema of another version. Invariant: nodes are not touched; what
is undone by `heal` is what `inject` did, so that nothing is left for an operator to do at the nodes.
Must not know: what nodes keep there.
"""

import asyncio
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.cluster import Cluster, ClusterFailed
from garbagetruck.chaos.processes.database import Database, DatabaseFailed, has_life
from garbagetruck.chaos.processes.proxy import Direction
from garbagetruck.storage.embedded.account import account_for_server
from garbagetruck.storage.errors import StorageError
from garbagetruck.storage.postgres.queries import migrations

KNOWN_VERSION = len(migrations())
SPACE = "chaos_small"
TABLES = ("archive_entries", "snapshot_chunks")
SCHEMA = "garbagetruck"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'garbagetruck%'"
"""As a restart of the server does; a node looks at the schema when it connects anew."""


class DatabaseFault(Fault, ABC):
    """One of them. `hurt` and `cure` get the server."""

    @override
    def unavailable(self, cluster: Cluster) -> str:
        return "" if cluster.database is not None else "the nodes keep no copies in PostgreSQL"

    @override
    async def inject(self, cluster: Cluster) -> None:
        assert cluster.database is not None, "it is unavailable"
        with _failing(self.name):
            await self.hurt(cluster.database, cluster)

    @override
    async def heal(self, cluster: Cluster) -> None:
        assert cluster.database is not None, "it is unavailable"
        with _failing(f"after {self.name}"):
            await self.cure(cluster.database, cluster)

    @abstractmethod
    async def hurt(self, database: Database, cluster: Cluster) -> None: ...

    @abstractmethod
    async def cure(self, database: Database, cluster: Cluster) -> None: ...


class DatabaseKilled(DatabaseFault):
    """`kill -9` of all of its processes; started again to heal."""

    name = "PostgreSQL is killed"

    def __init__(self) -> None:
        self._killed: list[int] = []
        self._after: list[int] = []

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._killed = await database.kill()

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._after = database.processes()
        await database.start()

    @property
    @override
    def proof(self) -> str:
        return f"{len(self._killed)} processes ended by SIGKILL" if self._killed and not self._after else ""


class DatabaseStopped(DatabaseFault):
    """SIGSTOP of all of its processes, and SIGCONT to heal: connections stay, and nobody answers."""

    name = "PostgreSQL is stopped"

    def __init__(self) -> None:
        self._stopped: list[int] = []
        self._states: set[str] = set()

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._stopped = await database.stop()

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._states = {proc.state_of(pid) for pid in self._stopped if has_life(pid)}
        database.go_on()

    @property
    @override
    def proof(self) -> str:
        stood = self._states == {proc.STOPPED}
        return f"{len(self._stopped)} processes were in state {proc.STOPPED} to the end" if stood else ""


class DatabaseSlow(DatabaseFault):
    """Whatever is asked of it is answered so much later."""

    def __init__(self, answer_s: float) -> None:
        self.name = f"every answer of PostgreSQL takes {answer_s * 1_000:g} ms longer"
        self._delay_s = answer_s / 2
        self._delayed_bytes = 0

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._delayed_bytes = -_delayed_bytes(database)
        database.wire.slow(self._delay_s)

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._delayed_bytes += _delayed_bytes(database)
        database.wire.slow(0.0)

    @property
    @override
    def proof(self) -> str:
        return f"{self._delayed_bytes} bytes of questions and answers were delayed" if self._delayed_bytes > 0 else ""


class DatabaseCutOff(DatabaseFault):
    """Nothing gets there or back; connections stay, and new ones are never made.

    `noticed`: the server gives its sessions up, as it does when nobody answers its probes: from here it always gets an answer,
    since its end of a wire is ours.
    """

    name = "PostgreSQL is cut off from the nodes"

    def __init__(self, *, noticed: bool = False) -> None:
        self._noticed = noticed
        self._held = 0

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._held = -_held(database)
        database.wire.block(*Direction)
        if self._noticed:
            await database.say(END_SESSIONS)

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._held += _held(database)
        database.wire.unblock()

    @property
    @override
    def proof(self) -> str:
        return f"{self._held} bytes and connections were held back" if self._held > 0 else ""


class DatabaseRefuses(DatabaseFault):
    """It ends all sessions, and lets nobody in."""

    name = "PostgreSQL refuses all connections"

    def __init__(self) -> None:
        self._refused = 0

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._refused = -_said(database, "not currently accepting connections")
        await database.say("ALTER DATABASE postgres ALLOW_CONNECTIONS false", END_SESSIONS, elsewhere=True)

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._refused += _said(database, "not currently accepting connections")
        await database.say("ALTER DATABASE postgres ALLOW_CONNECTIONS true", elsewhere=True)

    @property
    @override
    def proof(self) -> str:
        return f"it refused {self._refused} connections" if self._refused > 0 else ""


class DatabaseFull(DatabaseFault):
    """Its tables are on a disk that has no room left."""

    name = "PostgreSQL is out of space"

    def __init__(self) -> None:
        self._failed = 0

    @override
    def unavailable(self, cluster: Cluster) -> str:
        if cluster.database is None:
            return super().unavailable(cluster)
        return cluster.database.small_disk().why_not()

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        disk, owner = database.small_disk(), account_for_server()
        disk.mount()
        place = disk.path / SPACE
        place.mkdir(mode=0o700)
        owner.give(place)
        await database.say(f"CREATE TABLESPACE {SPACE} LOCATION '{place}'", *_moved_to(SPACE))
        self._failed = -_said(database, "No space left on device")
        await asyncio.to_thread(disk.fill)

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        disk = database.small_disk()
        if not disk.mounted:
            return
        self._failed += _said(database, "No space left on device")
        disk.relieve()
        await database.say(*_moved_to("pg_default"), f"DROP TABLESPACE {SPACE}")
        disk.unmount()

    @property
    @override
    def proof(self) -> str:
        return f"{self._failed} statements found no space left" if self._failed > 0 else ""


class SchemaOf(DatabaseFault):
    """The schema says that it is of another version than the nodes know, until its owner has seen to it."""

    _NAMES: ClassVar = {KNOWN_VERSION - 1: "an older", KNOWN_VERSION + 1: "a newer"}

    def __init__(self, version: int) -> None:
        self.name = f"the schema in PostgreSQL is of {self._NAMES[version]} version"
        self._version = version
        self._told = 0

    @override
    async def hurt(self, database: Database, cluster: Cluster) -> None:
        self._told = -self._said_by(cluster)
        await database.say(*self._changes(back=False), END_SESSIONS)

    @override
    async def cure(self, database: Database, cluster: Cluster) -> None:
        self._told += self._said_by(cluster)
        await database.say(*self._changes(back=True))

    def _changes(self, *, back: bool) -> list[str]:
        newest = max(self._version, KNOWN_VERSION)
        gone = f"DELETE FROM {SCHEMA}.schema_migrations WHERE version = {newest}"  # noqa: S608  # a number of ours
        there = f"INSERT INTO {SCHEMA}.schema_migrations (version, name) VALUES ({newest}, 'chaos')"  # noqa: S608
        is_newer = self._version > KNOWN_VERSION
        return [there if is_newer != back else gone]

    def _said_by(self, cluster: Cluster) -> int:
        told = f"the schema has version {self._version}"
        return sum(
            node.log.read_text(encoding="utf-8", errors="replace").count(told) for node in cluster.nodes.values()
        )

    @property
    @override
    def proof(self) -> str:
        return f"nodes said {self._told} times that it is of version {self._version}" if self._told > 0 else ""


@contextmanager
def _failing(doing: str) -> Iterator[None]:
    """What the server does not do for us ends the run."""
    try:
        yield
    except (StorageError, DatabaseFailed, OSError, subprocess.SubprocessError) as error:
        raise ClusterFailed(f"{doing}: {error}") from error


def schema_older() -> SchemaOf:
    return SchemaOf(KNOWN_VERSION - 1)


def schema_newer() -> SchemaOf:
    return SchemaOf(KNOWN_VERSION + 1)


def _moved_to(space: str) -> list[str]:
    return [f"ALTER TABLE {SCHEMA}.{table} SET TABLESPACE {space}" for table in TABLES]


def _said(database: Database, what: str) -> int:
    return sum(what in line for line in database.logged())


def _delayed_bytes(database: Database) -> int:
    return sum(each.delayed_bytes for each in database.wire.weather.values())


def _held(database: Database) -> int:
    return database.wire.kept_out + sum(each.held_bytes for each in database.wire.weather.values())
