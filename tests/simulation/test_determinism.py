"""The same seed gives the same history, byte for byte."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from garbagetruck.chaos.simulator.result import Result
from garbagetruck.chaos.simulator.simulation import simulate

SEED = 7
COMMAND = (sys.executable, "-m", "garbagetruck.chaos.simulator", "--seeds", "1", "--start", str(SEED), "--history")


@pytest.fixture(scope="module")
def first() -> Result:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return simulate(SEED)


def test_a_seed_repeats_in_one_process_and_another_gives_another_history(first: Result) -> None:
    other = simulate(SEED + 1)  # what happened before must not matter
    assert simulate(SEED).history == first.history
    assert other.fingerprint != first.fingerprint


def test_a_seed_repeats_in_processes_that_hash_differently(first: Result, tmp_path: Path) -> None:
    histories = []
    for hash_seed in ("1", "2"):
        path = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([*COMMAND, str(path)], check=True, capture_output=True, env=environment)
        histories.append(path.read_bytes())
    assert histories[0] == histories[1]
    assert len(histories[0]) > 10_000
    in_process = "\n".join(first.history) + "\n"
    assert histories[0] == in_process.encode()
