"""The processes of the demo: started, killed, and none left behind whatever happens.

Duty: run commands and a cluster (`garbagetruck up`) in a folder, with their output in `logs/`.
Invariant: leaving the `async with` ends every process that was started in it, nodes included.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.upload_workflow.index_service import SECRET
from examples.upload_workflow.pictures import FILES
from examples.upload_workflow.services import address_of

HANDLERS = """\
# What an operator gives to `garbagetruck up --handlers`, and to each node's configuration elsewhere.

[handlers.pictures]                # files below one folder, and nothing else
kind = "file"
roots = ["{store}"]
attempt_timeout = "3s"             # also how long a new leader waits for what the old one may have begun

[handlers.index]                   # one request for each row
kind = "http"
base_url = "{index}/cleanups"
allow_addresses = ["127.0.0.1"]    # services here are on this machine; else only public addresses are called
attempt_timeout = "3s"
headers = {{ Authorization = {{ file = "{secret}" }} }}
"""

START_ATTEMPTS_MAX = 3
NODES = 3
BASE_PORTS = range(18_000, 31_500, 20)
"""Below those that the kernel hands out by itself, so that no connection takes one between our look and `up`'s."""
STOP_S_MAX = 6.0
"""How long `up` may take to stop its nodes one after the other; then it is told to hurry, then killed."""
END_POLL_S = 0.001
LOG_TAIL_LINES = 8


class Mishap(Exception):
    """The demo cannot go on. The message says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as `cluster.json` names it."""

    id: str
    pid: int
    config: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """What `cluster.json` says."""

    endpoints: str
    nodes: dict[str, Node]


class Backstage:
    """Processes by name. `async with` ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Process] = {}
        self._starts: set[asyncio.Task[Process]] = set()

    async def __aenter__(self) -> Self:
        (self._folder / "logs").mkdir()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end_all()

    async def start_service(self, name: str, module: str, *arguments: str) -> None:
        """Run one of the services beside this module."""
        command = (sys.executable, "-m", f"examples.upload_workflow.{module}", name, str(self._folder), *arguments)
        await self._start(name, command, stdout=False)

    async def start_cluster(self) -> Cluster:
        """Run `garbagetruck up` until every node serves. The index has to be there, since its address is configured."""
        handlers = HANDLERS.format(
            store=self._folder / FILES, index=address_of(self._folder, "index"), secret=self._folder / SECRET
        )
        handlers_file = self._folder / "handlers.toml"
        handlers_file.write_text(handlers, encoding="utf-8")
        data_dir = self._folder / "cluster"
        program = str(Path(sys.executable).with_name("garbagetruck"))
        for _ in range(START_ATTEMPTS_MAX):  # somebody else may take a port that was free a moment ago
            options = {"--data-dir": data_dir, "--base-port": free_base_port(), "--handlers": handlers_file}
            arguments = [str(part) for option in options.items() for part in option]
            up = await self._start("cluster", (program, "up", *arguments), stdout=True)
            assert up.stdout is not None
            if (await up.stdout.readline()).startswith(b"ready"):
                return _read_cluster(data_dir)
            await up.wait()
            if "in use already" not in self._tail("cluster"):
                break
        raise Mishap(f"the cluster did not start:\n{self._tail('cluster')}")

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is dead."""
        process = self._running.pop(name)
        process.kill()
        await process.wait()

    def check(self) -> None:
        """Raise `Mishap` when a process has ended that should not have."""
        for name, process in self._running.items():
            if process.returncode is not None:
                raise Mishap(f"{name} ended with exit code {process.returncode}:\n{self._tail(name)}")

    async def end_all(self) -> None:
        """End everything. Services are killed, not asked: asked, they would give back what they hold, and the cluster
        would rightly begin to clean it up.
        """
        await asyncio.gather(*self._starts, return_exceptions=True)
        up = self._running.pop("cluster", None)
        for name in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                await self.kill(name)
        if up is not None:
            await _end_up(up)
        await _kill_nodes(self._folder / "cluster")

    async def _start(self, name: str, command: tuple[str, ...], *, stdout: bool) -> Process:
        """Start a process. If this is cancelled meanwhile, `end_all` still finds the process."""
        start = asyncio.create_task(self._spawn(name, command, stdout=stdout))
        self._starts.add(start)
        try:
            return await asyncio.shield(start)
        finally:
            if start.done():
                self._starts.discard(start)

    async def _spawn(self, name: str, command: tuple[str, ...], *, stdout: bool) -> Process:
        # Settings of the caller's own cluster must not reach this one.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GARBAGETRUCK_")}
        with self._log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=PIPE if stdout else log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends everything in order
            )
        self._running[name] = process
        return process

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    | {line}" for line in lines[-LOG_TAIL_LINES:])


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def until_ended(*pids: int) -> None:
    """Return when none of these processes runs any more. They may be anybody's children."""
    while any(map(is_running, pids)):  # noqa: ASYNC110 - no event tells the end of somebody else's child
        await asyncio.sleep(END_POLL_S)


def command_of(pid: int) -> list[str]:
    """A process's program and arguments; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def free_base_port() -> int:
    """A base for `up` whose ports are all free now. Raises `Mishap`."""
    bases = list(BASE_PORTS)
    random.SystemRandom().shuffle(bases)
    for base in bases:
        kinds = (0, 100, 200, 400)
        if all(_is_free(base + kind + node) for kind, node in itertools.product(kinds, range(1, NODES + 1))):
            return base
    raise Mishap("no free ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _read_cluster(data_dir: Path) -> Cluster:
    content = json.loads((data_dir / "cluster.json").read_text(encoding="utf-8"))
    nodes = {node["id"]: Node(node["id"], node["pid"], node["config"]) for node in content["nodes"]}
    return Cluster(",".join(node["api"] for node in content["nodes"]), nodes)


async def _end_up(up: Process) -> None:
    """Stop `up` as a person would: ask; ask again, whereupon it kills its nodes; kill."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            up.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                await up.wait()
                return


async def _kill_nodes(data_dir: Path) -> None:
    """Kill nodes that outlived their `up`, as they do when it is killed."""
    left = _nodes_of(data_dir)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await until_ended(*left)


def _nodes_of(data_dir: Path) -> list[int]:
    """Processes of this cluster's nodes, known by the configuration that they run with."""
    configurations = {str(path) for path in data_dir.glob("n*.toml")}
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if configurations.intersection(command_of(pid)[-2:])]
