"""Clocks that go wrong when they are told to: what a chaos child gives its node instead of the system's.

Duty: on order, a wall clock that is off (`wall SECONDS`), or an oscillator that is fast or slow (`rate PPM`). That somebody read a
clock that was wrong is put down, one line each, as the proof.
Invariants: without an order they are the system's. As on a real machine, a wall clock jumps, forth and back; the clocks that
are monotonic only go faster or slower, and never lose what they gained.
`install` has all Python code of the process read this wall clock, whoever wrote it. What it does not reach: the timers of loops and
kernel, which only wait, and pysyncobj's own clock, which decides nothing (docs/consensus.md).
Must not know: who writes the order. Threads: any.
"""

import threading
import time
from collections.abc import Callable
from types import ModuleType

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # compiled, and in no stub

from garbagetruck.chaos.processes.orders import Orders
from garbagetruck.cluster.node.world import SYSTEM_CLOCKS, Clocks

WALL, RATE = "wall", "rate"
FOLLOWED = "followed"
"""What is put down first, when the order was read."""
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
PPM = 1_000_000
LOOK_NS = 20 * NS_PER_MS
"""How old an order may be before it is followed: clocks are read far too often to look each time."""


class Oscillator:
    """One monotonic clock, at a rate of its own."""

    def __init__(self, real_ns: Callable[[], int]) -> None:
        self._real_ns = real_ns
        self._rate_ppm = PPM
        self._since_ns = self._then_ns = real_ns()

    def read_ns(self) -> int:
        return self._then_ns + (self._real_ns() - self._since_ns) * self._rate_ppm // PPM

    def gained_ns(self) -> int:
        """By how much it is ahead of the system's."""
        return self.read_ns() - self._real_ns()

    def turn(self, off_ppm: int) -> None:
        """Go on from here, so much faster, or slower."""
        real_ns = self._real_ns()
        self._then_ns += (real_ns - self._since_ns) * self._rate_ppm // PPM
        self._since_ns, self._rate_ppm = real_ns, PPM + off_ppm


class UnreliableClocks:
    """The clocks of the system, under orders."""

    def __init__(self, orders: Orders, system: Clocks = SYSTEM_CLOCKS) -> None:
        self._orders = orders
        self._system = system
        self._monotonic = Oscillator(system.monotonic_ns)
        self._boottime = Oscillator(system.boottime_ns)
        self._lock = threading.Lock()
        self._looked_ns = system.monotonic_ns() - LOOK_NS
        self._off_ppm = 0
        self._off_ns = 0

    def clocks(self) -> Clocks:
        """For the node."""
        return Clocks(monotonic_ns=self._monotonic_ns, boottime_ns=self._boottime_ns, wall_ns=self._wall_ns)

    def install(self) -> None:
        """Put the wall clock in the place of Python's, for the whole process and for good."""
        # Of the time that a caller has left, gRPC takes one half from the system's wall clock and one from Python's: a jump
        # moves both, so that it must not move one.
        untouched = ModuleType(time.__name__)
        vars(untouched).update(vars(time))
        cygrpc.time = untouched
        time.time_ns = self._wall_ns
        time.time = lambda: self._wall_ns() / NS_PER_S

    def _monotonic_ns(self) -> int:
        with self._lock:
            self._follow()
            return self._monotonic.read_ns()

    def _boottime_ns(self) -> int:
        with self._lock:
            self._follow()
            return self._boottime.read_ns()

    def _wall_ns(self) -> int:
        with self._lock:
            self._follow()
            if self._off_ns:
                self._orders.bit(f"{WALL}: it was read {self._off_ns / NS_PER_S:g} s off")
            return self._system.wall_ns() + self._off_ns

    def _follow(self) -> None:
        now_ns = self._system.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        off_ppm = off_ns = 0
        match self._orders.words():
            case [order, seconds] if order == WALL:
                off_ns = round(float(seconds) * NS_PER_S)
            case [order, ppm] if order == RATE:
                off_ppm = int(ppm)
            case _:
                pass
        if (off_ppm, off_ns) != (self._off_ppm, self._off_ns) and (off_ppm or off_ns):
            self._orders.bit(FOLLOWED)
        elif off_ppm:
            self._orders.bit(f"{RATE}: {self._monotonic.gained_ns() / NS_PER_MS:+.3f} ms")
        if off_ppm != self._off_ppm:
            self._monotonic.turn(off_ppm)
            self._boottime.turn(off_ppm)
        self._off_ppm, self._off_ns = off_ppm, off_ns
