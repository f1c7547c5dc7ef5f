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


def test_there_must_be_somebody_to_join(config: Path) -> None:
    code, told = serve(config, "--join")
    assert code == 1
    assert "cluster.members names nobody but this node" in told
    assert not (config.parent / "n1").exists(), "nothing was made"


def test_a_damaged_address_book_is_refused_by_name(config: Path) -> None:
    bootstrap_and_stop(config)
    book = config.parent / "n1" / "members.json"
    book.write_text(book.read_text().replace('"n1"', '"n2"'))
    code, told = serve(config)
    assert code == 1
    assert f"{book} is damaged" in told


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


ENDINGS = {
    "RuntimeError('the journal is gone')": (70, "node_died", "the journal is gone"),
    "EntryNotApplied(7, b'x', AssertionError('no'))": (70, "node_died", 'node.skip_entries = ["7:8cdc1683"]'),
    "EntryTooNew(7, FormatTooNew('batch', 9, 2))": (65, "too_new", "start the version that wrote it, or a newer one"),
    "SnapshotTooNew(Path('7.snap'), 'of format 9')": (65, "storage_refused", "7.snap is too new: of format 9."),
    "StateDiverged(node_id='n3', index=7, own=1, right=2, agreeing=('n1', 'n2'))": (
        70,
        "state_diverged",
        "bring the node back with an empty one while the others are up",
    ),
}


@pytest.mark.parametrize("error", ENDINGS)
def test_what_a_node_cannot_survive_ends_it_with_a_code_and_one_last_line(error: str) -> None:
    program = (
        "from pathlib import Path\n"
        "from garbagetruck.cluster.machine.codec import FormatTooNew\n"
        "from garbagetruck.cluster.node.endings import EntryNotApplied, EntryTooNew, StateDiverged\n"
        "from garbagetruck.cluster.node.lifecycle import die\n"
        "from garbagetruck.cluster.node.logs import configure_logs\n"
        "from garbagetruck.cluster.raft.errors import SnapshotTooNew\n"
        "configure_logs(level='critical', log_format='json', node_id='n1')\n"
        f"die({error})"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    code, event, told = ENDINGS[error]
    assert ended.returncode == code
    (line,) = ended.stderr.splitlines()
    assert json.loads(line)["event"] == event
    assert told in json.loads(line)["reason"]
