"""`up`: a cluster of several nodes on this machine, each a process of its own.

Duty: start the nodes, say when all of them serve, tell when one ends, and stop them cleanly.

Invariants:

- Only processes that this supervisor started are ever signalled, and only until their end was seen.
- A node that ended by itself stays down unless `restart` was asked for: whoever killed it may want it so, and starts it
  again with `serve --config`. For the same reason nodes do not die with a supervisor that is killed: a node is a server
  of its own, and a cluster outlives the terminal that started it. The next `up` names those that are still running.
- `cluster.json` exists only after every node has served, and is removed when the next `up` begins.

Must not know: what a node does. It sees processes, exit codes and `/readyz`.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from garbagetruck.cluster.node.config.loading import leaves
from garbagetruck.cluster.node.local.layout import (
    LocalCluster,
    LocalNode,
    UpError,
    UpOptions,
    UpUsageError,
    announce,
    check,
    check_ports,
    exclusive,
    plan,
    prepare,
)
from garbagetruck.cluster.node.local.postgres import database

READY_TIMEOUT_S = 60.0
"""How long the nodes may take until all of them serve."""
POLL_S = 0.1
PROBE_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 30.0
"""How long a node may take to end after SIGTERM; then it is killed."""
RESTART_DELAY_S_MIN = 0.5
RESTART_DELAY_S_MAX = 30.0
LOG_TAIL_LINES = 5
DECIDED_BY_UP = (
    "cluster.",
    "node.id",
    "node.data_dir",
    "node.api",
    "node.http",
    "node.raft",
    "node.peer",
    "storage.",
    "handlers",
)
"""Keys, and beginnings of keys, that the files written by `up` hold."""
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def up(options: UpOptions, *, new_cluster_id: str, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run a cluster in the foreground until SIGINT or SIGTERM. The answer is the exit code: 0 stopped, 1 failed,
    2 asked for what cannot be.

    One line that starts with `ready` goes to `out` when every node serves; everything else goes to `err`.
    """
    told = err or sys.stderr
    try:
        check(options)
        with exclusive(options.data_dir.absolute()):
            cluster = plan(options, new_cluster_id=new_cluster_id)
            check_ports(cluster)
            with database(options, cluster.folder) as storage:
                prepare(cluster, options, storage)
                return asyncio.run(Supervisor(cluster, restart=options.restart, out=out or sys.stdout, err=told).run())
    except UpError as error:
        print(f"up: {error}", file=told)
        return EXIT_USAGE if isinstance(error, UpUsageError) else EXIT_FAILED


def serve_command(node: LocalNode) -> Sequence[str]:
    """How a node is started, without `--bootstrap`."""
    return (sys.executable, "-m", "garbagetruck.cluster.node", "--config", str(node.config))


