"""Random histories that hypothesis shrinks: machine, twin, restored copies and oracle agree after every batch.

Bounded, and a failure prints how to repeat it; GARBAGETRUCK_MACHINE_EXAMPLES runs more.
"""

import os
import random

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from garbagetruck.cluster.machine.model import Bounds
from garbagetruck.cluster.machine.operations import EnterEpoch, Operation, SetBounds
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.walker import OPERATIONS, STEPS_MS, Walker

EXAMPLES = int(os.environ.get("GARBAGETRUCK_MACHINE_EXAMPLES", "80"))

choices = st.randoms(use_true_random=False)
"""Choices that hypothesis makes and can shrink."""


class Histories(RuleBasedStateMachine):
    """Each rule adds an operation to the batch in hand; `together` decides whether the next one joins it."""

    def __init__(self) -> None:
        super().__init__()
        self.walker = Walker(Chorus(), random.Random(0))
        self.batch: list[Operation] = []

    def flush(self) -> None:
        batch, self.batch = self.batch, []
        self.walker.write(*batch)

    @initialize(rng=choices)
    def begin(self, rng: random.Random) -> None:
        self.walker.rng = rng
        self.walker.begin()

    @rule(name=st.sampled_from(OPERATIONS), rng=choices, together=st.booleans())
    def operate(self, name: str, rng: random.Random, *, together: bool) -> None:
        self.walker.rng = rng
        self.batch.append(self.walker.draft(name))
        if not together:
            self.flush()

    @rule(by_ms=st.sampled_from(STEPS_MS))
    def time_passes(self, by_ms: int) -> None:
        self.flush()
        self.walker.at_ms += by_ms
        self.flush()

    @rule()
    def another_leader(self) -> None:
        self.flush()
        self.walker.epoch += 1
        self.batch.append(EnterEpoch(f"n{self.walker.epoch}"))

    @rule()
    def a_machine_is_restored(self) -> None:
        self.walker.chorus.add_late_one()

    @rule(noise=st.sampled_from(["late stamp", "old epoch", "unopened epoch"]) | st.binary(max_size=40))
    def noise(self, noise: str | bytes) -> None:
        """Entries that change nothing but, at most, what the sweep had still to do."""
        walker = self.walker
        self.flush()
        if isinstance(noise, bytes):
            walker.chorus.write_garbage(b"\xc1" + noise)  # 0xc1 begins nothing in msgpack
        elif noise == "late stamp":
            walker.chorus.write(walker.epoch, walker.at_ms - 700)
        else:
            epoch = walker.epoch + (1 if noise == "unopened epoch" else -1)
            walker.chorus.write(epoch, walker.at_ms + 5_000, SetBounds(Bounds()))


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=60, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
