"""A node that goes another way, in clusters under every kind of fault: it is that node, and no other, that ends (I3)."""

import pytest

from garbagetruck.chaos.simulator.nodes import SimulatedNode
from garbagetruck.chaos.simulator.oracle import Oracle
from garbagetruck.chaos.simulator.simulation import simulate
from garbagetruck.cluster.machine.machine import Applied
from garbagetruck.cluster.machine.outcomes import CleanupClaimed
from tests.unit.machine.integrity import state_of

WRONG = "n2"
FROM_INDEX = 100
"""From there on it is wrong, in each of its lives, whatever it goes on from."""
SEEDS = range(1, 7)


@pytest.fixture
def claims_when_paused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plant it, and keep the claims that were made when a node knew better. The oracle, which sees all, looks away."""
    made: list[str] = []
    paused: dict[str, bool] = {}
    applied_before = SimulatedNode.on_applied

    def on_applied(self: SimulatedNode, applied: Applied) -> None:
        state = state_of(self.machine)
        if self.name == WRONG and self.applier.applied_index >= FROM_INDEX:
            state.cleanups_pause_reason = "a bit fell over"  # counts in the digest, and does nothing
        if paused.get(self.name) and any(isinstance(each, CleanupClaimed) for each in applied.outcomes):
            made.append(self.name)
        paused[self.name] = state.cleanups_paused
        applied_before(self, applied)

    monkeypatch.setattr(SimulatedNode, "on_applied", on_applied)
    monkeypatch.setattr(SimulatedNode, "on_progress", lambda self: None)  # which calls any difference a false alarm
    monkeypatch.setattr(Oracle, "applied", lambda self, node, index, digest: None)
    return made


@pytest.mark.parametrize("number", SEEDS)
def test_i3_the_node_that_is_wrong_ends_and_cleanups_were_paused_before(
    number: int, claims_when_paused: list[str]
) -> None:
    result = simulate(number)
    (violation, *_) = result.violations
    assert f"{WRONG} died of a bug: StateDiverged" in violation, violation
    assert f"the state of {WRONG} behind entry" in violation
    assert any("ReportDigest" in line for line in result.history), "through the log"
    assert claims_when_paused == []
