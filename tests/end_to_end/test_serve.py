"""How one node's process ends when it cannot serve: one clear last line, an exit code, and no stack trace."""

import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.cluster_fixtures.ports import free_base_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of the only member of a new cluster."""
    options = UpOptions(data_dir=tmp_path, nodes=1, base_port=free_base_port(1))
    prepare(plan(options, new_cluster_id="tests"), options)
    return tmp_path / "n1.toml"


def serve(config: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a node that ends by itself."""
    ended = subprocess.run(
        [sys.executable, "-m", "garbagetruck.cluster.node", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


def bootstrap_and_stop(config: Path) -> None:
    command = [sys.executable, "-m", "garbagetruck.cluster.node", "--config", str(config), "--bootstrap"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        for line in node.stderr:
            if json.loads(line)["event"] == "ready":
                break
        node.terminate()
        node.stderr.read()
        assert node.wait(30) == 0


def test_an_empty_folder_is_refused_without_bootstrap(config: Path) -> None:
    code, told = serve(config)
    assert code == 1
    assert "start each of its members once with --bootstrap" in told


def test_bootstrap_of_a_folder_that_has_served_is_refused(config: Path) -> None:
    bootstrap_and_stop(config)
    code, told = serve(config, "--bootstrap")
    assert code == 1
    assert "start it without --bootstrap" in told


def test_a_wrong_configuration_is_told_whole(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('[raft]\nheartbeet = "1s"\n')
    code, told = serve(config)
    assert code == 1
    assert "raft.heartbeet: is not a setting" in told
    assert "did you mean raft.heartbeat?" in told
    assert "cluster.id: must be given" in told


@pytest.mark.parametrize("part", ["api", "http", "raft", "peer"])
def test_an_address_that_is_taken_is_named(config: Path, part: str) -> None:
    (member,) = tomllib.loads(config.read_text())["cluster"]["members"]
    host, _, port = member[part].rpartition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        code, told = serve(config, "--bootstrap")
    assert code == 1
    assert port in json.loads(told.splitlines()[-1])["reason"]


def test_a_damaged_journal_is_refused_by_name(config: Path) -> None:
    bootstrap_and_stop(config)
    folder = config.parent / "n1" / "raft"
    damaged = max(folder.rglob("*.seg"))
    damaged.write_bytes(b"\x00garbage" * 40)
    code, told = serve(config)
    assert code == 65
    assert str(damaged) in told


def test_a_handlers_wrong_option_is_told_with_its_key(config: Path) -> None:
    config.write_text(config.read_text() + '\n[handlers.other]\nkind = "file"\nroot = "/srv"\n')
    code, told = serve(config, "--bootstrap")
    assert code == 1
    assert "handlers.other" in told


def test_what_a_node_cannot_survive_ends_it_with_70_and_one_last_line() -> None:
    program = (
        "from garbagetruck.cluster.node.lifecycle import die; from garbagetruck.cluster.node.logs import configure_logs\n"
        "configure_logs(level='info', log_format='json', node_id='n1')\n"
        "die(RuntimeError('the journal is gone'))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 70
    (line,) = ended.stderr.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["reason"]) == ("node_died", "the journal is gone")
