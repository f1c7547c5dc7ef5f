"""A founder that starts late, and another that loses its disk before the first one ever met it.

Duty: in a cluster of three, have two of them begin, and acknowledge; lose the disk of one for good while the other is down,
and let its node come back with another disk to join; only then start the third. No more than one disk is lost: what was
acknowledged must still be there, and may not be contradicted by the two that have nothing.

Must not know: what is right for the log.
"""

from collections.abc import Sequence

from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.operator import Operator
from garbagetruck.chaos.simulator.world import NS_PER_MS, World

LOST_MS = (1_300, 2_500)
"""By then the two have a leader and have acknowledged, as a rule."""
STARTS_AFTER_MS = (20, 600)
BACK_AFTER_MS = (1_500, 5_000)
"""How long after that the one that has everything stays away: long enough for an election without it."""


class Latecomer:
    """Runs in the world, in no process. Of `hosts`, three, one is to be started by nobody else before."""

    def __init__(self, world: World, hosts: Sequence[Host], operator: Operator) -> None:
        self._world = world
        self._operator = operator
        self._chance = world.random("latecomer")
        self.late, self._lost, self._away = self._chance.sample(list(hosts), 3)

    def schedule(self) -> None:
        """The operator loses no disk meanwhile: of three, another would be one too many."""
        self._operator.rest_until(LOST_MS[1] + STARTS_AFTER_MS[1] + BACK_AFTER_MS[1])
        self._world.after(self._chance.randint(*LOST_MS) * NS_PER_MS, self._lose)

    def _lose(self) -> None:
        self._away.kill()
        self._operator.replace_at_once(self._lost)
        starts_ms = self._chance.randint(*STARTS_AFTER_MS)
        self._world.after(starts_ms * NS_PER_MS, self.late.start)
        self._world.after((starts_ms + self._chance.randint(*BACK_AFTER_MS)) * NS_PER_MS, self._away.start)