def node_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a node inherits: all but the variables that would override, on every node alike, what `up` decides."""
    decided = {leaf.variable for leaf in leaves() if leaf.key.startswith(DECIDED_BY_UP)}
    return {name: value for name, value in environ.items() if name not in decided}


class _Child:
    """One node's process, as far as this supervisor started it."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.process: asyncio.subprocess.Process | None = None
        self.starting = asyncio.Lock()
        """Held while it is being started, so that a stop never misses a process that is about to be."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Runs one planned cluster. `run` once. `command` gives the program and arguments that start a node."""

    def __init__(
        self,
        cluster: LocalCluster,
        *,
        restart: bool,
        out: TextIO,
        err: TextIO,
        command: Callable[[LocalNode], Sequence[str]] = serve_command,
    ) -> None:
        self._cluster = cluster
        self._command = command
        self._restart = restart
        self._out = out
        self._err = err
        self._children = {node.id: _Child(node) for node in cluster.nodes}
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._announced = False

    async def run(self) -> int:
        """Start, announce, watch, stop. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        watchers: list[asyncio.Task[None]] = []
        try:
            for child in self._children.values():
                await self._start(child, bootstrap=child.node.bootstrap)
            watchers = [loop.create_task(self._watch(child)) for child in self._children.values()]
            for watcher in watchers:
                watcher.add_done_callback(self._on_watcher_end)
            failure = await self._until_ready()
            if failure:
                self._say(failure)
                return EXIT_FAILED
            if not self._stop.is_set():
                self._announce()
                await self._stop.wait()
            return EXIT_DONE
        finally:
            self._stop.set()
            await self._stop_all()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            await asyncio.gather(*watchers)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._kill.set()
        self._stop.set()

    def _on_watcher_end(self, watcher: asyncio.Task[None]) -> None:
        """A node that can no longer be watched or started again ends the whole; `run` raises what it was."""
        if not watcher.cancelled() and watcher.exception() is not None:
            self._stop.set()

    async def _start(self, child: _Child, *, bootstrap: bool) -> None:
        node = child.node
        async with child.starting:
            if self._stop.is_set():
                return
            with node.log.open("ab") as log:
                child.process = await asyncio.create_subprocess_exec(
                    *self._command(node),
                    *(["--bootstrap"] if bootstrap else []),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=node_environment(os.environ),
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in the terminal is for the supervisor, which then stops the nodes one after the other.
                    start_new_session=True,
                )

    async def _until_ready(self) -> str:
        """Wait until every node serves; the answer says why that did not happen, empty when it did, or on a signal."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                waiting = dict(self._children)
                while waiting and not self._stop.is_set():
                    for node_id, child in list(waiting.items()):
                        if not child.running and not self._restart:
                            return f"{_how_it_ended(child)}\n{_tail(child.node)}"
                        if await _is_ready(child.node):
                            del waiting[node_id]
                    if waiting:
                        await self._pause(POLL_S)
        except TimeoutError:
            missing = [child.node for node_id, child in waiting.items()]
            tails = "\n".join(_tail(node) for node in missing)
            return f"not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(node.id for node in missing)}\n{tails}"
        return ""

    def _announce(self) -> None:
        announce(self._cluster, self._pids())
        self._announced = True
        endpoints = ",".join(node.api for node in self._cluster.nodes)
        line = (
            f"ready {len(self._cluster.nodes)} nodes of cluster {self._cluster.cluster_id};"
            f" endpoints {endpoints}; dashboard http://{self._cluster.nodes[0].http}/"
        )
        print(line, file=self._out, flush=True)

    async def _watch(self, child: _Child) -> None:
        """Tell when a node ends by itself; with `restart`, start it again, ever more slowly while it keeps failing."""
        delay_s = RESTART_DELAY_S_MIN
        while child.process is not None:
            began_s = asyncio.get_running_loop().time()
            await child.process.wait()
            if self._stop.is_set():
                return
            if not self._restart:
                if not self._announced:
                    return  # whoever waits for all to serve tells it
                self._say(
                    f"{_how_it_ended(child)}; start it again with: garbagetruck serve --config {child.node.config}"
                )
                return
            if asyncio.get_running_loop().time() - began_s > RESTART_DELAY_S_MAX:
                delay_s = RESTART_DELAY_S_MIN
            self._say(f"{_how_it_ended(child)}; starting it again in {delay_s:g} s")
            await self._pause(delay_s)
            delay_s = min(delay_s * 2, RESTART_DELAY_S_MAX)
            # A node that ended before it had an identity still needs one; one with an identity must keep it.
            bootstrap = child.node.bootstrap and not (child.node.data_dir / "node.json").exists()
            await self._start(child, bootstrap=bootstrap)
            if self._announced:
                announce(self._cluster, self._pids())

    async def _stop_all(self) -> None:
        """SIGTERM one node after the other, so that each leader hands over to a node that stays; kill after a bound.

        A second signal kills all that are left at once.
        """
        for child in self._children.values():
            async with child.starting:
                running = child.running
            if running and not self._kill.is_set():
                await self._end(child)
        for child in self._children.values():
            if child.running and child.process is not None:
                child.process.kill()
                await child.process.wait()

    async def _end(self, child: _Child) -> None:
        process = child.process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.ensure_future(process.wait())
        kill = asyncio.ensure_future(self._kill.wait())
        await asyncio.wait({ended, kill}, timeout=STOP_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        kill.cancel()
        if not ended.done():
            if not self._kill.is_set():
                self._say(f"{child.node.id} (pid {process.pid}) did not end within {STOP_TIMEOUT_S:.0f} s; killing it")
            process.kill()
        await ended

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past a signal."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _pids(self) -> Mapping[str, int]:
        return {node_id: child.process.pid for node_id, child in self._children.items() if child.process is not None}

    def _say(self, text: str) -> None:
        print(f"up: {text}", file=self._err, flush=True)


async def _is_ready(node: LocalNode) -> bool:
    """Whether the node answers 200 at `/readyz`."""
    host, _, port = node.http.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {node.http}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError):
        return False
    return b" 200 " in status


def _how_it_ended(child: _Child) -> str:
    process = child.process
    assert process is not None
    code = process.returncode
    how = (
        f"was killed by {signal.Signals(-code).name}"
        if code is not None and code < 0
        else f"ended with exit code {code}"
    )
    return f"{child.node.id} (pid {process.pid}) {how}"


def _tail(node: LocalNode) -> str:
    """The end of a node's log, for whoever must find out why it does not serve."""
    try:
        lines = node.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join([f"  the end of {node.log}:", *(f"  | {line}" for line in lines)])
