"""Three nodes under a random schedule: delays, cuts, crashes, pauses. What is committed stays with a majority.

A run without the guards must fail, or these tests prove nothing.
"""

import random
from collections.abc import Iterator
from itertools import combinations, permutations
from pathlib import Path

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.errors import LogDiverged
from garbagetruck.cluster.raft.log import Role
from tests.unit.raft.stage import Stage, StageNode

IDS = ("n1", "n2", "n3")
STEPS = 2_500


class HistoryBroken(AssertionError):
    """What was committed is not with a majority any more, or not the same everywhere."""


class Schedule:
    """One random run."""

    def __init__(self, stage: Stage, seed: int, *, guarded: bool) -> None:
        self._stage = stage
        self._random = random.Random(seed)
        random.seed(seed)  # pysyncobj draws its election timeouts from the global generator
        self._guarded = guarded
        self._nodes = {node_id: self._start(node_id) for node_id in IDS}
        self._committed: dict[int, tuple[bytes, int, int]] = {}
        self._leaders: dict[int, str] = {}
        self._proposed = 0
        self.applied_max = 0

    def _start(self, node_id: str) -> StageNode:
        return self._stage.node(node_id, guarded=self._guarded, connected=False, folder=node_id)

    def run(self) -> None:
        actions = (
            [self._deliver] * 60 + [self._tick] * 25 + [self._propose] * 8 + [self._connect] * 4
            + [self._disconnect] + [self._restart] * (self._random.random() < 0.5)
        )  # fmt: skip
        for _ in range(STEPS):
            self._stage.clock.advance(self._random.choice((0, 1, 5, 20)))
            self._random.choice(actions)()
            self._check()

    def _deliver(self) -> None:
        queues = [(a, b) for a, b in permutations(IDS, 2) if a in self._nodes[b].connections and self._queue(a, b)]
        if queues:
            sender, receiver = self._random.choice(queues)
            self._nodes[receiver].hear(sender, self._queue(sender, receiver).pop(0))

    def _queue(self, sender: str, receiver: str) -> list[wire.Message]:
        return self._nodes[sender].connections[receiver].sent

    def _tick(self) -> None:
        self._nodes[self._random.choice(IDS)].tick()

    def _propose(self) -> None:
        leaders = [node for node in self._nodes.values() if node.consensus.role is Role.LEADER]
        if leaders:
            payloads = [b"%d" % (self._proposed + i) for i in range(self._random.choice((1, 1, 1, 3)))]
            self._proposed += len(payloads)
            self._random.choice(leaders).propose(*payloads)

    def _connect(self) -> None:
        one, other = self._random.choice(list(combinations(IDS, 2)))
        if other not in self._nodes[one].connections:
            self._nodes[one].connect(other)
            self._nodes[other].connect(one)

    def _disconnect(self) -> None:
        self._cut(*self._random.choice(list(combinations(IDS, 2))))

    def _cut(self, one: str, other: str) -> None:
        if other in self._nodes[one].connections:
            self._nodes[one].disconnect(other)
            self._nodes[other].disconnect(one)

    def _restart(self) -> None:
        node_id = self._random.choice(IDS)
        for other in IDS:
            if other != node_id:
                self._cut(node_id, other)
        self._nodes[node_id].crash()
        self._nodes[node_id] = self._start(node_id)

    def _check(self) -> None:
        logs = {node_id: node.journal[:] for node_id, node in self._nodes.items()}
        for node_id, node in self._nodes.items():
            consensus = node.consensus
            if consensus.role is Role.LEADER and self._leaders.setdefault(consensus.term, node_id) != node_id:
                raise HistoryBroken(f"two leaders in term {consensus.term}")
            for entry in logs[node_id][: consensus.commit_index]:
                if self._committed.setdefault(entry[1], entry) != entry:
                    raise HistoryBroken(f"{node_id} committed {entry}, and another {self._committed[entry[1]]}")
            for applied in consensus.applied:
                if self._committed[applied.index][0] != b"\0" + applied.payload:
                    raise HistoryBroken(f"{node_id} applied {applied}")
            self.applied_max = max(self.applied_max, consensus.applied_index)
        for index, entry in self._committed.items():
            holders = [node_id for node_id, log in logs.items() if len(log) >= index and log[index - 1] == entry]
            if len(holders) * 2 <= len(IDS):
                raise HistoryBroken(f"entry {index} is committed and only {holders} have it")


@pytest.fixture
def seeds(seed: int) -> Iterator[int]:
    return iter(range(seed, seed + 5))


class CutOff:
    """A calm world: everything arrives, everybody ticks. A follower is cut off for thirty seconds, and comes back."""

    def __init__(self, stage: Stage, seed: int, *, guarded: bool) -> None:
        random.seed(seed)
        self._stage = stage
        self._nodes = {node_id: stage.node(node_id, guarded=guarded, connected=False) for node_id in IDS}
        for one, other in combinations(IDS, 2):
            self._join(one, other)

    def run(self) -> bool:
        """Whether the leader that was there before lost its place, or its term."""
        nodes = self._nodes
        self._pass(5_000)
        (leader,) = (node for node in nodes.values() if node.consensus.role is Role.LEADER)
        term = leader.consensus.term
        away = next(node_id for node_id in IDS if node_id != leader.node_id)
        others = [node_id for node_id in IDS if node_id != away]
        for other in others:
            nodes[away].disconnect(other)
            nodes[other].disconnect(away)
        self._pass(30_000)
        for other in others:
            self._join(other, away)
        self._pass(3_000)
        return leader.consensus.role is not Role.LEADER or any(node.consensus.term != term for node in nodes.values())

    def _join(self, one: str, other: str) -> None:
        self._nodes[one].connect(other)
        self._nodes[other].connect(one)

    def _pass(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 20):
            self._stage.clock.advance(20)
            for node in self._nodes.values():
                node.tick()
            for sender, receiver in permutations(IDS, 2):
                if receiver in self._nodes[sender].connections:
                    self._nodes[receiver].hear(sender, *self._nodes[sender].sent(receiver))


def test_i2_i3_what_is_committed_stays_with_a_majority_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: Iterator[int]
) -> None:
    progress = []
    for seed in seeds:
        stage = Stage(tmp_path / str(seed), monkeypatch)
        try:
            schedule = Schedule(stage, seed, guarded=True)
            schedule.run()
        except BaseException:
            print(f"schedule {seed} failed")
            raise
        finally:
            stage.close()
        progress.append(schedule.applied_max)
    print("applied:", progress)
    assert max(progress) > 20, "the schedules must get somewhere, or they show nothing"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_node_that_was_cut_off_for_long_deposes_nobody_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Hazard 13; pysyncobj alone comes back with a term of its own making."""
    deposed = 0
    for seed in range(3):
        stage = Stage(tmp_path / str(seed), monkeypatch)
        try:
            deposed += CutOff(stage, seed, guarded=guarded).run()
        finally:
            stage.close()
    assert (deposed == 0) is guarded


def test_the_same_schedules_break_pysyncobj_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: Iterator[int]
) -> None:
    broken = []
    for seed in seeds:
        stage = Stage(tmp_path / str(seed), monkeypatch)
        try:
            Schedule(stage, seed, guarded=False).run()
        except (HistoryBroken, LogDiverged) as error:
            broken.append(error)
        finally:
            stage.close()
    print(*broken, sep="\n")
    assert broken
