"""The real log on virtual time: one seed, one history, whatever the machine's own clocks and hashes say."""

import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pysyncobj.syncobj
import pytest
import structlog
from pysyncobj.node import Node

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


@pytest.fixture(scope="module")
def first() -> tuple[str, ...]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return simulate_raft(SEED).history


def test_a_seed_repeats_in_processes_that_hash_differently(first: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    environment = {**os.environ, "PYTHONHASHSEED": "2"}
    subprocess.run([*COMMAND, "--history", str(path)], check=True, capture_output=True, env=environment)
    assert path.read_text().splitlines() == list(first)
    assert len(first) > 10


def test_jumps_of_the_machines_own_clocks_do_not_matter(
    first: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random, Node.__hash__
    chance = random.Random(SEED)
    for clock in ("time", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: chance.uniform(0, 4e9))
    for clock in ("time_ns", "monotonic_ns"):
        monkeypatch.setattr(time, clock, lambda: chance.randrange(1 << 62))
    assert simulate_raft(SEED).history == first
    after = pysyncobj.syncobj.monotonicTime, pysyncobj.syncobj.random, Node.__hash__
    assert after == before, "pysyncobj has its own back"
