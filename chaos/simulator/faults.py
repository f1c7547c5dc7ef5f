"""What goes wrong, and when: drawn from the seed.

Duty: a schedule of episodes, each of which begins, lasts and ends; and the moments at which no node could have reached
a majority.
Invariants: at the end of the schedule everything is healed: what follows must recover.
Must not know: clients, leases, what is right.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.nodes import SimulatedNode
from garbagetruck.chaos.simulator.store import STORE
from garbagetruck.chaos.simulator.world import NS_PER_MS, World

EPISODES = (4, 9)


class Faults:
    """Runs in the world, in no process. `restart` brings a crashed node back."""

    def __init__(
        self,
        *,
        world: World,
        network: Network,
        nodes: Mapping[str, SimulatedNode],
        clients: list[str],
        restart: Callable[[str], None],
        only: Sequence[str] = (),
    ) -> None:
        """`only` names the kinds of faults to draw from; empty: all."""
        self._world = world
        self._network = network
        self._nodes = nodes
        self._clients = clients
        self._restart = restart
        self._only = tuple(only)
        self._random = world.random("faults")
        self._no_majority_since_ns: int | None = None
        self.windows: list[tuple[int, int]] = []
        """(from, to) between which no renewal could be accepted."""
        self.bitten: Counter[str] = Counter()

    def schedule(self, until_ms: int) -> None:
        """Spread episodes over the time until everything is healed."""
        kinds: list[Callable[[int], None]] = [
            self._partition,
            self._partition,
            self._one_way,
            self._pause,
            self._pause,
            self._stall,
            self._crash,
            self._crash,
            self._crash_all,
            self._slow_disk,
            self._slow_disks,
            self._lossy,
            self._slow,
            self._no_store,
            self._cut_client,
            self._hand_over,
        ]
        known = {_name(kind) for kind in kinds}
        if not known.issuperset(self._only):
            raise ValueError(
                f"unknown kinds of faults in {', '.join(self._only)}; known are {', '.join(sorted(known))}"
            )
        if self._only:
            kinds = [kind for kind in kinds if _name(kind) in self._only]
        for _ in range(self._random.randint(*EPISODES)):
            kind = self._random.choice(kinds)
            at_ms = self._random.randrange(1_500, until_ms - 500)
            last_ms = min(self._random.choice((300, 800, 1_500, 3_000, 6_000)), until_ms - at_ms)
            self._world.after(at_ms * NS_PER_MS, partial(self._begin, kind, last_ms))
        self._world.after(until_ms * NS_PER_MS, self._heal)

    def _begin(self, kind: Callable[[int], None], last_ms: int) -> None:
        name = _name(kind)
        self._world.note(f"fault {name} for {last_ms} ms")
        kind(last_ms)
        self.bitten[name] += 1
        self._watch()

    def _end_after(self, last_ms: int, end: Callable[[], object]) -> None:
        def ended() -> None:
            end()
            self._watch()

        self._world.after(last_ms * NS_PER_MS, ended)

    def _heal(self) -> None:
        self._world.note("everything is healed")
        self._network.heal()
        for name, node in sorted(self._nodes.items()):
            if not node.process.alive:
                self._restart(name)
            self._nodes[name].process.stall(stalled=False)
            self._nodes[name].disk.stalled = False
            if self._nodes[name].process.paused:
                self._nodes[name].process.resume()
        self._watch()

    # -- whom -------------------------------------------------------------------------------------------------

    def _anyone(self) -> SimulatedNode:
        return self._nodes[self._random.choice(sorted(self._nodes))]

    def _leader_rather(self) -> SimulatedNode:
        """The leader, two times out of three: it is where faults hurt."""
        leaders = [node for _, node in sorted(self._nodes.items()) if node.process.alive and node.leadership.leading]
        return leaders[0] if leaders and self._random.happens(0.67) else self._anyone()

    # -- kinds ------------------------------------------------------------------------------------------------

    def _partition(self, last_ms: int) -> None:
        victim = self._leader_rather().name
        self._cut(victim, sorted(self._nodes), last_ms)

    def _one_way(self, last_ms: int) -> None:
        victim = self._leader_rather().name
        inbound = self._random.happens(0.5)
        self._cut(victim, sorted(self._nodes), last_ms, inbound=inbound, outbound=not inbound)

    def _cut_client(self, last_ms: int) -> None:
        self._cut(self._random.choice(self._clients), sorted(self._nodes), last_ms)

    def _no_store(self, last_ms: int) -> None:
        self._cut(STORE, sorted(self._nodes), last_ms)

    def _cut(
        self, victim: str, others: list[str], last_ms: int, *, inbound: bool = True, outbound: bool = True
    ) -> None:
        before = set(self._network.weather.cut)
        self._network.isolate(victim, others, inbound=inbound, outbound=outbound)
        new = self._network.weather.cut - before
        self._end_after(last_ms, lambda: self._network.weather.cut.difference_update(new))

    def _pause(self, last_ms: int) -> None:
        """SIGSTOP, and later SIGCONT."""
        node = self._leader_rather()
        if node.up:
            node.process.pause()
            self._end_after(last_ms, lambda: node.process.resume() if node.process.paused else None)

    def _stall(self, last_ms: int) -> None:
        """The main loop hangs; the Raft thread goes on."""
        node = self._leader_rather()
        if node.process.stalled:
            return
        epoch, since_ns = node.leadership.epoch, self._world.now_ns
        node.process.stall(stalled=True)

        def go_on() -> None:
            node.process.stall(stalled=False)
            alone = all(other.raft.term <= epoch for other in self._nodes.values())
            if node.up and node.raft.role == "leader" and node.raft.term == epoch and alone:
                # It led all the time, and heard no client: for renewals that is as good as no majority.
                self.windows.append((since_ns, self._world.now_ns))

        self._end_after(last_ms, go_on)

    def _crash(self, last_ms: int) -> None:
        node = self._leader_rather()
        if node.process.alive:
            node.crash()
            self._end_after(last_ms, lambda: self._come_back(node.name))

    def _crash_all(self, last_ms: int) -> None:
        for _, node in sorted(self._nodes.items()):
            if node.process.alive:
                node.crash()
                self._end_after(last_ms + self._random.randrange(200), partial(self._come_back, node.name))

    def _come_back(self, name: str) -> None:
        if not self._nodes[name].process.alive:
            self._restart(name)

    def _slow_disk(self, last_ms: int) -> None:
        disk = self._leader_rather().disk
        disk.stalled = True
        self._end_after(last_ms, lambda: setattr(disk, "stalled", False))

    def _slow_disks(self, last_ms: int) -> None:
        """On a majority: heartbeats go through, and nothing is committed."""
        for name in self._random.sample(sorted(self._nodes), k=2):
            disk = self._nodes[name].disk
            disk.stalled = True
            self._end_after(last_ms, partial(setattr, disk, "stalled", False))

    def _lossy(self, last_ms: int) -> None:
        weather = self._network.weather
        weather.loss = self._random.choice((0.02, 0.1, 0.3))
        self._end_after(last_ms, lambda: setattr(weather, "loss", 0.0))

    def _slow(self, last_ms: int) -> None:
        weather = self._network.weather
        calm = weather.delay_ms
        weather.delay_ms = self._random.choice(((1.0, 20.0), (5.0, 80.0), (20.0, 400.0)))
        self._end_after(last_ms, lambda: setattr(weather, "delay_ms", calm))

    def _hand_over(self, last_ms: int) -> None:
        del last_ms
        node = self._leader_rather()
        if node.up and node.leadership.leading:
            node.process.loop.start(node.leadership.hand_over())

    # -- majorities -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        now_ns = self._world.now_ns
        if self._majority():
            if self._no_majority_since_ns is not None:
                self.windows.append((self._no_majority_since_ns, now_ns))
            self._no_majority_since_ns = None
        elif self._no_majority_since_ns is None:
            self._no_majority_since_ns = now_ns

    def _majority(self) -> bool:
        """Whether some node could hear, and be heard by, a majority whose disks work, itself included."""
        up = [node.name for _, node in sorted(self._nodes.items()) if node.up]
        for name in up:
            heard = [
                other
                for other in up
                if not self._nodes[other].disk.stalled
                and (other == name or (self._network.passes(name, other) and self._network.passes(other, name)))
            ]
            if len(heard) * 2 > len(self._nodes):
                return True
        return False


def _name(kind: Callable[[int], None]) -> str:
    return kind.__name__.strip("_")
