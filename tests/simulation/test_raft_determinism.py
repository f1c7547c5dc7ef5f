"""The real log on virtual time: one seed, one history, whatever the machine's own clocks and hashes say."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pysyncobj.syncobj
import pytest

from garbagetruck.chaos.simulator.raft.simulation import simulate_raft

SEED = 3
COMMAND = (
    sys.executable,
    "-m",
    "garbagetruck.chaos.simulator",
    "--world",
    "raft",
    "--seeds",
    "1",
    "--start",
    str(SEED),
)


def test_a_seed_repeats_in_processes_that_hash_differently(tmp_path: Path) -> None:
    first = simulate_raft(SEED).history
    simulate_raft(SEED + 1)  # what happened before must not matter
    path = tmp_path / "history.txt"
    environment = {**os.environ, "PYTHONHASHSEED": "2"}
    subprocess.run([*COMMAND, "--history", str(path)], check=True, capture_output=True, env=environment)
    assert path.read_text().splitlines() == list(first)
    assert len(first) > 10


def test_jumps_of_the_machines_own_clocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    first = simulate_raft(SEED).fingerprint
    chance = random.Random(SEED)
    for clock in ("time", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: chance.uniform(0, 4e9))
    for clock in ("time_ns", "monotonic_ns"):
        monkeypatch.setattr(time, clock, lambda: chance.randrange(1 << 62))
    assert simulate_raft(SEED).fingerprint == first


def test_pysyncobj_gets_its_own_clock_and_chance_back() -> None:
    before = pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random
    simulate_raft(SEED)
    assert (pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random) == before
