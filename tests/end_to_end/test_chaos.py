"""`garbagetruck chaos` on real processes: short scenarios pass, show what they did, and leave nothing.

I1 to I8 are judged by its checkers, whose own tests show that each can fail.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from garbagetruck.chaos.faults.network import Cut
from garbagetruck.chaos.run import run_scenario
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.simulator.result import Verdict
from garbagetruck.chaos.stage import Plan, Stage

SABOTAGED = 20
"""Files, of which some are leased: most are at most times."""
COMMAND = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()", "chaos", "run")


def processes_of(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in each for each in process.info["cmdline"] or []) and process.pid != os.getpid()
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a run keeps what it made; afterwards none of its processes may be left."""
    yield tmp_path
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left, f"processes were left: {left}"


@scenario("sabotage")
async def sabotage(stage: Stage) -> None:
    """Somebody deletes what is leased, behind the cluster's back: what there is, and what comes, until it is enough."""
    async with stage.under(Cut()):
        deleted = 0
        while deleted < SABOTAGED:
            for path in stage.cluster.files.glob("shared-*"):
                path.unlink(missing_ok=True)
                deleted += 1
            await asyncio.sleep(0.05)
    await stage.load(1.0)


def play(folder: Path, *arguments: str) -> dict[str, Any]:
    ran = subprocess.run(
        [*COMMAND, *arguments, "--keep", str(folder), "-o", "json"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    (report,) = json.loads(ran.stdout)
    print(json.dumps({**report, "timeline": []}), *report["timeline"], sep="\n")
    return dict(report)


async def test_i1_what_is_deleted_while_it_is_leased_is_seen(folder: Path, seed: int) -> None:
    plan = Plan(seed=seed, duration_s=1.0, outage_s=1.0, times=1, nodes=3, clients=8, size=0)
    report = await run_scenario(sabotage, plan, folder=folder, repeat="again", say=print)
    print(*report.lines(), sep="\n")
    assert report.verdict is Verdict.VIOLATED
    assert any(violation.startswith("I1: shared-") for violation in report.violations)
    assert (folder / "cluster/n1.log").exists(), "of a run that did not pass everything stays"


def test_nothing_is_left_of_a_run_that_was_killed_while_a_node_was_stopped(folder: Path) -> None:
    command = [*COMMAND, "stop-follower", "--outage", "10m", "--keep", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            assert any("is stopped" in line for line in running.stderr), "it ended before"
        finally:
            running.kill()
    _, alive = psutil.wait_procs(processes_of(folder), timeout=30)
    assert alive == []


def test_i1_i2_i3_i4_i5_i6_hold_when_all_nodes_are_killed_at_once_twice(folder: Path, seed: int) -> None:
    report = play(folder, "kill-all", "--times", "2", "--seed", str(seed))
    assert report["verdict"] == "passed"
    assert report["faults"] == 2
    assert report["acquired"] > 10
    assert report["deleted"] > 0
    assert report["indexes_compared"] > 0
    history = (folder / "kill-all-1/history.jsonl").read_text(encoding="utf-8")
    kinds = {json.loads(line)["kind"] for line in history.splitlines()}
    assert kinds >= {"attempt", "written", "gone", "left", "sight", "burden", "disturbance", "finding"}


def test_a_node_that_was_cut_off_deposes_nobody_when_it_comes_back(folder: Path, seed: int) -> None:
    report = play(folder, "cut-node", "--outage", "3s", "--seed", str(seed))
    assert report["verdict"] == "passed"
    assert sum("holds: " in line for line in report["timeline"]) >= 3
    assert not (folder / "cut-node-1/cluster").exists(), "of a run that passed the nodes' disks are removed"


def test_i5_a_stale_handler_deletes_nothing_of_what_was_made_anew(folder: Path, seed: int) -> None:
    report = play(folder, "stale-handler", "--times", "1", "--seed", str(seed))
    assert report["verdict"] == "passed"
    assert any(
        "I5: the stale handler's deletions of vault-1 were refused: fenced under" in line for line in report["timeline"]
    )


def test_i9_a_postgresql_that_is_killed_with_the_leader_is_caught_up_with(folder: Path, seed: int) -> None:
    """The one of its kind that compares no latencies, which a machine that runs other tests beside it cannot be held to."""
    report = play(folder, "postgres-killed-with-leader", "--outage", "3s", "--seed", str(seed))
    assert report["verdict"] == "passed"
    assert re.search("holds: .*without a gap", "\n".join(report["timeline"]))


def test_i2_a_disk_that_fails_ends_its_node_and_loses_nothing(folder: Path, seed: int) -> None:
    report = play(folder, "fsync-fails", "--seed", str(seed))
    assert report["verdict"] == "passed"
    assert report["faults"] == 2
    assert sum("holds: it ended with 74, and said why" in line for line in report["timeline"]) == 2
