"""`snapshot ...` on folders as a node leaves them: what is shown, and how each refusal ends."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from garbagetruck.cli.app import app
from garbagetruck.cli.config import EXAMPLE
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.recovery import target
from garbagetruck.cluster.node.recovery.target import Beginning
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import Scribe, file


def run(*arguments: object, exits: int = 0) -> Result:
    result = CliRunner().invoke(app, ["snapshot", *map(str, arguments)])
    assert result.exit_code == exits, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node's folder with one snapshot of two leases and an orphan, and no journal yet."""
    log = Scribe().begin()
    log.lease("a", ttl_ms=60_000)
    log.lease("b", ttl_ms=1_000)
    log.release(log.lease("orphan", cleanup=file("o")).id)
    state = state_of(log.machine)
    identity = NodeIdentity(cluster_id="cluster-1", node_id="n3", disk_id="disk-3", incarnation=1, has_journal=False)
    target.write(tmp_path / "n3", identity, Beginning(state, random.Random(0).randbytes(16).hex(), 41, 7))
    return tmp_path / "n3"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The example, with its first node alone."""
    first, own, *_ = EXAMPLE.split("[[cluster.members]]")
    rest = EXAMPLE[EXAMPLE.index("[node]") :]
    path = tmp_path / "n1.toml"
    text = f"{first}[[cluster.members]]{own}{rest}"
    path.write_text(
        text.replace('id = "example"', 'id = "cluster-1"').replace('"n1"\n\n#', f'"{tmp_path / "new"}"\n\n#')
    )
    return path


def test_snapshots_are_listed_and_verified(folder: Path) -> None:
    (listed,) = json.loads(run("list", "--data-dir", folder, "-o", "json").stdout)["snapshots"]
    assert (listed["index"], listed["term"], listed["incarnation"], listed["cluster_id"]) == (41, 7, 1, "cluster-1")
    assert (listed["leases"], listed["damage"], listed["offset"]) == (None, "", None), "only the header was read"
    (verified,) = json.loads(run("verify", "--data-dir", folder, "-o", "json").stdout)["snapshots"]
    assert (verified["leases"], verified["resources"], verified["clock_ms"], verified["damage"]) == (2, 3, 1_000, "")
    assert run("verify", "--data-dir", verified["file"], "-o", "name").stdout.strip() == verified["file"]
    assert "INDEX" in run("list", "--data-dir", folder).stdout


def test_a_damaged_snapshot_is_shown_with_its_place_and_ends_with_1(folder: Path) -> None:
    (path,) = (folder / "raft" / "snapshots").glob("*.snap")
    content = bytearray(path.read_bytes())
    content[4_200] ^= 1
    path.write_bytes(content)
    (verified,) = json.loads(run("verify", "--data-dir", folder, "-o", "json", exits=1).stdout)["snapshots"]
    assert (verified["damage"], verified["offset"]) == ("a chunk is not what was written", 4_096)
    assert run("list", "--data-dir", folder).exit_code == 0
    path.write_bytes(b"nothing")
    (listed,) = json.loads(run("list", "--data-dir", folder, "-o", "json").stdout)["snapshots"]
    assert (listed["index"], listed["damage"]) == (None, "it ends after 7 bytes")


def test_what_is_no_data_folder_ends_with_4(tmp_path: Path) -> None:
    for verb in ("list", "verify"):
        told = run(verb, "--data-dir", tmp_path, exits=4).stderr
        assert "is neither a snapshot nor a node's data folder with raft/snapshots" in told


def test_a_restore_reports_what_it_did_and_what_comes_next(folder: Path, config: Path, tmp_path: Path) -> None:
    told = json.loads(run("restore", "--from", folder, "--config", config, "--yes", "-o", "json").stdout)
    assert (told["cluster_id"], told["incarnation"], told["node_id"]) == ("cluster-1", 2, "n1")
    assert told["data_dir"] == str(tmp_path / "new")
    assert (told["source"]["node_id"], told["source"]["last_index"], told["source"]["term"]) == ("n3", 41, 7)
    assert (told["leases"], told["resources"], told["due"], told["wait_ms"]) == (2, 3, 1, 60_000)
    assert "after entry 41, and n3 never got, is missing" in told["may_be_missing"]
    assert [step.split()[1] for step in told["next"]] == ["serve", "status;", "cleanup", "member"]
    (snapshot,) = json.loads(run("verify", "--data-dir", tmp_path / "new", "-o", "json").stdout)["snapshots"]
    assert (snapshot["index"], snapshot["incarnation"], snapshot["leases"]) == (42, 2, 2)


def test_a_person_is_told_in_a_table_and_sentences(folder: Path, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    result = run("restore", "--from", folder, "--config", config, "--data-dir", other, "--incarnation", 9, "--yes")
    assert [line.split()[-1] for line in result.stdout.splitlines() if line.startswith("incarnation")] == ["9"]
    assert "1. garbagetruck serve --config" in result.stderr
    assert "3. garbagetruck cleanup resume --all-namespaces" in result.stderr
    assert not (tmp_path / "new").exists()


def test_nobody_restores_without_being_asked(folder: Path, config: Path, tmp_path: Path) -> None:
    assert "shut out for ever" in run("restore", "--from", folder, "--config", config, exits=2).stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "exits", "told"),
    [
        ({"--from": "absent"}, 4, "is no folder"),
        ({"--incarnation": "1"}, 5, "incarnation 1 is not above 1"),
        ({"--data-dir": "."}, 5, "is not empty"),
        ({"damage": "yes"}, 1, "damaged: a chunk is not what was written"),
        ({"cluster": "another"}, 5, "belongs to cluster cluster-1, and cluster.id is another"),
    ],
)
def test_each_refusal_has_its_exit_code(
    folder: Path, config: Path, tmp_path: Path, change: dict[str, str], exits: int, told: str
) -> None:
    if "damage" in change:
        (path,) = (folder / "raft" / "snapshots").glob("*.snap")
        content = bytearray(path.read_bytes())
        content[4_200] ^= 1
        path.write_bytes(content)
    config.write_text(config.read_text().replace('"cluster-1"', f'"{change.get("cluster", "cluster-1")}"'))
    flags: dict[str, object] = {"--from": folder, "--config": config}
    flags |= {
        flag: value if flag == "--incarnation" else tmp_path / value
        for flag, value in change.items()
        if flag.startswith("--")
    }
    arguments = [each for pair in flags.items() for each in pair]
    assert told in run("restore", *arguments, "--yes", exits=exits).stderr
    assert not (tmp_path / "new").exists()
