"""The real log under power losses, kills, pauses, failing disks and cut wires, and nothing that must not be.

A run checks I2 (what was acknowledged stays, and no vote is forgotten), I3 (one history, one leader for each term), I8 (who
is confirmed leads), how often the term changes, and that all goes on once everything is healed.
"""

import pytest

from garbagetruck.chaos.simulator.raft.simulation import simulate_raft
from garbagetruck.chaos.simulator.result import Verdict

SEEDS = range(1, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_i2_i3_i8_hold_whatever_happens(seed: int) -> None:
    result = simulate_raft(seed)
    repeat = f"python -m garbagetruck.chaos.simulator --world raft --seeds 1 --start {seed} --history history.txt"
    assert result.verdict is not Verdict.VIOLATED, (*result.violations, result.summary, f"repeat it: {repeat}")


def test_a_run_meets_what_it_is_there_to_meet() -> None:
    """Snapshots are gone on from, power is lost, and leaders are replaced in some of the seeds."""
    results = [simulate_raft(seed, ("power_of_many", "power_at_start", "cut")) for seed in (1, 2)]
    assert any("restored=0" not in result.summary for result in results)
    assert all("dark=0" not in result.summary for result in results)
    assert all("terms=1 " not in result.summary for result in results)
