"""What goes wrong with machines and wires, and when: drawn from the seed.

Duty: a schedule of episodes, each of which begins, lasts and ends. It is a *storm*, in which they overlap as they like, or
*calm*: one at a time, on one node at a time, so that the oracle can say how little may come of it.

Invariants: at the end of the schedule everything is healed. In calm weather a follower's trouble and return change the
term at most once; a leader's, as often as an election may have to be repeated.

Must not know: clients, what is right for the log.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.raft.host import DISK_ERRORS, Host
from garbagetruck.chaos.simulator.raft.oracle import RaftOracle
from garbagetruck.chaos.simulator.world import NS_PER_MS, World
from garbagetruck.cluster.raft.log import Role

EPISODES = (5, 12)
LAST_MS = (50, 300, 800, 2_000, 4_000)
FIRST_MS = 1_500
REST_MS = 2_500
"""Between two episodes of calm weather."""
TERMS_AFTER_FOLLOWER, TERMS_AFTER_LEADER = 1, 3

Kind = Callable[[Any, Host, int], None]
"""Of the faults, the host that is struck, and how long it lasts in milliseconds."""


class Faults:
    """Runs in the world, in no process. `only` names the kinds of faults to draw from; empty: all. `more` are kinds beside those
    of machines and wires.
    """

    def __init__(
        self,
        *,
        world: World,
        weather: Network,
        hosts: Sequence[Host],
        oracle: RaftOracle,
        only: Sequence[str] = (),
        never_calm: bool = False,
        more: Sequence[Kind] = (),
    ) -> None:
        self._world = world
        self._weather = weather
        self._hosts = hosts
        self._oracle = oracle
        self._random = world.random("faults")
        self.calm = self._random.happens(0.34) and not never_calm
        known = {kind.__name__.strip("_"): kind for kind in (*_ALONE, *_TOGETHER, *more)}
        if not known.keys() >= set(only):
            raise ValueError(f"unknown kinds of faults in {', '.join(only)}; known are {', '.join(sorted(known))}")
        kinds = _ALONE if self.calm else (*_ALONE, *_TOGETHER, *more)
        self._kinds = [kind for kind in kinds if not only or kind.__name__.strip("_") in only]
        self.bitten: Counter[str] = Counter()

    def schedule(self, until_ms: int) -> None:
        """Spread episodes over the time until everything is healed."""
        self._world.after(until_ms * NS_PER_MS, self._heal)
        if not self._kinds:
            return
        if self.calm:
            at_ms = FIRST_MS
            while at_ms < until_ms - 500:
                last_ms = min(self._random.choice(LAST_MS), until_ms - at_ms)
                self._world.after(at_ms * NS_PER_MS, partial(self._begin_alone, last_ms))
                at_ms += last_ms + REST_MS
            return
        for _ in range(self._random.randint(*EPISODES)):
            at_ms = self._random.randrange(FIRST_MS, until_ms - 500)
            last_ms = min(self._random.choice(LAST_MS), until_ms - at_ms)
            self._world.after(at_ms * NS_PER_MS, partial(self._begin, last_ms))

    def _begin_alone(self, last_ms: int) -> None:
        host = self._leader_rather()
        led, before = self._is_leader(host), self._oracle.term_max
        self._strike(host, last_ms)

        def judge() -> None:
            allowed = TERMS_AFTER_LEADER if led else TERMS_AFTER_FOLLOWER
            if before and self._oracle.term_max - before > allowed:
                what = "the leader's" if led else "one follower's"
                self._world.fail(f"terms: {what} trouble raised it from {before} to {self._oracle.term_max}")

        self._world.after((last_ms + REST_MS - 1) * NS_PER_MS, judge)

    def _begin(self, last_ms: int) -> None:
        self._strike(self._leader_rather(), last_ms)

    def _strike(self, host: Host, last_ms: int) -> None:
        kind = self._random.choice(self._kinds)
        name = kind.__name__.strip("_")
        self._world.note(f"fault {name} for {last_ms} ms, at {host.name}")
        self.bitten[name] += 1
        kind(self, host, last_ms)

    def _end_after(self, last_ms: int, end: Callable[[], object]) -> None:
        self._world.after(last_ms * NS_PER_MS, end)

    def _heal(self) -> None:
        self._world.note("everything is healed")
        self._weather.heal()
        for host in self._hosts:
            host.mend()

    # --- whom -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _is_leader(host: Host) -> bool:
        return host.life is not None and host.life.role is Role.LEADER

    def _leader_rather(self) -> Host:
        """The leader, half of the time."""
        leaders = [host for host in self._hosts if self._is_leader(host)]
        return leaders[0] if leaders and self._random.happens(0.5) else self._random.choice(self._hosts)

    def _minority_or_all(self, host: Host) -> list[Host]:
        """One, two, or all: the one that was struck among them."""
        others = [each for each in self._hosts if each is not host]
        return [host, *self._random.sample(others, self._random.choice((1, len(others))))]

    def _restart_after(self, last_ms: int, hosts: Sequence[Host]) -> None:
        """In any order, and now and then nearly at once."""
        spread_ms = self._random.choice((1, 200, 2_500))
        for host in hosts:
            self._end_after(last_ms + self._random.randrange(spread_ms), host.start)

    # --- on one node ------------------------------------------------------------------------------------------------

    def _kill(self, host: Host, last_ms: int) -> None:
        host.kill()
        self._restart_after(last_ms, [host])

    def _power(self, host: Host, last_ms: int) -> None:
        host.pull_plug()
        self._restart_after(last_ms, [host])

    def _power_step(self, host: Host, last_ms: int) -> None:
        """At some operation of the disk, be it in the middle of a start."""
        host.end_at_next_step(kill_only=self._random.happens(0.3))
        self._restart_after(last_ms, [host])

    def _power_at_start(self, host: Host, last_ms: int) -> None:
        """Once, and again while it starts."""
        host.pull_plug()

        def start() -> None:
            host.start()
            host.end_at_next_step(kill_only=self._random.happens(0.3))

        self._end_after(last_ms // 2, start)
        self._restart_after(last_ms, [host])

    def _pause(self, host: Host, last_ms: int) -> None:
        host.pause()
        self._end_after(last_ms, host.resume)

    def _stall(self, host: Host, last_ms: int) -> None:
        host.stall(stalled=True)
        self._end_after(last_ms, lambda: host.stall(stalled=False))

    def _slow_disk(self, host: Host, last_ms: int) -> None:
        host.speed.is_stalled = True
        self._end_after(last_ms, host.speed.go_on)

    def _disk_error(self, host: Host, last_ms: int) -> None:
        """The node has to end. The disk works again when it is started."""
        host.fail_disk(self._random.choice(DISK_ERRORS))

        def replace() -> None:
            host.disk.fault = lambda _operation, _path: None
            host.start()

        self._end_after(last_ms, replace)

    def _cut(self, host: Host, last_ms: int) -> None:
        self._isolate(host, last_ms)

    def _one_way(self, host: Host, last_ms: int) -> None:
        inbound = self._random.happens(0.5)
        self._isolate(host, last_ms, inbound=inbound, outbound=not inbound)

    def _isolate(self, host: Host, last_ms: int, *, inbound: bool = True, outbound: bool = True) -> None:
        before = set(self._weather.weather.cut)
        self._weather.isolate(host.name, [each.name for each in self._hosts], inbound=inbound, outbound=outbound)
        self._mend_after(last_ms, before)

    def _cut_pair(self, host: Host, last_ms: int) -> None:
        """Two nodes lose each other, and both keep the third."""
        before = set(self._weather.weather.cut)
        other = self._random.choice([each for each in self._hosts if each is not host])
        self._weather.isolate(host.name, [other.name])
        self._mend_after(last_ms, before)

    def _mend_after(self, last_ms: int, before: set[tuple[str, str]]) -> None:
        new = self._weather.weather.cut - before
        self._end_after(last_ms, lambda: self._weather.weather.cut.difference_update(new))

    def _reset(self, host: Host, last_ms: int) -> None:
        """Connections break, some at one end only, again and again."""
        for end in host.ends:
            if self._random.happens(0.5):
                end.reset()
            if self._random.happens(0.7):
                end.other.reset()
        if last_ms > REST_MS // 10:
            self._end_after(REST_MS // 10, lambda: self._reset(host, last_ms - REST_MS // 10))

    def _hand_over(self, host: Host, last_ms: int) -> None:
        del last_ms
        if host.life is not None and not host.is_paused:
            host.life.main.loop.start(host.life.hand_over())

    # --- on several -------------------------------------------------------------------------------------------------

    def _power_of_many(self, host: Host, last_ms: int) -> None:
        many = self._minority_or_all(host)
        for each in many:
            each.pull_plug()
        self._restart_after(last_ms, many)

    def _kill_many(self, host: Host, last_ms: int) -> None:
        many = self._minority_or_all(host)
        for each in many:
            each.kill()
        self._restart_after(last_ms, many)

    def _slow_disks(self, host: Host, last_ms: int) -> None:
        """Of some."""
        many = self._minority_or_all(host)
        for each in many:
            each.speed.is_stalled = True
        self._end_after(last_ms, _for_each(many, lambda each: each.speed.go_on()))

    def _power_of_slow(self, host: Host, last_ms: int) -> None:
        """The disks of some stall, then power is lost with all that waits for them; the first one stays away longest."""
        slow, dark = self._minority_or_all(host), self._minority_or_all(host)
        slow = self._random.choice((slow, slow[1:]))
        for each in slow:
            each.speed.is_stalled = True
        self._end_after(min(last_ms, 100), _for_each(dark, Host.pull_plug))
        self._end_after(min(last_ms, 100), _for_each(slow, lambda each: each.speed.go_on()))
        self._restart_after(last_ms, dark[1:])
        self._restart_after(last_ms + self._random.choice((0, REST_MS)), dark[:1])

    def _split(self, host: Host, last_ms: int) -> None:
        """In two parts, of which each sees nothing of the other."""
        before = set(self._weather.weather.cut)
        others = [each.name for each in self._hosts if each is not host]
        part = [host.name, *self._random.sample(others, len(others) // 2)]
        for name in part:
            self._weather.isolate(name, [each for each in others if each not in part])
        self._mend_after(last_ms, before)

    def _lossy(self, host: Host, last_ms: int) -> None:
        del host
        self._weather.weather.loss = self._random.choice((0.02, 0.1, 0.3))
        self._end_after(last_ms, lambda: setattr(self._weather.weather, "loss", 0.0))

    def _slow(self, host: Host, last_ms: int) -> None:
        del host
        calm = (0.1, 1.5)
        self._weather.weather.delay_ms = self._random.choice(((1.0, 20.0), (5.0, 80.0), (20.0, 400.0)))
        self._end_after(last_ms, lambda: setattr(self._weather.weather, "delay_ms", calm))


def _for_each(hosts: Sequence[Host], do: Callable[[Host], None]) -> Callable[[], None]:
    def do_all() -> None:
        for host in hosts:
            do(host)

    return do_all


_ALONE: tuple[Kind, ...] = (
    Faults._kill,  # noqa: SLF001  # the kinds, by name
    Faults._power,  # noqa: SLF001
    Faults._power_step,  # noqa: SLF001
    Faults._power_at_start,  # noqa: SLF001
    Faults._pause,  # noqa: SLF001
    Faults._stall,  # noqa: SLF001
    Faults._slow_disk,  # noqa: SLF001
    Faults._disk_error,  # noqa: SLF001
    Faults._cut,  # noqa: SLF001
    Faults._one_way,  # noqa: SLF001
    Faults._cut_pair,  # noqa: SLF001
    Faults._reset,  # noqa: SLF001
    Faults._hand_over,  # noqa: SLF001
)
_TOGETHER: tuple[Kind, ...] = (
    Faults._power_of_many,  # noqa: SLF001
    Faults._power_of_many,  # noqa: SLF001
    Faults._kill_many,  # noqa: SLF001
    Faults._slow_disks,  # noqa: SLF001
    Faults._power_of_slow,  # noqa: SLF001
    Faults._split,  # noqa: SLF001
    Faults._lossy,  # noqa: SLF001
    Faults._slow,  # noqa: SLF001
)
