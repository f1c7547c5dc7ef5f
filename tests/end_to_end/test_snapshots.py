"""Snapshots outside the nodes, asked for through the command line of a real cluster, and left behind by a node that leaves."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import garbagetruck
from tests.cluster_fixtures.local import LocalCluster

PATIENCE_S = 60.0


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes with a storage in a folder."""
    folder = tmp_path / "cluster"
    local = LocalCluster(folder, storage=folder / "storage")
    try:
        local.start()
        yield local
    finally:
        local.stop()


def run(*arguments: str, exits: int = 0) -> Any:
    """What `garbagetruck snapshot ... -o json` prints."""
    command = [sys.executable, "-c", "from garbagetruck.cli.main import main; main()", "snapshot", *arguments]
    ran = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == exits, ran.stderr
    return json.loads(ran.stdout) if ran.stdout else ran.stderr


@pytest.mark.slow
async def test_a_snapshot_is_taken_of_a_named_node_and_found_whole_with_the_cluster_and_without(
    stored: LocalCluster,
) -> None:
    async with garbagetruck.connect(stored.endpoints, timeout=PATIENCE_S) as truck:
        for number in range(20):
            await truck.acquire(f"r/{number}", holder="tests", ttl=600.0)

    def ask() -> None:
        at = ["--endpoints", stored.nodes["n1"].api, "--timeout", "30s"]
        taken = run("create", "--node", "n3", "--request-id", "mine", *at)
        assert taken["node_id"] == "n3"
        assert run("create", "--node", "n3", "--request-id", "mine", *at) == taken, "I6: it is one snapshot"
        assert run("create", "--node", "n9", *at, exits=4).count("no member 'n9'") == 1
        (listed,) = [each for each in run("list", *at)["snapshots"] if each["snapshot_id"] == taken["snapshot_id"]]
        assert listed == taken
        (checked,) = run("verify", taken["snapshot_id"], *at)["snapshots"]
        assert (checked["damage"], checked["bytes_verified"], checked["leases"]) == ("", taken["size_bytes"], None)
        (read,) = run("verify", taken["snapshot_id"], "--from", str(stored.folder / "storage"))["snapshots"]
        assert (read["damage"], read["leases"], read["resources"]) == ("", 20, 20)
        damage(stored.folder / "storage", taken["snapshot_id"])
        for place in (at, ["--from", str(stored.folder / "storage")]):
            (broken,) = run("verify", taken["snapshot_id"], *place, exits=1)["snapshots"]
            assert "is damaged" in broken["damage"]
        assert "SNAPSHOT_NOT_FOUND" in run("verify", "nonsense", *at, exits=4)

    await asyncio.to_thread(ask)


def damage(storage: Path, snapshot_id: str) -> None:
    (path,) = storage.glob(f"cluster-*/snapshots/{snapshot_id}.snap")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
async def test_i10_a_leader_that_leaves_hands_over_first_and_leaves_its_copy_then(stored: LocalCluster) -> None:
    leaving = stored.nodes[await stored.leader()]
    await asyncio.to_thread(run, "create", "--endpoints", leaving.api, "--timeout", "30s")
    async with garbagetruck.connect(stored.endpoints, timeout=PATIENCE_S) as truck:
        await truck.acquire("the last", holder="tests", ttl=600.0)
    stored.signal(leaving.id, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        while psutil.pid_exists(leaving.pid):  # noqa: ASYNC110  # processes ring no bell
            await asyncio.sleep(0.05)
    events = [line["event"] for line in stored.log_of(leaving.id)]
    drained = events[events.index("draining") :]
    assert drained.index("leadership_handed_over") < drained.index("snapshot_copied")
    assert "not_archived_at_the_end" not in drained
    newest = (await asyncio.to_thread(run, "list", "--from", str(stored.folder / "storage")))["snapshots"][0]
    assert newest["node_id"] == leaving.id
    assert newest["taken_at"]
