"""Each guard of the log switched off in turn: the simulation of the real log must find out.

Not here: acknowledgements of a former term (hazard 8). With the other guards in place they do harm only in clusters of
five, to a leader deposed and elected again while an old answer is on its way; no seed came to that. `TestLateAcknowledgements`
in tests/unit/raft/test_terms.py brings it about. Nor that any disk counts under a voter's name: no seed had such a vote decide
an election; `TestDisks` in tests/unit/raft/test_voters.py has the rule. Both are mutants that a test must catch.
"""

import pytest

from garbagetruck.chaos.mutants.mutant import RAFT, BySimulator, Mutant
from garbagetruck.chaos.mutants.table import MUTANTS
from garbagetruck.chaos.mutants.trial import Fate, simulated_trial

PLANTED = [each for each in MUTANTS.values() if isinstance(each.catcher, BySimulator) and each.catcher.world == RAFT]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    assert isinstance(mutant.catcher, BySimulator)
    trial = simulated_trial(mutant, mutant.catcher)
    print(trial.said)
    assert trial.fate is Fate.CAUGHT, trial.said
