"""The example services under docs/, as their README starts and registers them, called by a node."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.client import ResourceState
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.architecture.checkout import ROOT
from tests.cluster_fixtures.ports import free_base_port
from tests.end_to_end.test_installed_handler import PATIENCE_S, check, node

SERVICES = ROOT / "docs" / "examples" / "services"
PORTS = {"http_service": 8080, "grpc_service": 8081}
"""In the README."""


@contextmanager
def service(name: str, database: Path, port: int, environment: dict[str, str]) -> Iterator[None]:
    """The example's process, from when it listens on."""
    command = [sys.executable, "-u", str(SERVICES / f"{name}.py"), str(database), "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if str(port) in line:
                    break
            assert process.poll() is None
            yield
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(PATIENCE_S)


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "SIGNING_SECRET": "0123456789abcdef0123456789abcdef"}


async def test_the_examples_delete_rows_when_their_leases_end(tmp_path: Path, environment: dict[str, str]) -> None:
    services_base, base = free_base_port(2), free_base_port(1)
    ports = {name: services_base + 1 + offset for offset, name in enumerate(PORTS)}
    (shown,) = re.findall(r"```toml\n(.*?)```", (SERVICES / "README.md").read_text("utf-8"), re.DOTALL)
    for name, port in PORTS.items():
        shown = shown.replace(str(port), str(ports[name]))
    handlers = tmp_path / "handlers.toml"
    handlers.write_text(shown)
    database = tmp_path / "rows.db"
    options = UpOptions(data_dir=tmp_path / "cluster", nodes=1, base_port=base, handlers=handlers)
    options.data_dir.mkdir()
    cluster = plan(options, new_cluster_id="tests")
    prepare(cluster, options)
    (config,) = (each.config for each in cluster.nodes)

    code, told = await asyncio.to_thread(check, config, environment)
    assert code == 1, told
    for name in ("rows", "rows-by-grpc"):
        assert re.search(rf"handlers\.{name}: \S+ cannot be reached", told), told
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(service(name, database, port, environment))
        checked = await asyncio.to_thread(check, config, environment)
        assert checked == (0, f"{config}: nothing is wrong\n")
        stack.enter_context(node(config, environment))
        async with garbagetruck.connect(cluster.nodes[0].api, timeout=PATIENCE_S) as truck:
            for handler in ("rows", "rows-by-grpc"):
                for key in ("ends", "stays"):
                    path = f"{handler}/{key}"
                    cleanup = garbagetruck.Cleanup(handler, path=path)
                    lease = await truck.acquire(path, holder="tests", ttl=PATIENCE_S, cleanup=cleanup)
                    with closing(sqlite3.connect(database)) as connection, connection:
                        connection.execute("INSERT INTO rows VALUES (?, ?)", (path, lease.fencing_token))
                    if key == "ends":
                        await truck.release(lease.id)
            for handler in ("rows", "rows-by-grpc"):
                async with asyncio.timeout(PATIENCE_S):
                    while (await truck.resources.get(f"{handler}/ends")).state is not ResourceState.CLEANED:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
    with closing(sqlite3.connect(database)) as connection:
        left = {path for (path,) in connection.execute("SELECT path FROM rows")}
    assert left == {"rows/stays", "rows-by-grpc/stays"}, "what is leased stays"
