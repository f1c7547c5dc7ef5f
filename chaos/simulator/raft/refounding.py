"""A founder that lost its disk, and that somebody bootstraps again.

Duty: once something is acknowledged, lose the disk of one founder for good, and start its node as a founder with another disk,
while a second one is down for a while. The third has met the first disk: the node must end, whatever else goes wrong, and
nothing that was acknowledged may be contradicted. What it says of itself is not believed by anybody who knows better.

Must not know: what is right for the log.
"""

from collections.abc import Callable, Sequence

from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.operator import Operator
from garbagetruck.chaos.simulator.world import NS_PER_MS, World

LOST_MS = (1_300, 2_500)
AGAIN_MS = 100
BACK_AFTER_MS = (500, 5_000)
"""How long one of the others stays away: long enough for an election without it."""


class Refounding:
    """Runs in the world, in no process. `is_founded` says whether something was acknowledged."""

    def __init__(self, world: World, hosts: Sequence[Host], operator: Operator, is_founded: Callable[[], bool]) -> None:
        self._world = world
        self._operator = operator
        self._is_founded = is_founded
        self._chance = world.random("refounding")
        self._lost, self._away = self._chance.sample(list(hosts), 2)

    def schedule(self) -> None:
        """The operator loses no other disk before the node has ended."""
        self._operator.rest_until(LOST_MS[1] + BACK_AFTER_MS[1])
        self._world.after(self._chance.randint(*LOST_MS) * NS_PER_MS, self._lose)

    def _lose(self) -> None:
        if not self._is_founded():
            self._world.after(AGAIN_MS * NS_PER_MS, self._lose)
            return
        self._away.kill()
        self._operator.bootstrap_again(self._lost)
        self._world.after(self._chance.randint(*BACK_AFTER_MS) * NS_PER_MS, self._away.start)
