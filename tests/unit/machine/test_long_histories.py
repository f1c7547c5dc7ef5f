"""Long random histories, where every state comes up: machines, their restored copies and the oracle agree throughout.

The seed is printed; GARBAGETRUCK_TEST_SEED repeats it.
"""

import os
import random

from tests.unit.machine.chorus import Chorus
from tests.unit.machine.walker import Walker

HISTORIES = int(os.environ.get("GARBAGETRUCK_MACHINE_HISTORIES", "25"))
STEPS_PER_HISTORY = 400


def test_long_random_histories_agree_with_the_oracle_and_with_each_other(seed: int) -> None:
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
