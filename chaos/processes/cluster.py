"""A cluster of real nodes under our hands: each a child process, behind wires of ours.

Duty: folders, configuration, processes; signals to them; what they say of themselves.
Invariants: only processes that were started here are ever signalled, and only until their end was seen; after `close`
none is left. When this process is killed its nodes end, too. Every node reaches every other through a wire of ours, and
only so.
Must not know: why somebody is hurt, what clients do.
Threads: the loop on which it was opened.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import grpc.aio
import tomlkit

from garbagetruck.chaos.processes import proc, vault_handler
from garbagetruck.chaos.processes.database import Database, DatabaseFailed
from garbagetruck.chaos.processes.orders import Orders
from garbagetruck.chaos.processes.proc import tail_of
from garbagetruck.chaos.processes.settings import Settings, reconfigure
from garbagetruck.chaos.processes.vault import Vault
from garbagetruck.chaos.processes.wires import Kind, Wires
from garbagetruck.cli.bench.throwaway import free_base_port
from garbagetruck.client.endpoints import CHANNEL_OPTIONS, Stubs
from garbagetruck.cluster.node.local import layout
from garbagetruck.cluster.node.local.supervisor import node_environment
from garbagetruck.v1 import cluster_pb2

CLUSTER_ID = "chaos"
NODE = ("-m", "garbagetruck.chaos.processes.node")
LEVEL_VARIABLE = "GARBAGETRUCK_NODE_FEATURE_LEVEL"
READY_TIMEOUT_S = 90.0
UPGRADING = "can do more"
"""How the one warning ends that is no trouble: some nodes are upgraded already."""
STATUS_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.1
LAST_WORDS = 3
"""Lines of a node's log."""


class ClusterFailed(Exception):
    """The cluster did not come up, or a node did not end; the message says what its log does."""


@dataclass(slots=True)
class Node:
    """One node and its present process."""

    id: str
    api: str
    data_dir: Path
    config: Path
    log: Path
    disk: Orders
    """What its disk is told to do; see `chaos.processes.disk`."""
    clocks: Orders
    """Likewise its clocks; see `chaos.processes.clocks`."""
    places: cluster_pb2.Member
    """What an operator says of it who lets it in."""
    stubs: Stubs
    feature_level: int | None = None
    """What it is started with, when that is not the newest."""
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None, "never started"
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def running(self) -> bool:
        """Alive, and not stopped."""
        return self.alive and proc.state_of(self.pid) != proc.STOPPED

    def signal(self, number: signal.Signals) -> None:
        """Nothing happens when it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def said(self, event: str) -> str:
        """The latest of its last words that tell of it; empty when none does."""
        return next((line for line in reversed(tail_of(self.log, LAST_WORDS)) if f'"{event}"' in line), "")

    async def wipe(self) -> None:
        """Remove its folder; it must have ended."""
        assert not self.alive, f"{self.id} runs"
        await asyncio.to_thread(shutil.rmtree, self.data_dir)

    async def ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end of its process; answers the exit code, negative for a signal. Raises `TimeoutError`."""
        assert self.process is not None, "never started"
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()


