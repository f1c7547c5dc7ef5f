"""The supervisor against processes that only pretend to be nodes: started, announced, watched, stopped."""

import asyncio
import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from garbagetruck.cluster.node.local.layout import LocalCluster, LocalNode, UpOptions, plan, prepare
from garbagetruck.cluster.node.local.supervisor import Supervisor, up
from tests.cluster_fixtures.ports import free_base_port

PRETENDER = """
import http.server, signal, sys, tomllib
settings = tomllib.load(open(sys.argv[1], "rb"))
own = next(each for each in settings["cluster"]["members"] if each["id"] == settings["node"]["id"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *arguments): pass
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if sys.argv[2] == "broken":
    print("the disk is on fire"); sys.exit(3)
host, _, port = own["http"].rpartition(":")
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


class Running:
    """A supervisor at work, and what it said."""

    def __init__(self, cluster: LocalCluster, folder: Path, *, manner: str, restart: bool) -> None:
        self.cluster = cluster
        self.out, self.err = io.StringIO(), io.StringIO()
        program = folder / "pretender.py"
        program.write_text(PRETENDER)

        def command(node: LocalNode) -> Sequence[str]:
            return (sys.executable, str(program), str(node.config), manner)

        supervisor = Supervisor(cluster, restart=restart, out=self.out, err=self.err, command=command)
        self.task = asyncio.get_running_loop().create_task(supervisor.run())

    async def until(self, text: str) -> None:
        """Wait until this was told."""
        await self.until_true(lambda: text in self.out.getvalue() + self.err.getvalue())

    async def until_true(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                assert not self.task.done(), self.err.getvalue()
                await asyncio.sleep(0.02)

    def pids(self) -> dict[str, int]:
        content = json.loads((self.cluster.folder / "cluster.json").read_text())
        return {node["id"]: node["pid"] for node in content["nodes"]}


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@asynccontextmanager
async def running(folder: Path, *, manner: str = "good", restart: bool = False) -> AsyncIterator[Running]:
    options = UpOptions(data_dir=folder, nodes=2, base_port=free_base_port(2))
    cluster = plan(options, new_cluster_id="c-1")
    prepare(cluster, options)
    run = Running(cluster, folder, manner=manner, restart=restart)
    try:
        yield run
    finally:
        if not run.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await run.task


async def test_ready_is_said_when_every_node_serves_and_a_signal_stops_them(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.until("ready")
        assert run.out.getvalue().startswith("ready 2 nodes of cluster c-1; endpoints 127.0.0.1:")
        pids = run.pids()
        assert all(is_alive(pid) for pid in pids.values())
        os.kill(os.getpid(), signal.SIGINT)
        assert await run.task == 0
        assert not any(is_alive(pid) for pid in pids.values())


async def test_a_node_that_was_killed_stays_down_and_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.until("ready")
        pids = run.pids()
        os.kill(pids["n1"], signal.SIGKILL)
        await run.until("was killed by SIGKILL; start it again with: garbagetruck serve --config")
        assert run.pids() == pids
        assert is_alive(pids["n2"])


async def test_with_restart_a_killed_node_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, restart=True) as run:
        await run.until("ready")
        before = run.pids()
        os.kill(before["n1"], signal.SIGKILL)
        await run.until("starting it again")
        await run.until_true(lambda: run.pids()["n1"] != before["n1"])
        assert is_alive(run.pids()["n1"])


async def test_a_node_that_does_not_come_up_fails_the_whole_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with running(tmp_path, manner="broken") as run:
        assert await run.task == 1
        assert "ended with exit code 3" in run.err.getvalue()
        assert "the disk is on fire" in run.err.getvalue()
        assert run.out.getvalue() == ""
        assert not (tmp_path / "cluster.json").exists()


async def test_a_second_signal_kills_what_does_not_end(tmp_path: Path) -> None:
    async with running(tmp_path, manner="deaf") as run:
        await run.until("ready")
        pids = run.pids()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await run.task == 0
        assert not any(is_alive(pid) for pid in pids.values())


def test_up_says_which_port_is_taken_and_starts_nothing(tmp_path: Path) -> None:
    base = free_base_port(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 102))
        taken.listen()
        out, err = io.StringIO(), io.StringIO()
        options = UpOptions(data_dir=tmp_path, nodes=2, base_port=base)
        assert up(options, new_cluster_id="c-1", out=out, err=err) == 1
    assert f"127.0.0.1:{base + 102} (n2's http)" in err.getvalue()
    assert not (tmp_path / "cluster.toml").exists()


def test_up_refuses_a_storage_it_does_not_have(tmp_path: Path) -> None:
    err = io.StringIO()
    assert up(UpOptions(data_dir=tmp_path, storage="tape"), new_cluster_id="c-1", err=err) == 2
    assert "directory, memory, postgres" in err.getvalue()
