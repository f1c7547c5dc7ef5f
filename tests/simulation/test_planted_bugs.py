"""Each guard switched off in turn: the simulator must find out, or its silence means nothing."""

import pytest

from garbagetruck.chaos.mutants.mutant import CLUSTER, BySimulator, Mutant
from garbagetruck.chaos.mutants.table import MUTANTS
from garbagetruck.chaos.mutants.trial import Fate, simulated_trial

PLANTED = [each for each in MUTANTS.values() if isinstance(each.catcher, BySimulator) and each.catcher.world == CLUSTER]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    assert isinstance(mutant.catcher, BySimulator)
    trial = simulated_trial(mutant, mutant.catcher)
    print(trial.said)
    assert trial.fate is Fate.CAUGHT, trial.said