class Cluster:
    """`async with`: its nodes serve inside, and are gone afterwards."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        spare: int = 0,
        feature_level: int | None = None,
        postgres: bool = False,
        settings: Settings = MappingProxyType({}),
    ) -> None:
        """`spare`: nodes that are planned and wired, and members of nothing yet. `postgres`: it keeps copies in a server of
        its own. `settings` of the nodes, by section, beside ours.
        """
        self.folder = folder
        self.database = Database(folder, CLUSTER_ID) if postgres else None
        self.nodes: dict[str, Node] = {}
        self.doors: dict[str, Stubs] = {}
        """Whom clients may ask: the members."""
        self._size, self._spare = nodes, spare
        self._feature_level = feature_level
        self._settings = settings
        self._channels: list[grpc.aio.Channel] = []
        self._wires: Wires | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The members."""
        return tuple(self.doors)

    @property
    def spares(self) -> tuple[str, ...]:
        return tuple(node_id for node_id in self.nodes if node_id not in self.doors)

    @property
    def files(self) -> Path:
        """The root of its handler `file`."""
        return self.folder / "files"

    @property
    def vault(self) -> Path:
        """The folder of its handler `vault`."""
        return self.folder / "vault"

    @property
    def plug_ins(self) -> Path:
        return self.folder / "plug-ins"

    @property
    def wires(self) -> Wires:
        assert self._wires is not None, "not open"
        return self._wires

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
        planned_nodes = self._size + self._spare
        base_port = free_base_port(planned_nodes)
        options = layout.UpOptions(data_dir=self.folder, nodes=planned_nodes, base_port=base_port)
        layout.check(options)
        self.folder.mkdir(parents=True, exist_ok=True)
        planned = layout.plan(options, new_cluster_id=CLUSTER_ID)
        layout.prepare(planned, options)
        vault_handler.install(self.plug_ins)
        Vault(self.vault).make()
        listening = {(node.id, kind): getattr(node, kind.value) for node in planned.nodes for kind in Kind}
        self._wires = Wires(listening)
        await self._wires.open()
        storage = await self._open_database()
        for node in planned.nodes:
            own = {**self._settings, "storage": storage}
            reconfigure(node, self._wires, founders=self._size, vault=self.vault, settings=own)
            self.nodes[node.id] = self._node(node)
        for node_id in list(self.nodes)[: self._size]:
            self.admit(node_id)
            await self.start(node_id, "--bootstrap")
        await self.until_healthy(timeout_s=READY_TIMEOUT_S)

    async def _open_database(self) -> Mapping[str, Any]:
        """What nodes are told of it; nothing without one."""
        if self.database is None:
            return {}
        try:
            await self.database.__aenter__()
        except DatabaseFailed as error:
            raise ClusterFailed(str(error)) from error
        return self.database.settings

    def _node(self, node: layout.LocalNode) -> Node:
        channel = grpc.aio.insecure_channel(node.api, options=CHANNEL_OPTIONS)
        self._channels.append(channel)
        places = cluster_pb2.Member(id=node.id, api=node.api, http=node.http, raft=node.raft, peer=node.peer)
        return Node(
            id=node.id,
            api=node.api,
            data_dir=node.data_dir,
            config=node.config,
            log=node.log,
            disk=Orders(self._orders(node.id, "disk")),
            clocks=Orders(self._orders(node.id, "clocks")),
            places=places,
            stubs=Stubs(channel),
            feature_level=self._feature_level,
        )

    def _orders(self, node_id: str, part: str) -> Path:
        return self.folder / f"{node_id}.{part}"

    def admit(self, node_id: str) -> None:
        """It is a member from now on, whom clients may ask."""
        self.doors[node_id] = self.nodes[node_id].stubs

    def introduce(self, node_id: str) -> None:
        """Have its configuration name the members that there are, and itself, as an operator does for a node that joins."""
        node = self.nodes[node_id]
        content = tomlkit.parse(node.config.read_text(encoding="utf-8")).unwrap()
        known = [self.nodes[each].places for each in {**self.doors, node_id: None}]
        content["cluster"]["members"] = [
            {"id": each.id, "api": each.api, "http": each.http, "raft": each.raft, "peer": each.peer} for each in known
        ]
        node.config.write_text(tomlkit.dumps(content), encoding="utf-8")

    def dismiss(self, node_id: str) -> None:
        """It is none any more."""
        del self.doors[node_id]

    async def close(self) -> None:
        """End every process: stopped ones go on first, and who does not end by himself is killed."""
        for node in self.nodes.values():
            node.signal(signal.SIGCONT)
            node.signal(signal.SIGKILL)
        for node in self.nodes.values():
            if node.process is not None:
                await node.process.wait()
        for channel in self._channels:
            await channel.close()
        if self._wires is not None:
            await self._wires.close()
        if self.database is not None:
            await self.database.close()

    # -- processes ----------------------------------------------------------------------------------------------

    async def start(self, node_id: str, *flags: str) -> None:
        """Start a node that has ended, or never ran."""
        node = self.nodes[node_id]
        assert not node.alive, f"{node_id} runs already"
        level = {} if node.feature_level is None else {LEVEL_VARIABLE: str(node.feature_level)}
        with node.log.open("ab") as log:
            node.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *NODE,
                *(str(self._orders(node_id, part)) for part in ("disk", "clocks")),
                str(self.plug_ins),
                "--config",
                str(node.config),
                *flags,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for us.
                start_new_session=True,
                env=node_environment(os.environ) | level,
            )

    async def kill(self, node_ids: Iterable[str]) -> None:
        """End nodes as `kill -9` does, all before any is waited for."""
        nodes = [self.nodes[node_id] for node_id in node_ids]
        for node in nodes:
            node.signal(signal.SIGKILL)
        for node in nodes:
            await node.ended()

    def node_of(self, pid: int) -> str:
        """Whose process it is."""
        return next(node.id for node in self.nodes.values() if node.alive and node.pid == pid)

    # -- what they say ------------------------------------------------------------------------------------------

    async def status(self, node_id: str) -> cluster_pb2.ClusterStatus | None:
        """The cluster as one node sees it; None when it does not answer."""
        try:
            answer = await self.nodes[node_id].stubs.cluster.GetStatus(
                cluster_pb2.GetStatusRequest(), timeout=STATUS_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return None
        return answer.status

    async def leader(self, *, timeout_s: float = READY_TIMEOUT_S) -> str:
        """The node that a healthy majority says leads. Raises `ClusterFailed`."""
        return (await self._until(_knows_leader, "no node knows a leader", timeout_s)).leader_id

    async def until_healthy(self, *, timeout_s: float) -> cluster_pb2.ClusterStatus:
        """Wait until all nodes serve and have what the others have. Raises `ClusterFailed`."""
        return await self._until(self._all_serve, f"it was not healthy within {timeout_s:g} s", timeout_s)

    def _all_serve(self, status: cluster_pb2.ClusterStatus) -> bool:
        whole = status.healthy or (status.warnings and all(each.endswith(UPGRADING) for each in status.warnings))
        return bool(whole) and {each.id for each in status.nodes} == set(self.doors)

    async def _until(self, holds: Any, otherwise: str, timeout_s: float) -> cluster_pb2.ClusterStatus:
        last = cluster_pb2.ClusterStatus()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for node_id, node in self.nodes.items():
                        status = await self.status(node_id) if node.running else None
                        if status is not None:
                            last = status
                            if holds(status):
                                return status
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            said = "; ".join(last.warnings) or "nothing answers"
            raise ClusterFailed(f"{otherwise}: {said}\n{self.tails()}") from error

    def tails(self, lines: int = LAST_WORDS) -> str:
        """The ends of the nodes' logs, for whoever must find out."""
        return "\n".join(f"{node.id}: {line}" for node in self.nodes.values() for line in tail_of(node.log, lines))


def _knows_leader(status: cluster_pb2.ClusterStatus) -> bool:
    leading = [each.id for each in status.nodes if (each.role, each.reachable) == (cluster_pb2.NODE_ROLE_LEADER, True)]
    return leading == [status.leader_id]
