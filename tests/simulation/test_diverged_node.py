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


SPREADING_SEED = 4
"""There the wrong node leads, and sends its snapshot to others."""
BIT = "a bit fell over"


class Planted:
    """`claims_when_paused` are those that were made when a node knew better."""

    def __init__(self) -> None:
        self.claims_when_paused: list[str] = []
        self.spreads = False
        """Whether who gets a snapshot of the wrong node is wrong from then on, too."""
        self.restored_wrong: list[str] = []
        self.right_reason = ""


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Plant it. The oracle, which sees all, looks away."""
    planted = Planted()
    paused: dict[str, bool] = {}
    applied_before, restored_before = SimulatedNode.on_applied, SimulatedNode.on_machine_restored

    def on_applied(self: SimulatedNode, applied: Applied) -> None:
        state = state_of(self.machine)
        if self.name == WRONG and self.applier.applied_index >= FROM_INDEX:
            if state.cleanups_pause_reason != BIT:
                planted.right_reason = state.cleanups_pause_reason
            state.cleanups_pause_reason = BIT  # counts in the digest, and does nothing
        if paused.get(self.name) and any(isinstance(each, CleanupClaimed) for each in applied.outcomes):
            planted.claims_when_paused.append(self.name)
        paused[self.name] = state.cleanups_paused
        applied_before(self, applied)

    def on_machine_restored(self: SimulatedNode) -> None:
        state = state_of(self.machine)
        if self.name != WRONG and state.cleanups_pause_reason == BIT:
            planted.restored_wrong.append(self.name)
            if not planted.spreads:
                state.cleanups_pause_reason = planted.right_reason
        restored_before(self)

    monkeypatch.setattr(SimulatedNode, "on_applied", on_applied)
    monkeypatch.setattr(SimulatedNode, "on_machine_restored", on_machine_restored)
    monkeypatch.setattr(SimulatedNode, "on_progress", lambda self: None)  # which calls any difference a false alarm
    monkeypatch.setattr(Oracle, "applied", lambda self, node, index, digest: None)
    return planted


@pytest.mark.parametrize("number", SEEDS)
def test_i3_the_node_that_is_wrong_ends_and_cleanups_were_paused_before(number: int, planted: Planted) -> None:
    result = simulate(number)
    (violation, *_) = result.violations
    assert f"{WRONG} died of a bug: StateDiverged" in violation, violation
    assert f"the state of {WRONG} behind entry" in violation
    assert any("ReportDigest" in line for line in result.history), "through the log"
    assert planted.claims_when_paused == []


def test_i3_where_more_than_half_have_it_from_the_wrong_leader_another_ends_and_cleanups_were_paused_before(
    planted: Planted,
) -> None:
    planted.spreads = True
    result = simulate(SPREADING_SEED)
    (violation, *_) = result.violations
    assert "died of a bug: StateDiverged" in violation, violation
    assert f"{WRONG} died" not in violation
    assert len({*planted.restored_wrong}) > 1
    assert any("ReportDigest" in line for line in result.history), "through the log"
    assert planted.claims_when_paused == []
