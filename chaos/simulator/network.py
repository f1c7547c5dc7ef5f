"""The network between processes: delays, losses, cuts in one direction or both.

Duty: say whether and when a message from one process reaches another.
Invariants: messages from one process to another overtake each other never, as on one TCP connection.
Must not know: what is in a message.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from garbagetruck.chaos.simulator.world import NS_PER_MS, Process, World

Pair = tuple[str, str]


@dataclass(slots=True)
class Weather:
    """How the network is at the moment."""

    delay_ms: tuple[float, float] = (0.1, 1.5)
    loss: float = 0.0
    cut: set[Pair] = field(default_factory=set)
    """(from, to) pairs between which nothing passes."""


class Network:
    """Carries closures from process to process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random("network")
        self._last_ns: dict[Pair, int] = {}
        self.weather = Weather()
        self.lost = 0

    def passes(self, source: str, target: str) -> bool:
        return (source, target) not in self.weather.cut

    def delay_ns(self, source: str, target: str) -> int:
        """How long a message that leaves now is under way."""
        low, high = self.weather.delay_ms
        arrives_ns = self._world.now_ns + int(self._random.uniform(low, high) * NS_PER_MS)
        arrives_ns = max(arrives_ns, self._last_ns.get((source, target), 0) + 1)
        self._last_ns[(source, target)] = arrives_ns
        return arrives_ns - self._world.now_ns

    def send(self, source: str, target: Process, deliver: Callable[[], object]) -> bool:
        """Send one message, which may be lost; tell whether it was not."""
        if not self.passes(source, target.name) or self._random.happens(self.weather.loss):
            self.lost += 1
            return False
        target.post(self.delay_ns(source, target.name), deliver)
        return True

    def isolate(self, name: str, others: list[str], *, inbound: bool = True, outbound: bool = True) -> None:
        """Cut a process off from others, in one direction or both."""
        for other in others:
            if other != name:
                if outbound:
                    self.weather.cut.add((name, other))
                if inbound:
                    self.weather.cut.add((other, name))

    def heal(self) -> None:
        self.weather = Weather()
