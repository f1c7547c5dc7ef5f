"""What the machine relies on no log for: batches of a former leadership change nothing, even if the log lets them in."""

import pytest

from garbagetruck.chaos.mutants.strays import let_proposals_stray
from garbagetruck.chaos.simulator.result import Verdict
from garbagetruck.chaos.simulator.simulation import simulate

SEEDS = (1, 2, 3)


def test_i3_i7_a_proposal_that_strays_into_a_later_term_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    strayed = let_proposals_stray(monkeypatch)
    for seed in SEEDS:
        result = simulate(seed, ("stall",))
        assert result.verdict is not Verdict.VIOLATED, (f"seed {seed}", result.violations)
    assert strayed
