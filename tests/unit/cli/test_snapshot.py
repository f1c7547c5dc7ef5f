"""`snapshot ...` on folders as a node leaves them: what is shown, and how each refusal ends."""

import asyncio
import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from garbagetruck.cli.app import app
from garbagetruck.cli.config import EXAMPLE
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.machine_snapshots import pieces
from garbagetruck.cluster.node.recovery import target
from garbagetruck.cluster.node.recovery.target import Beginning
from garbagetruck.storage.directory.storage import DirectoryStorage
from garbagetruck.storage.records import Incarnation
from garbagetruck.storage.records import SnapshotHeader as StoredHeader
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


# -- a storage, without a cluster --------------------------------------------------------------------------------------


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage in a folder, with snapshots of two nodes of `cluster-1`, and one of another cluster."""
    place = tmp_path / "storage"
    for cluster_id, node_id, index in (("cluster-1", "n1", 41), ("cluster-1", "n2", 30), ("other", "n1", 7)):
        asyncio.run(store(place, cluster_id, node_id, index))
    return place


async def store(place: Path, cluster_id: str, node_id: str, index: int, digest: str = "") -> None:
    """Put a snapshot of one lease there; `digest`: what it says of its state, by default the truth."""
    log = Scribe().begin()
    log.lease("a", ttl_ms=60_000)
    with ThreadPoolExecutor(1) as executor:
        storage = DirectoryStorage(place, cluster_id, executor)
        state = state_of(log.machine)
        life = Incarnation(1, "i")
        await storage.incarnations.reserve(life, by="a test")
        header = StoredHeader(
            snapshot_id=f"of-{cluster_id}-{node_id}",
            incarnation=life,
            node_id=node_id,
            index=index,
            term=7,
            clock_ms=state.clock_ms,
            format=1,
            digest=digest or f"{log.machine.digest():016x}",
            taken_at_ms=1_700_000_000_000,
        )
        sink = await storage.snapshots.begin(header)
        for piece in pieces(state, index, 7):
            await sink.write(piece)
        await sink.finish()


def test_the_snapshots_in_a_storage_are_listed_and_verified_without_a_cluster(storage: Path) -> None:
    listed = json.loads(run("list", "--from", storage, "--cluster", "cluster-1", "-o", "json").stdout)
    assert listed["next_page_token"] == ""
    assert [(each["snapshot_id"], each["node_id"], each["index"]) for each in listed["snapshots"]] == [
        ("of-cluster-1-n1", "n1", 41),
        ("of-cluster-1-n2", "n2", 30),
    ]
    assert listed["snapshots"][0]["taken_at"] == "2023-11-14T22:13:20+00:00"
    assert listed["snapshots"][0]["location"] == str(storage)
    told = run("verify", "--from", storage, "--cluster", "cluster-1", "-o", "json").stdout
    for each in json.loads(told)["snapshots"]:
        assert (each["leases"], each["resources"], each["damage"]) == (1, 1, "")
        assert (each["chunks_verified"], each["bytes_verified"]) == (each["chunks"], each["size_bytes"])
    (one,) = json.loads(
        run("verify", "of-cluster-1-n2", "--from", storage, "--cluster", "cluster-1", "-o", "json").stdout
    )["snapshots"]
    assert one["snapshot_id"] == "of-cluster-1-n2"
    assert "CHUNKS" in run("verify", "--from", storage, "--cluster", "cluster-1").stdout
    assert (
        run("list", "--from", storage, "--cluster", "cluster-1", "--limit", "1", "-o", "name").stdout
        == "of-cluster-1-n1\n"
    )


def test_whose_snapshots_are_meant_has_to_be_said_when_there_are_several(storage: Path) -> None:
    assert (
        "the storage has clusters cluster-1, other: name one with --cluster"
        in run("list", "--from", storage, exits=4).stderr
    )
    assert "No snapshots" in run("list", "--from", storage, "--cluster", "third").stderr
    assert "is no id of a cluster" in run("list", "--from", storage, "--cluster", "a b", exits=4).stderr
    shutil.rmtree(storage / "cluster-other")
    assert run("list", "--from", storage, "-o", "name").stdout.splitlines() == ["of-cluster-1-n1", "of-cluster-1-n2"]


def test_a_configuration_says_whose_snapshots_are_meant(storage: Path, config: Path) -> None:
    config.write_text(config.read_text().replace('"cluster-1"', '"other"'))
    assert run("list", "--from", storage, "--config", config, "-o", "name").stdout.splitlines() == ["of-other-n1"]
    assert (
        run("list", "--from", storage, "--config", config, "--cluster", "cluster-1", "-o", "name").stdout.count(
            "of-cluster-1"
        )
        == 2
    )


def test_a_damaged_snapshot_in_a_storage_is_told_with_its_chunk_and_ends_with_1(storage: Path) -> None:
    path = storage / "cluster-cluster-1" / "snapshots" / "of-cluster-1-n1.snap"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    told = run("verify", "--from", storage, "--cluster", "cluster-1", "-o", "json", exits=1).stdout
    damage = {each["snapshot_id"]: each["damage"] for each in json.loads(told)["snapshots"]}
    assert damage["of-cluster-1-n2"] == ""
    assert "is damaged" in damage["of-cluster-1-n1"]


def test_a_snapshot_that_holds_another_state_than_it_says_is_damaged(storage: Path) -> None:
    """Its chunks are what was written; what was written is not what its header tells."""
    asyncio.run(store(storage, "cluster-1", "n3", 50, digest="0" * 16))
    (bad,) = json.loads(
        run("verify", "of-cluster-1-n3", "--from", storage, "--cluster", "cluster-1", "-o", "json", exits=1).stdout
    )["snapshots"]
    assert (bad["chunks_verified"], bad["leases"]) == (1, None)
    assert "the digest of its state is not 0000000000000000, as it says, but" in bad["damage"]
    (foreign,) = json.loads(run("verify", "--from", storage, "--cluster", "other", "-o", "json", exits=1).stdout)[
        "snapshots"
    ]
    assert foreign["damage"] == "its state is that of cluster cluster-1"


def test_what_cannot_be_had_of_a_storage_has_its_exit_code(storage: Path) -> None:
    told = run("verify", "of-cluster-1-n9", "--from", storage, "--cluster", "cluster-1", exits=4).stderr
    assert "the storage has no snapshot of-cluster-1-n9" in told
    away = "postgresql://truck:opensesame@127.0.0.1:1/trucks"
    told = run("list", "--from", away, "--cluster", "cluster-1", exits=3).stderr
    assert "opensesame" not in told


def test_from_takes_a_nodes_data_folder_too(folder: Path) -> None:
    listed = run("list", "--from", folder, "-o", "json").stdout
    assert listed == run("list", "--data-dir", folder, "-o", "json").stdout


# -- restoring ---------------------------------------------------------------------------------------------------------


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
