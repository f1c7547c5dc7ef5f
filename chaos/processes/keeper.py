"""What keeps the PostgreSQL server of one run, and nothing of it when the run is over.

Duty: `python -m garbagetruck.chaos.processes.keeper RUN`. Each line of its input has it start the server, in a folder of its own
that the server's account can enter, and answer with a line of JSON. When its input ends it stops the server and removes
the folder. Its input ends with whoever holds the other end, also by `kill -9`: so no server outlives its run.

Must not know: nodes, and what is done to the server meanwhile. `RUN` is for people who look at a list of processes.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.small_disk import SmallDisk
from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.errors import EmbeddedPostgresError
from garbagetruck.storage.embedded.server import EmbeddedPostgres

PREFIX = "garbagetruck-chaos-postgres-"
OPTIONS = {"log_line_prefix": "%m [%p] ", "autovacuum": "off"}
"""Nothing that the server does by itself is to be taken for an effect of a fault."""


def main() -> int:
    """The answer is the exit code."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getppid()}-"))
    folder.chmod(0o711)
    server: EmbeddedPostgres | None = None
    try:
        for _ in iter(sys.stdin.readline, ""):
            try:
                server = server or EmbeddedPostgres(
                    folder / "server", find_binaries(None), durable=False, options=OPTIONS
                )
                server.start()
            except EmbeddedPostgresError as error:
                _answer({"failed": str(error)})
                return 1
            _answer({"folder": str(folder), "dsn": server.dsn, "password_file": str(server.password_file)})
    finally:
        SmallDisk(folder).relieve()
        if server is not None:
            resume(server.pid)
            server.stop()
        SmallDisk(folder).unmount()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def resume(pid: int | None) -> None:
    """Let a server go on that was stopped with all its processes: those would outlive it otherwise."""
    for each in () if pid is None else (pid, *proc.children(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGCONT)


def _answer(fields: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
