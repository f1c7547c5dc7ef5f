"""The PostgreSQL server of one run: a child's child, behind a wire of ours, and what is in it.

Duty: have it kept, told and read; kill, stop and start it; and know its storage as an operator does who owns the schema.
Invariants: nodes reach it through the wire alone, we past it. It is gone when the run is (`keeper`). Nobody but nodes writes to
the storage.

Must not know: nodes, why it is hurt. Threads: the loop on which it was opened.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.keeper import resume
from garbagetruck.chaos.processes.proxy import Wire
from garbagetruck.chaos.processes.small_disk import SmallDisk
from garbagetruck.chaos.processes.wires import HOST
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.protocol import Storage

KEEPER = ("-m", "garbagetruck.chaos.processes.keeper")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 90.0
ENDED_TIMEOUT_S = 20.0
POLL_S = 0.02
DATABASE = "/postgres?"
OTHER_DATABASE = "/template1?"
"""Where an operator goes when the other one lets nobody in."""
SETTINGS: Mapping[str, Any] = {
    "kind": "postgres",
    # As an operator does whose nodes may not change the schema.
    "migrate": False,
    # All timeouts are those that everybody has.
    "archive_interval": "100ms",
    "snapshot_interval": "4s",
}


class DatabaseFailed(Exception):
    """The server did not come up; the message says what it said."""


class Database:
    """`async with`: it serves inside, its schema is up to date, and it is gone afterwards."""

    def __init__(self, run: Path, cluster_id: str) -> None:
        """`run` is the run's own folder: the server's log is left there."""
        self._run = run
        self._cluster_id = cluster_id
        self._keeper: asyncio.subprocess.Process | None = None
        self._told: dict[str, str] = {}
        self._wire: Wire | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _open(self) -> None:
        if find_spec("asyncpg") is None:
            raise DatabaseFailed("PostgreSQL's driver is not installed: pip install 'garbagetruck[postgres]'")
        self._keeper = await asyncio.create_subprocess_exec(
            sys.executable,
            *KEEPER,
            str(self._run),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C in the terminal is for us.
            start_new_session=True,
        )
        await self.start()
        self._wire = Wire((HOST, int(self._told["dsn"].partition(f"@{HOST}:")[2].partition("/")[0])))
        await self._wire.open(HOST, 0)
        async with self.storage(migrate=True) as storage:
            await storage.cluster_ids()

    async def close(self) -> None:
        """Idempotent."""
        if self._wire is not None:
            await self._wire.close()
        if self._keeper is None:
            return
        with suppress(OSError):
            await asyncio.to_thread(self._keep_log)
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._keeper.wait()
        except TimeoutError:
            self._keeper.kill()
            await self._keeper.wait()

    def _keep_log(self) -> None:
        if self._told:
            (self._run / "postgres.log").write_bytes(self.log_file.read_bytes())

    # -- where it is --------------------------------------------------------------------------------------------

    @property
    def wire(self) -> Wire:
        assert self._wire is not None, "not open"
        return self._wire

    @property
    def dsn(self) -> str:
        """Past the wire."""
        return self._told["dsn"]

    @property
    def password_file(self) -> Path:
        return Path(self._told["password_file"])

    @property
    def folder(self) -> Path:
        """All that it has."""
        return Path(self._told["folder"])

    @property
    def log_file(self) -> Path:
        return self.folder / "server" / "server.log"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What nodes are told of it."""
        address = self.dsn.partition("@")[0] + "@" + self.wire.address + DATABASE + self.dsn.partition(DATABASE)[2]
        return {**SETTINGS, "dsn": address, "password_file": str(self.password_file)}

    def small_disk(self) -> SmallDisk:
        """Where some of it may be brought."""
        return SmallDisk(self.folder)

    def storage(self, *, migrate: bool = False) -> Storage:
        """The cluster's storage, not entered, past the wire."""
        from garbagetruck.storage.postgres.storage import PostgresStorage

        settings = PostgresSettings(
            dsn=self.dsn, password_file=self.password_file, migrate=migrate, application_name="chaos"
        )
        return PostgresStorage(settings, self._cluster_id)

    async def say(self, *statements: str, elsewhere: bool = False) -> None:
        """As the superuser. `elsewhere`: not in the database that nodes use. Raises StorageUnreachable."""
        from garbagetruck.storage.embedded import console

        dsn = self.dsn.replace(DATABASE, OTHER_DATABASE) if elsewhere else self.dsn
        password = self.password_file.read_text(encoding="utf-8").strip()
        await console.say(dsn, password, statements)

    def logged(self) -> Sequence[str]:
        """The lines of the server's log."""
        return self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()

    # -- its processes ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Have it started, unless it runs. Raises DatabaseFailed."""
        keeper = self._keeper
        assert keeper is not None, "not open"
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(b"start\n")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await keeper.stdout.readline()
        except TimeoutError as error:
            raise DatabaseFailed(f"PostgreSQL did not start within {START_TIMEOUT_S:g} s") from error
        told = json.loads(line or '{"failed": "its keeper has ended"}')
        if "failed" in told:
            raise DatabaseFailed(f"PostgreSQL did not start: {told['failed']}")
        if self._told and told != self._told:
            raise DatabaseFailed(f"PostgreSQL went from {self.dsn} to {told['dsn']}, where no node looks for it")
        self._told = told

    def processes(self) -> list[int]:
        """The server's first process, and its children. Empty when it does not run."""
        try:
            lines = (self.folder / "server" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return []
        return [pid, *proc.children(pid)] if has_life(pid) else []

    async def kill(self) -> list[int]:
        """End all of its processes as `kill -9` does; answers those that have ended of it."""
        pids = self.processes()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDED_TIMEOUT_S):
                while any(map(has_life, pids)):  # noqa: ASYNC110  # they are the children of another
                    await asyncio.sleep(POLL_S)
        return [pid for pid in pids if not has_life(pid)]

    async def stop(self) -> list[int]:
        """Let all of its processes stand still; answers which, when they do."""
        stopped: list[int] = []
        # The first one first: then nobody begins another.
        while fresh := [pid for pid in self.processes() if pid not in stopped]:
            for pid in fresh if stopped else fresh[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDED_TIMEOUT_S):
                    while {proc.state_of(pid) for pid in stopped if has_life(pid)} - {proc.STOPPED}:  # noqa: ASYNC110
                        await asyncio.sleep(POLL_S)
        return stopped

    def go_on(self) -> None:
        resume(next(iter(self.processes()), None))


def has_life(pid: int) -> bool:
    """Whether it runs, or is stopped, and has not ended."""
    return proc.state_of(pid) not in {"", proc.ENDED}
