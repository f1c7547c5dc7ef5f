"""The example of a handler of one's own, installed as a distribution: found by its entry point, and cleaning.

Installed beside the checkout, into a folder that only this test's processes look into: so nothing else finds it.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.client import ResourceState
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.architecture.checkout import ROOT
from tests.cluster_fixtures.command_line import GARBAGETRUCK
from tests.cluster_fixtures.ports import free_base_port

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process for which the distribution is installed."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    command += [
        "--disable-pip-version-check",
        "--no-index",
        "--target",
        str(folder),
        str(ROOT / "docs" / "examples" / "handlers"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert (folder / "sqlite_rows" / "__init__.py").exists()
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE uploads (id TEXT PRIMARY KEY, fencing_token INTEGER NOT NULL)")
    return path


@pytest.fixture
def handlers(tmp_path: Path, database: Path) -> Path:
    """The tables that the example's README shows."""
    path = tmp_path / "handlers.toml"
    path.write_text(
        f'[handlers.uploads-index]\nkind = "sqlite-rows"\ndatabase = "{database}"\ntable = "uploads"\n'
        'key_column = "id"\ntoken_column = "fencing_token"\n'
    )
    return path


@contextmanager
def node(config: Path, environment: dict[str, str]) -> Iterator[None]:
    """One node's process, from `ready` on."""
    command = [sys.executable, "-m", "garbagetruck.cluster.node", "--config", str(config), "--bootstrap"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        try:
            for line in process.stderr:
                told.append(line)
                if json.loads(line)["event"] == "ready":
                    break
            assert process.poll() is None, told
            yield
        finally:
            process.terminate()
            process.stderr.read()
            assert process.wait(PATIENCE_S) == 0


def check(config: Path, environment: dict[str, str]) -> tuple[int, str]:
    command = [*GARBAGETRUCK, "config", "check", "--config", str(config)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr


def rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT id, fencing_token FROM uploads"))


def write(database: Path, key: str, token: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO uploads VALUES (?, ?)", (key, token))


async def test_an_installed_handler_is_found_by_its_entry_point_and_cleans(
    tmp_path: Path, environment: dict[str, str], handlers: Path, database: Path
) -> None:
    options = UpOptions(data_dir=tmp_path / "cluster", nodes=1, base_port=free_base_port(1), handlers=handlers)
    options.data_dir.mkdir()
    cluster = plan(options, new_cluster_id="tests")
    prepare(cluster, options)
    (config,) = (each.config for each in cluster.nodes)
    code, told = check(config, dict(os.environ))
    assert (code, "handlers.uploads-index.kind: 'sqlite-rows' is not known" in told) == (1, True), told
    assert check(config, environment) == (0, f"{config}: nothing is wrong\n")
    with node(config, environment):
        async with garbagetruck.connect(cluster.nodes[0].api, timeout=PATIENCE_S) as truck:
            for key in ("42", "43"):
                cleanup = garbagetruck.Cleanup("uploads-index", id=key)
                lease = await truck.acquire(f"uploads/{key}", holder="tests", ttl=PATIENCE_S, cleanup=cleanup)
                write(database, key, lease.fencing_token)
                if key == "42":
                    await truck.release(lease.id)
            async with asyncio.timeout(PATIENCE_S):
                while (await truck.resources.get("uploads/42")).state is not ResourceState.CLEANED:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
    assert rows(database).keys() == {"43"}, "what is leased stays"
