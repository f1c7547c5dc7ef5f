"""Everything outside the process's own memory, as far as a node uses it.

Duty: one value that the process's entry makes and the composition root hands out: clocks, randomness, threads, variables,
and the way to die. Must not know: what the parts do with it.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.raft.disk import REAL_DISK, Disk


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where a process reads the time, in nanoseconds. May be called from any thread."""

    monotonic_ns: Callable[[], int]
    boottime_ns: Callable[[], int]
    """Monotonic, and counts suspend."""
    wall_ns: Callable[[], int]
    """Since 1970. For people, and for retention by age: nothing in the cluster is decided by it."""


SYSTEM_CLOCKS = Clocks(
    monotonic_ns=time.monotonic_ns,
    boottime_ns=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    wall_ns=time.time_ns,
)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the process's own memory, as far as a node uses it."""

    monotonic_ns: Callable[[], int]
    boottime_ns: Callable[[], int]
    """Monotonic, and counts suspend: for deadlines of effects outside the cluster."""
    random: random.Random
    """A `random.SystemRandom`: lease ids are drawn from it."""
    make_thread: Callable[[Callable[[], None], str], threading.Thread]
    run_blocking: RunBlocking
    snapshot_executor: Executor
    """Of one thread: writes, reads and decodes snapshots."""
    storage_executor: Executor
    """Reads and writes what is kept outside the nodes: it may be stuck for long, and nothing else waits for it."""
    environ: Mapping[str, str]
    on_fatal: Callable[[BaseException], None]
    """Ends the process, promptly and with a failure."""
    disk: Disk = REAL_DISK
    """Where the log and its snapshots lie. No setting names another one: only who starts the process can."""
    wall_ns: Callable[[], int] = SYSTEM_CLOCKS.wall_ns
    """See `Clocks`."""
