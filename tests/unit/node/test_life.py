"""What a refusal of the storage means to a cluster: a later leader of its own, or a later life, which it makes way for."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from garbagetruck.cluster.api.gateway import NotLeader
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import Operation, PauseCleanups
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.archiving.life import Life, Proposals
from garbagetruck.storage.errors import Fenced, IncarnationTaken
from garbagetruck.storage.memory import MemoryStorage, Vault


@dataclass
class Queue(Proposals):
    """Remembers what it was given, or has no leader."""

    leads: bool = True
    given: list[Operation] = field(default_factory=list)

    @override
    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]:
        if not self.leads:
            raise NotLeader("not any more")
        self.given.extend(operations)
        return []


def life_of(queue: Queue, number: int = 2) -> Life:
    machine = Machine()
    machine._state.incarnation, machine._state.incarnation_id = number, "own"
    storage = MemoryStorage(Vault(), "c")
    return Life(node_id="n1", machine=machine, queue=queue, storage=storage, random=random.Random(1), now_ms=lambda: 0)


@pytest.mark.parametrize("error", [Fenced("no", incarnation=3), IncarnationTaken(2, 2), IncarnationTaken(2, 3)])
async def test_i10_another_life_has_cleanups_paused_and_held_here_from_then_on(
    error: Fenced | IncarnationTaken,
) -> None:
    queue = Queue()
    life = life_of(queue)
    told = await life.refused(error)
    assert life.followed
    (pausing,) = queue.given
    assert isinstance(pausing, PauseCleanups)
    assert told in pausing.reason


def test_a_life_that_has_met_no_other_holds_nothing() -> None:
    assert not life_of(Queue()).followed


async def test_i10_they_are_held_though_the_leadership_was_lost_just_then() -> None:
    life = life_of(Queue(leads=False))
    await life.refused(Fenced("no", incarnation=3))
    assert life.followed


@pytest.mark.parametrize(
    "error", [Fenced("no", incarnation=2, term=7), Fenced("no", incarnation=1), IncarnationTaken(2, 1)]
)
async def test_a_later_leader_of_the_same_life_and_an_earlier_life_hold_nothing(
    error: Fenced | IncarnationTaken,
) -> None:
    queue = Queue()
    life = life_of(queue)
    await life.refused(error)
    assert (life.followed, queue.given) == (False, [])
