"""A cluster of three for one measurement: started by `garbagetruck up`, gone afterwards whatever happens.

Duty: processes and their folder. Invariants: only processes that this object started, or that its own `cluster.json`
names, are ever signalled; `stop` leaves none of them and no folder behind, and may be called at any time, also twice. When this
process is killed before it can, its processes end by themselves, and the folder stays in the folder of temporary files.
"""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GARBAGETRUCK = (
    sys.executable,
    "-c",
    (
        "from garbagetruck.cli.bench.throwaway import end_with_parent; from garbagetruck.cli.main import main;"
        "end_with_parent(); main()"
    ),
)
"""The command itself, whatever PATH says; it stops when this process is gone, even by `kill -9`."""
PR_SET_PDEATHSIG = 1
"""See prctl(2)."""
NODES = 3
BASES = range(18_000, 31_500, 20)
"""Below the ports that the kernel hands out by itself (32768 and up), so that no connection takes one meanwhile."""
PORT_OFFSETS = (0, 100, 200, 400)
STOP_TIMEOUT_S = 60.0


class ThrowawayError(Exception):
    """The cluster could not be started; the message holds what `up` said."""


@dataclass(slots=True)
class LocalNode:
    """One node, as `cluster.json` names it, and its present process."""

    id: str
    api: str
    data_dir: Path
    config: Path
    log: Path
    pid: int
    process: subprocess.Popen[bytes] | None = None
    """When it was started again by us."""


class Throwaway:
    """`start` once, `stop` in any case. Blocks; belongs outside the loop that measures."""

    def __init__(self) -> None:
        self.nodes: dict[str, LocalNode] = {}
        self._folder: Path | None = None
        self._up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when every node serves. Raises `ThrowawayError`."""
        self._folder = Path(tempfile.mkdtemp(prefix="garbagetruck-bench-"))
        told = self._folder / "up.log"
        data_dir = self._folder / "cluster"
        with told.open("wb") as log:
            self._up = subprocess.Popen(  # noqa: S603  # our own command, with our own arguments
                [*GARBAGETRUCK, "up", "--data-dir", str(data_dir), "--base-port", str(free_base_port())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C in the terminal is for us: `up` is told by `stop`, after the load has ended.
                start_new_session=True,
                env=_environment(),
            )
        assert self._up.stdout is not None
        if not self._up.stdout.readline().startswith(b"ready"):
            self._up.wait(STOP_TIMEOUT_S)
            raise ThrowawayError(told.read_text(encoding="utf-8", errors="replace").strip())
        self.nodes = _nodes(json.loads((data_dir / "cluster.json").read_text(encoding="utf-8")))

    @property
    def files(self) -> Path:
        """The root of its one handler, `file`. Once it was started."""
        assert self._folder is not None, "it was started"
        return self._folder / "cluster" / "files"

    def kill(self, node_id: str) -> None:
        """End a node as `kill -9` does."""
        os.kill(self.nodes[node_id].pid, signal.SIGKILL)

    def serve(self, node_id: str) -> None:
        """Start a node again that was killed, with `garbagetruck serve --config`."""
        node = self.nodes[node_id]
        if node.process is not None:
            node.process.wait(STOP_TIMEOUT_S)
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(  # noqa: S603  # our own command, with our own arguments
                [*GARBAGETRUCK, "serve", "--config", str(node.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
        node.pid = node.process.pid

    def stop(self) -> None:
        """End every process and remove the folder."""
        try:
            for node in self.nodes.values():
                if node.process is not None:
                    _end(node.process)
            if self._up is not None:
                _end(self._up)
                if self._up.stdout is not None:
                    self._up.stdout.close()
                self._kill_what_up_left()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _kill_what_up_left(self) -> None:
        """When `up` itself had to be killed, its nodes live on."""
        for node in self.nodes.values():
            command = Path(f"/proc/{node.pid}/cmdline")
            with contextlib.suppress(OSError):
                if str(node.config).encode() in command.read_bytes():
                    os.kill(node.pid, signal.SIGKILL)


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when the one that started it ends, where the kernel can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def free_base_port(nodes: int = NODES, among: Sequence[int] = BASES) -> int:
    """A base for `up --base-port` all of whose ports are free now. Raises `ThrowawayError`."""
    bases = list(among)
    random.SystemRandom().shuffle(bases)
    for base in bases:
        if _all_free([base + offset + number for offset in PORT_OFFSETS for number in range(1, nodes + 1)]):
            return base
    raise ThrowawayError("no free ports on this machine")


def _all_free(ports: Sequence[int]) -> bool:
    with ExitStack() as held:
        for port in ports:
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _environment() -> dict[str, str]:
    """Without this shell's settings: a measurement is of the defaults, or else it cannot be compared."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GARBAGETRUCK_")}


def _nodes(content: dict[str, Any]) -> dict[str, LocalNode]:
    return {
        each["id"]: LocalNode(
            each["id"], each["api"], Path(each["data_dir"]), Path(each["config"]), Path(each["log"]), each["pid"]
        )
        for each in content["nodes"]
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL after a bound."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
