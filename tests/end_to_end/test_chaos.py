"""`garbagetruck chaos` on real processes: two short scenarios pass, show what they did, and leave nothing.

I1 to I8 are judged by its checkers, whose own tests show that each can fail.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

COMMAND = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()", "chaos", "run")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a run keeps what it made; afterwards none of its processes may be left."""
    yield tmp_path
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in each for each in process.info["cmdline"] or []) and process.pid != os.getpid()
    ]
    for process in left:
        process.kill()
    assert not left, f"processes were left: {left}"


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
