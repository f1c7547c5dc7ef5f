"""Some dozens of seeds: partitions, pauses, crashes, slow disks, lost messages, and nothing that must not be.

A run checks I1 (nothing in use is removed), I3 (digests), I4 (every orphan is reclaimed once faults have stopped), I5
(tokens order and fence), I6 (a retry is one operation), I7 (time is fair) and I11 (what failed changed nothing).
"""

import pytest

from garbagetruck.chaos.simulator.result import Verdict
from garbagetruck.chaos.simulator.simulation import simulate

SEEDS = range(1, 25)


@pytest.mark.parametrize("seed", SEEDS)
def test_i1_i3_i4_i5_i6_i7_i11_hold_whatever_happens(seed: int) -> None:
    result = simulate(seed)
    repeat = f"python -m garbagetruck.chaos.simulator --seeds 1 --start {seed} --history history.txt"
    assert result.verdict is not Verdict.VIOLATED, (*result.violations, result.summary, f"repeat it: {repeat}")
    if result.verdict is Verdict.UNDECIDED:
        pytest.skip(f"no fault bit in seed {seed}: {result.summary}")
