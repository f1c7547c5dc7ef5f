"""The same cluster's next life, on another node: what an operator makes who takes the old one for dead.

Duty: run `snapshot restore` from the database, and the node that founds the new life, as the runbook says. Invariants: it has
addresses and a folder of its own, and the same roots of files: what is outside is there once. It is gone afterwards.

Must not know: whether the old one lives. Threads: the loop on which it was entered.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import grpc.aio
import tomlkit

from garbagetruck.chaos.processes.cluster import NODE, POLL_S, READY_TIMEOUT_S, STATUS_TIMEOUT_S, Cluster, ClusterFailed
from garbagetruck.cli.bench.throwaway import free_base_port
from garbagetruck.client.endpoints import CHANNEL_OPTIONS, Stubs
from garbagetruck.cluster.node.local.layout import HTTP_PORT_OFFSET, PEER_PORT_OFFSET, RAFT_PORT_OFFSET
from garbagetruck.cluster.node.local.supervisor import node_environment
from garbagetruck.v1 import cluster_pb2

ID = "r1"
GARBAGETRUCK = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()")
OFFSETS = {"api": 0, "http": HTTP_PORT_OFFSET, "raft": RAFT_PORT_OFFSET, "peer": PEER_PORT_OFFSET}
RESTORE_TIMEOUT_S = 60.0


class Elsewhere:
    """`async with`: it serves inside, with its cleanups paused, and is gone afterwards."""

    def __init__(self, old: Cluster) -> None:
        self.report: dict[str, Any] = {}
        """What the restore said."""
        self._old = old
        self._folder = old.folder / "elsewhere"
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def stubs(self) -> Stubs:
        assert self._channel is not None, "not open"
        return Stubs(self._channel)

    @property
    def log(self) -> Path:
        return self._folder / f"{ID}.log"

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
        self._folder.mkdir()
        base_port = free_base_port(1)
        places = {part: f"127.0.0.1:{base_port + offset + 1}" for part, offset in OFFSETS.items()}
        config = self._configure(places)
        await self._restore(config)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *NODE,
                str(self._folder / f"{ID}.disk"),
                str(self._old.plug_ins),
                "--config",
                str(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=node_environment(os.environ),
            )
        self._channel = grpc.aio.insecure_channel(places["api"], options=CHANNEL_OPTIONS)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._leads():  # noqa: ASYNC110  # another process, which has no event for us
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise ClusterFailed(f"the restored cluster does not serve; see {self.log}") from error

    def _configure(self, places: dict[str, str]) -> Path:
        """As the operator writes it: what a node of the old cluster had, and the new places."""
        (any_node, *_) = self._old.nodes.values()
        assert self._old.database is not None, "there is nothing to restore from"
        content = tomlkit.parse(any_node.config.read_text(encoding="utf-8")).unwrap()
        content["cluster"]["members"] = [{"id": ID, **places}]
        content["node"] = {"id": ID, "data_dir": str(self._folder / ID)}
        content["storage"]["dsn"] = self._old.database.dsn
        config = self._folder / f"{ID}.toml"
        config.write_text(tomlkit.dumps(content), encoding="utf-8")
        return config

    async def _restore(self, config: Path) -> None:
        """Raises ClusterFailed, with what the command said."""
        assert self._old.database is not None
        arguments = ["snapshot", "restore", "--from", self._old.database.dsn, "--config", str(config)]
        restoring = await asyncio.create_subprocess_exec(
            *GARBAGETRUCK,
            *arguments,
            "--old-cluster-is-dead",
            "--yes",
            "-o",
            "json",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("GARBAGETRUCK_")},
        )
        try:
            async with asyncio.timeout(RESTORE_TIMEOUT_S):
                told, failure = await restoring.communicate()
        finally:
            if restoring.returncode is None:
                restoring.kill()
                await restoring.wait()
        if restoring.returncode:
            raise ClusterFailed(f"the restore ended with {restoring.returncode}: {failure.decode(errors='replace')}")
        self.report = json.loads(told)

    async def status(self) -> cluster_pb2.ClusterStatus | None:
        """None when it does not answer."""
        try:
            answer = await self.stubs.cluster.GetStatus(cluster_pb2.GetStatusRequest(), timeout=STATUS_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return None
        return answer.status

    async def _leads(self) -> bool:
        status = await self.status()
        return status is not None and status.leader_id == ID

    async def close(self) -> None:
        """Idempotent."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        if self._channel is not None:
            await self._channel.close()
