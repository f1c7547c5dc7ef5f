"""The world's time, and everything that happens at a moment: one heap, one thread, one seed.

Duty: run events and the processes' loops in the order of the world's clock; keep the history.
Invariants: nothing depends on a wall clock, on hashes or on memory addresses. Every part draws from a random stream of
its own, so that one more draw in one part does not change all others.
Must not know: what the events are.
"""

import heapq
import random
from collections.abc import Callable

from garbagetruck.chaos.simulator.loops import SimulatedLoop

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
PPM = 1_000_000
TURN_NS = 20_000
"""What one turn of a loop costs."""
NEVER_NS = 1 << 62
TURNS_AT_ONCE_MAX = 200_000
"""More turns without time passing than this are an endless loop."""


class Chance(random.Random):
    """A stream of chance."""

    def happens(self, probability: float) -> bool:
        """True in that share of all cases."""
        return self.random() < probability


class ProcessClock:
    """A process's monotonic clock: off by a constant, and fast or slow by some parts per million."""

    def __init__(self, world: "World", *, offset_ns: int, drift_ppm: int) -> None:
        self._world = world
        self._offset_ns = offset_ns
        self._rate_ppm = PPM + drift_ppm

    def set_drift(self, drift_ppm: int) -> None:
        """Go faster or slower from now on, without a jump."""
        shown_ns = self.monotonic_ns()
        self._rate_ppm = PPM + drift_ppm
        self._offset_ns += shown_ns - self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return self._offset_ns + self._world.now_ns * self._rate_ppm // PPM

    def monotonic_s(self) -> float:
        return self.monotonic_ns() / NS_PER_S

    def real_ns(self, monotonic_s: float) -> int:
        """When, in the world's time, this clock shows `monotonic_s`, or a little later."""
        return int((monotonic_s * NS_PER_S - self._offset_ns) * PPM / self._rate_ppm) + 1_000


class Process:
    """Something with a loop of its own, that can be stopped, continued and killed."""

    def __init__(self, world: "World", name: str, clock: ProcessClock) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.loop = SimulatedLoop(monotonic_s=clock.monotonic_s, on_error=self._error, on_touched=self._touched)
        self.alive = True
        self.paused = False
        self.stalled = False
        self._wake_ns: int | None = None
        """When the loop has something to run; None when that has to be looked up again."""
        self._deferred: list[Callable[[], object]] = []
        world.processes.append(self)

    def post(self, delay_ns: int, action: Callable[[], object]) -> None:
        """Run `action` in this process: after a delay, and not while it is stopped."""
        self.world.after(delay_ns, lambda: self._arrive(action))

    def _arrive(self, action: Callable[[], object]) -> None:
        if not self.alive:
            return
        if self.paused:
            self.world.deferred += 1
            self._deferred.append(action)
        else:
            action()

    def wake_ns(self) -> int:
        """When, in the world's time, the loop has something to run; in the past when it is late."""
        if self._wake_ns is None:
            self._wake_ns = self._next_ns()
        return self._wake_ns

    def turn(self) -> None:
        """Run the loop once."""
        self._wake_ns = None
        self.loop.turn()
        self._wake_ns = None

    def stall(self, *, stalled: bool) -> None:
        """Hang the loop, or let it go on; the other threads of the process run in any case."""
        self.stalled = stalled
        self._wake_ns = None

    def pause(self) -> None:
        self.paused = True
        self._wake_ns = None

    def resume(self) -> None:
        """Go on; what came in meanwhile is met first, in its order."""
        self.paused = False
        self._wake_ns = None
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            self._arrive(action)

    def kill(self) -> None:
        self.alive = False
        self._deferred.clear()
        self.loop.abandon()
        self.world.processes.remove(self)
        self.world.graveyard.append(self)

    def _touched(self) -> None:
        self._wake_ns = None

    def _next_ns(self) -> int:
        if self.paused or self.stalled:
            return NEVER_NS
        if self.loop.ready():
            return self.world.now_ns
        timer_s = self.loop.next_timer_s()
        return NEVER_NS if timer_s is None else self.clock.real_ns(timer_s)

    def _error(self, message: str, error: BaseException | None) -> None:
        self.world.fail(f"{self.name}: {message}: {error!r}")


class World:
    """Time, chance and order. `failures` are violations found by whoever looks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ns = 0
        self.processes: list[Process] = []
        self.graveyard: list[Process] = []
        self.history: list[str] = []
        self.failures: list[str] = []
        self.deferred = 0
        """How often something had to wait for a stopped process."""
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._serial = 0
        self._order = self.random("order")
        self._running: Process | None = None

    def running_s(self) -> float:
        """The time on the clock of whose loop runs; between turns, when none does, the world's own."""
        return self.now_ns / NS_PER_S if self._running is None else self._running.clock.monotonic_s()

    def random(self, name: str) -> Chance:
        """A stream of chance for one part."""
        return Chance(f"{self.seed}:{name}")

    def after(self, delay_ns: int, action: Callable[[], object]) -> None:
        """Do something later, in no process."""
        assert delay_ns >= 0
        self._serial += 1
        heapq.heappush(self._events, (self.now_ns + delay_ns, self._serial, action))

    def note(self, line: str) -> None:
        """Write a line of history."""
        self.history.append(f"{self.now_ns / NS_PER_MS:.3f} {line}")

    def fail(self, violation: str) -> None:
        """Something that must not be."""
        self.note(f"VIOLATION {violation}")
        self.failures.append(f"at {self.now_ns / NS_PER_MS:.3f} ms: {violation}")

    def run_until(self, end_ns: int) -> None:
        """Let time pass until `end_ns`, or until something went wrong."""
        turns = 0
        moment_ns = self.now_ns
        while not self.failures and self._step(end_ns):
            turns += 1
            if self.now_ns - moment_ns > NS_PER_S:
                turns, moment_ns = 0, self.now_ns
            assert turns < TURNS_AT_ONCE_MAX, "something turns in circles"

    def _step(self, end_ns: int) -> bool:
        """Do what comes next: an event, or a turn of a loop, drawn by lot if several are ready. False at the end."""
        next_ns = self._events[0][0] if self._events else NEVER_NS
        ready: list[Process] = []
        for process in self.processes:
            wake_ns = max(self.now_ns, process.wake_ns())
            if wake_ns < next_ns:
                next_ns = wake_ns
                ready = [process]
            elif wake_ns == next_ns and ready:
                ready.append(process)
        if next_ns > end_ns:
            self.now_ns = end_ns
            return False
        self.now_ns = max(self.now_ns, next_ns)
        if ready:
            process = ready[0] if len(ready) == 1 else ready[self._order.randrange(len(ready))]
            self._running = process
            process.turn()
            self._running = None
            self.now_ns += TURN_NS
        else:
            _, _, action = heapq.heappop(self._events)
            action()
        return True

    def bury(self) -> None:
        """Unwind all processes: the world has ended."""
        for process in list(self.processes):
            process.kill()
        for process in self.graveyard:
            process.loop.bury()
        self._events.clear()
