"""The same seed gives the same history, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

from garbagetruck.chaos.simulator.simulation import simulate

SEED = 7
COMMAND = (sys.executable, "-m", "garbagetruck.chaos.simulator", "--seeds", "1", "--start", str(SEED), "--history")


def test_a_seed_repeats_in_one_process() -> None:
    first = simulate(SEED)
    simulate(SEED + 1)  # what happened before must not matter
    assert simulate(SEED).history == first.history


def test_a_seed_repeats_in_processes_that_hash_differently(tmp_path: Path) -> None:
    histories = []
    for hash_seed in ("1", "2"):
        path = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([*COMMAND, str(path)], check=True, capture_output=True, env=environment)
        histories.append(path.read_bytes())
    assert histories[0] == histories[1]
    assert len(histories[0]) > 10_000
    in_process = "\n".join(simulate(SEED).history) + "\n"
    assert histories[0] == in_process.encode()


def test_different_seeds_give_different_histories() -> None:
    assert simulate(SEED).fingerprint != simulate(SEED + 1).fingerprint
