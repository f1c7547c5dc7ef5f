"""Long random histories, where every state comes up: machines, their restored copies and the oracle agree throughout.

After every batch: I1 and I4 by what clients and operators were promised, I3 by twins and restored copies, I5 by the
tokens that were told, I6 by the oracle's own request table, I11 by a machine that never saw what was refused.
The seed is printed; GARBAGETRUCK_TEST_SEED repeats it.
"""

import os
import random

import pytest

from garbagetruck.cluster.machine import timers
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.walker import Walker

HISTORIES = int(os.environ.get("GARBAGETRUCK_MACHINE_HISTORIES", "25"))
STEPS_PER_HISTORY = 400


def test_i1_i3_i4_i5_i6_i11_hold_throughout_long_random_histories(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "TIDY_MIN", 0)
    monkeypatch.setattr(timers, "TIDY_STEP", 1)
    rng = random.Random(seed)
    for history in range(HISTORIES):
        walker = Walker(Chorus(), random.Random(rng.getrandbits(32)))
        walker.begin()
        for step in range(STEPS_PER_HISTORY):
            try:
                walker.step()
            except AssertionError:
                print(f"history {history}, step {step}")
                raise
