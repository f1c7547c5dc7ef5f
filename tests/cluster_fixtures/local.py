"""A cluster of real processes: started by `up`, watched, hurt, and gone afterwards whatever happened.

Duty: what tests of whole clusters share. Invariant: `stop` leaves no process behind, and says so if the product would
have: only processes that name this test's own folder are ever killed.
It must not know: what a test is about.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import grpc.aio
import psutil
import tomlkit

from garbagetruck.v1 import cluster_pb2, cluster_pb2_grpc
from tests.cluster_fixtures.ports import free_base_port

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 20.0
POLL_S = 0.05
NO_PROCESS = 1 << 30
"""In the place of the pid of a node that was never started; above any that there is."""

UP = """
import sys
from contextlib import nullcontext
from pathlib import Path
from garbagetruck.cluster.node.local import supervisor
from garbagetruck.cluster.node.local.layout import UpOptions
from garbagetruck.cluster.node.local.supervisor import up
if sys.argv[4]:
    storage = {"kind": "directory", "folder": sys.argv[4]}
    supervisor.database = lambda *_: nullcontext(storage)
options = UpOptions(data_dir=Path(sys.argv[1]), base_port=int(sys.argv[2]), nodes=int(sys.argv[3]))
sys.exit(up(options, new_cluster_id="tests"))
"""


@dataclass(slots=True)
class Node:
    """One node as `cluster.json` names it, and its present process."""

    id: str
    api: str
    http: str
    data_dir: Path
    config: Path
    log: Path
    pid: int
    process: subprocess.Popen[bytes] | None = None
    """When the test started it by itself."""

    @property
    def alive(self) -> bool:
        """Whether it runs, or is stopped. Those that `up` started are waited for by `up`."""
        return psutil.pid_exists(self.pid) if self.process is None else self.process.poll() is None


class LocalCluster:
    """`start` before anything else, `stop` in any case."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        spare: int = 0,
        environ: Mapping[str, str] = MappingProxyType({}),
        storage: Path | None = None,
    ) -> None:
        """`spare`: how many nodes may be added later. `environ` is added to that of the nodes which `up` starts. `storage`:
        where they keep copies outside of themselves.
        """
        self._environ = environ
        self._storage = storage
        self.folder = folder
        self.size = nodes
        self.base_port = free_base_port(nodes + spare)
        self.nodes: dict[str, Node] = {}
        self._supervisor: subprocess.Popen[str] | None = None

    @property
    def files(self) -> Path:
        """Where the `file` handler may clean."""
        return self.folder / "files"

    @property
    def endpoints(self) -> str:
        return ",".join(node.api for node in self.nodes.values())

    # -- processes ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run `up` until it says `ready`; again on the same folder after a `stop`."""
        self._supervisor = subprocess.Popen(
            [sys.executable, "-c", UP, str(self.folder), str(self.base_port), str(self.size), str(self._storage or "")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | self._environ,
        )
        assert self._supervisor.stdout is not None
        line = self._supervisor.stdout.readline()
        if not line.startswith("ready"):
            told = self._end_of_up()
            self._supervisor = None
            raise AssertionError(f"up said {line!r}, then {told}")
        content = json.loads((self.folder / "cluster.json").read_text())
        assert content["supervisor_pid"] == self._supervisor.pid
        self.nodes = {
            each["id"]: Node(
                each["id"],
                each["api"],
                each["http"],
                Path(each["data_dir"]),
                Path(each["config"]),
                Path(each["log"]),
                each["pid"],
            )
            for each in content["nodes"]
        }

    def stop(self) -> None:
        """Stop as a person would, then make sure that nothing is left. Raises when something had to be killed."""
        self.resume_all()
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
                node.process.wait(STOP_TIMEOUT_S)
        code: int | None = None
        if self._supervisor is not None:
            self._supervisor.send_signal(signal.SIGTERM)
            try:
                code = self._supervisor.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()
            self._end_of_up()
            self._supervisor = None
        left = self.processes()
        for process in left:
            process.kill()
        psutil.wait_procs(left)
        assert not left, f"processes were left: {left}"
        assert code in (0, None), f"up ended with {code}"

    def processes(self) -> list[psutil.Process]:
        """Every live process whose command line names this cluster's folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            arguments = process.info["cmdline"] or []
            if process.pid != os.getpid() and any(str(self.folder) in each for each in arguments):
                found.append(process)
        return found

    def signal(self, node_id: str, number: signal.Signals) -> None:
        os.kill(self.nodes[node_id].pid, number)

    def kill_supervisor(self) -> None:
        """As `kill -9` of `up` does: its nodes live on."""
        assert self._supervisor is not None
        self._supervisor.kill()
        self._supervisor.wait()
        self._end_of_up()
        self._supervisor = None

    def resume_all(self) -> None:
        """Let stopped processes go on, so that they can be ended."""
        for node in self.nodes.values():
            if psutil.pid_exists(node.pid):
                os.kill(node.pid, signal.SIGCONT)

    def mend(self) -> None:
        """Have every node serve again that was stopped or killed, and wait until they do."""
        self.resume_all()
        for node in self.nodes.values():
            if not node.alive:
                self.serve(node.id)
        asyncio.run(self.until_all_serve())

    def add(self, node_id: str, number: int, *, knowing: Sequence[str]) -> dict[str, str]:
        """Lay out a node that shall join at the addresses of that number; the answer is those. Nothing is started.

        `knowing`: the members that its configuration names beside itself.
        """
        names = {"api": 0, "http": 100, "raft": 200, "peer": 400}
        places = {part: f"127.0.0.1:{self.base_port + offset + number}" for part, offset in names.items()}
        config = tomllib.loads(self.nodes[knowing[0]].config.read_text())
        known: dict[str, dict[str, str]] = {}
        for other in self.nodes.values():
            named = tomllib.loads(other.config.read_text())["cluster"]["members"]
            known |= {each["id"]: each for each in named if each["id"] == other.id}
        config["cluster"]["members"] = [*(known[each] for each in knowing), {"id": node_id, **places}]
        config["node"] = {"id": node_id, "data_dir": str(self.folder / node_id)}
        self._bury(node_id)
        path = self.folder / f"{node_id}.toml"
        path.write_text(tomlkit.dumps(config))
        log = self.folder / f"{node_id}.log"
        self.nodes[node_id] = Node(
            node_id, places["api"], places["http"], self.folder / node_id, path, log, pid=NO_PROCESS
        )
        return places

    def serve(self, node_id: str, *flags: str, **environ: str) -> None:
        """Start a node again that was killed, or another one, as `garbagetruck serve --config` does.

        `environ` is added to its own.
        """
        node = self.nodes[node_id]
        self._bury(node_id)
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                [sys.executable, "-m", "garbagetruck.cluster.node", "--config", str(node.config), *flags],
                stdout=log,
                stderr=log,
                env=os.environ | environ,
            )
        node.pid = node.process.pid

    def _bury(self, node_id: str) -> None:
        """Wait for the end of what the test started under this name and has ended by now."""
        node = self.nodes.get(node_id)
        if node is not None and node.process is not None:
            node.process.wait(STOP_TIMEOUT_S)

    def log_of(self, node_id: str) -> list[dict[str, object]]:
        """The lines of a node's log, all its processes so far."""
        lines = self.nodes[node_id].log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _end_of_up(self) -> str:
        assert self._supervisor is not None
        try:
            _, told = self._supervisor.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            _, told = self._supervisor.communicate()
        return told

    # -- what the cluster says ----------------------------------------------------------------------------------

    async def status(self, node_id: str) -> cluster_pb2.ClusterStatus:
        """The cluster as one node sees it."""
        async with grpc.aio.insecure_channel(self.nodes[node_id].api) as channel:
            stub = cluster_pb2_grpc.ClusterServiceStub(channel)
            return (await stub.GetStatus(cluster_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S)).status

    async def leader(self, *, not_: str = "", timeout_s: float = 60.0) -> str:
        """Id of the node that says of itself that it leads; `not_` is one that no longer counts."""
        async with asyncio.timeout(timeout_s):
            while True:
                for node_id in self.nodes:
                    leading = await self._leading_as_seen_by(node_id)
                    if leading and leading != not_:
                        return leading
                await asyncio.sleep(POLL_S)

    async def _leading_as_seen_by(self, node_id: str) -> str:
        try:
            status = await self.status(node_id)
        except grpc.aio.AioRpcError:
            return ""
        leading = [each.id for each in status.nodes if each.role == cluster_pb2.NODE_ROLE_LEADER and each.reachable]
        return leading[0] if leading else ""

    async def until_all_serve(self, *, timeout_s: float = 60.0) -> None:
        """Return when every node is reachable and has applied what the others have."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    status = await self.status(next(iter(self.nodes)))
                except grpc.aio.AioRpcError:
                    status = cluster_pb2.ClusterStatus()
                if len(status.nodes) == self.size and status.healthy:
                    return
                await asyncio.sleep(POLL_S)

    async def digests_by_index(self, *, wanted: int, timeout_s: float = 60.0) -> dict[int, dict[str, bytes]]:
        """What each node's state digest was at each applied index seen, until `wanted` indexes were seen on all."""
        seen: dict[int, dict[str, bytes]] = {}
        deadline_s = time.monotonic() + timeout_s
        while sum(len(digests) == self.size for digests in seen.values()) < wanted:
            assert time.monotonic() < deadline_s, f"no index was seen on all nodes often enough: {seen}"
            status = await self.status(next(iter(self.nodes)))
            for each in status.nodes:
                if each.reachable:
                    seen.setdefault(each.applied_index, {})[each.id] = each.digest
            await asyncio.sleep(POLL_S)
        return seen
