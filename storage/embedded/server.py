"""One PostgreSQL server in a folder of its own, on a port of loopback.

::

    FOLDER/
      data/          the server's own; as root it belongs to another account
      password       of the one user there is; ours alone
      port           where it listens, also after it was started again
      server.log
      programs-16/   a copy of the server's, when its account cannot get at those that were found

Duty: make it, start it, stop it; take one over that is running already. Invariants: it listens on 127.0.0.1 alone, and
asks for the password. A folder is made whole or not at all. It goes on when we end: whoever starts it stops it.

Threads: any one. All calls block: making takes seconds.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from garbagetruck.storage.embedded.account import Account, account_for_server
from garbagetruck.storage.embedded.binaries import Binaries
from garbagetruck.storage.embedded.errors import PostgresNotStarted

USER = "garbagetruck"
DATABASE = "postgres"
HOST = "127.0.0.1"
PORT_TRIES_MAX = 5
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
INITDB_TIMEOUT_S = 120.0
LOOK_S = 0.02
"""Between two looks at what the server says about itself in its `postmaster.pid`."""
LOG_TAIL_BYTES = 2_000

_STATUS_LINE = 7
_OPTIONS = {"shared_buffers": "32MB", "max_connections": "50", "jit": "off", "unix_socket_directories": ""}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """With `durable=False` it survives its own end, not the machine's. `options` are settings of postgresql.conf."""

    def __init__(
        self, folder: Path, binaries: Binaries, *, durable: bool = True, options: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder.absolute()
        self._binaries = binaries
        self._durable = durable
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def port(self) -> int:
        assert self._port, "it was not started"
        return self._port

    @property
    def dsn(self) -> str:
        """Without the password, which is in `password_file`."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{DATABASE}?sslmode=disable"

    @property
    def password_file(self) -> Path:
        return self._folder / "password"

    @property
    def log_file(self) -> Path:
        return self._folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Of the server that runs in this folder, whoever started it; None when there is none."""
        if self._process is not None:
            self._process.poll()  # a child that has ended and that nobody has waited for is still there
        try:
            pid = int(self._pid_lines()[0])
            program = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except (OSError, ValueError, IndexError):
            return None
        return pid if program == "postgres" else None

    def start(self) -> None:
        """Return when it takes connections. Raises PostgresNotStarted."""
        account = account_for_server()
        try:
            self._prepare(account)
            if self.pid is not None:
                self._port = int((self._folder / "port").read_text())
                self._wait_until_ready()
                return
            self._start(account)
        except (OSError, subprocess.SubprocessError) as error:
            raise PostgresNotStarted(f"PostgreSQL in {self._folder}: {error}") from error

    def stop(self) -> None:
        """End it, and return when it has ended: connections are cut, nothing committed is lost. Idempotent."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            pid = self.pid
            if pid is None:
                break
            os.kill(pid, number)
            if self._has_ended(pid):
                break
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- making it --------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _prepare(self, account: Account) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if account.user is not None:
            self._folder.chmod(0o711)  # the account passes through, and sees nothing
        account.require(self._folder)
        if not account.can_enter(self._binaries.folder):
            self._binaries = self._copied()
        version = self._data / "PG_VERSION"
        if not version.exists():
            self._make(account)
        elif (made_by := version.read_text().strip()) != str(self._binaries.version):
            raise PostgresNotStarted(
                f"{self._folder} was made by PostgreSQL {made_by}, and {self._binaries.folder} is {self._binaries.version}: "
                f"use the programs of version {made_by}, or another folder"
            )

    def _copied(self) -> Binaries:
        """The programs, where the account can get at them: a wheel is often in a folder of ours alone.

        Libraries that came with a wheel lie beside its package, and are looked for from the programs' place.
        """
        folder = self._binaries.folder.resolve()
        prefix, package = folder.parent, folder.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        place = self._folder / f"programs-{self._binaries.version}"
        if not place.exists():
            begun = place.with_suffix(".begun")
            shutil.rmtree(begun, ignore_errors=True)
            shutil.copytree(prefix, begun / package.name / prefix.name, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, begun / libraries.name, symlinks=True)
            begun.rename(place)
        return Binaries(place / package.name / prefix.name / folder.name, self._binaries.version)

    def _make(self, account: Account) -> None:
        begun, told = self._folder / "data.begun", self._folder / "password.begun"
        shutil.rmtree(begun, ignore_errors=True)
        told.unlink(missing_ok=True)
        begun.mkdir(mode=0o700)
        account.give(begun)
        password = secrets.token_urlsafe(24)
        _write_private(told, password)
        account.give(told)
        command: list[str | Path] = [self._binaries.initdb, "--pgdata", begun, "--username", USER, "--pwfile", told]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]
        command += [] if self._durable else ["--no-sync"]
        made = subprocess.run(  # noqa: S603  # the program that was found, with our own arguments
            command,
            **self._options_for(account),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INITDB_TIMEOUT_S,
            check=False,
        )
        told.unlink()
        if made.returncode != 0:
            raise PostgresNotStarted(f"{self._binaries.initdb}: {made.stderr.strip()[-LOG_TAIL_BYTES:]}")
        self.password_file.unlink(missing_ok=True)
        _write_private(self.password_file, password)
        begun.rename(self._data)

    def _options_for(self, account: Account) -> dict[str, Any]:
        """For `subprocess`. What is in our environment for other servers is not for this one."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**account.as_options(), "cwd": "/", "env": {**environment, "LC_ALL": "C"}, "stdin": subprocess.DEVNULL}

    # --- running it -------------------------------------------------------------------------------------------------

    def _start(self, account: Account) -> None:
        remembered = self._folder / "port"
        port = int(remembered.read_text()) if remembered.exists() else _free_port()
        for _ in range(PORT_TRIES_MAX):
            # It is ours before the server is there, so that a server that outlives us can be found.
            remembered.write_text(str(port))
            self._port = port
            self._launch(account, port)
            if self._wait_until_ready():
                return
            if "could not bind" not in self._log_tail():
                break
            port = _free_port()
        raise PostgresNotStarted(f"PostgreSQL in {self._folder} did not start: {self._log_tail()}")

    def _launch(self, account: Account, port: int) -> None:
        options = {"listen_addresses": HOST, "port": str(port)} | _OPTIONS
        options |= {} if self._durable else _NOT_DURABLE
        command: list[str | Path] = [self._binaries.postgres, "-D", self._data]
        for name, value in (options | self._options).items():
            command += ["-c", f"{name}={value}"]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the program that was found, with our own arguments
                command, **self._options_for(account), stdout=log, stderr=log, start_new_session=True
            )

    def _wait_until_ready(self) -> bool:
        """False when it ended instead. Raises PostgresNotStarted."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            lines = self._pid_lines()
            ours = self._process is None or lines[:1] == [str(self._process.pid)]
            if ours and len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready":
                return True
            if self._process is not None and self._process.poll() is not None:
                self._process = None
                return False
            time.sleep(LOOK_S)
        raise PostgresNotStarted(f"PostgreSQL in {self._folder} was not ready in {START_TIMEOUT_S:.0f} s")

    def _has_ended(self, pid: int) -> bool:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self.pid != pid:
                return True
            time.sleep(LOOK_S)
        return False

    def _pid_lines(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def _log_tail(self) -> str:
        content = self.log_file.read_bytes() if self.log_file.exists() else b""
        return content[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _free_port() -> int:
    """One that is free now; somebody may take it before the server does, which then says so."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
