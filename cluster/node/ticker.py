"""When the leader writes the time to the log though nobody asked for anything.

Duty: once every `tick_ms` when idle; when the cluster clock reaches the machine's next deadline; at once, batch after
batch, while a sweep is behind. A tick is a wish put to the commit queue: operations that wait share its batch.
Invariant: no tick while a stamp is in flight that already does its work, so that a slow log is never flooded.
Must not know: what falls due.
"""

import asyncio

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.fatal import OnFatal, or_die

DEADLINE_TICK_MS_MIN = 20
"""Deadlines closer together than this share one entry: it bounds both the log's growth and an end's lateness."""


class Ticker:
    """Runs on the node's main loop, between `start` and `stop`; the clock leads and the queue is open all that time."""

    def __init__(
        self, *, machine: Machine, clock: ClusterClock, queue: CommitQueue, tick_ms: int, on_fatal: OnFatal
    ) -> None:
        self._machine = machine
        self._clock = clock
        self._queue = queue
        self._tick_ms = tick_ms
        self._running = False
        self._plan_or_die = or_die(self.plan, on_fatal)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._running = True
        self.plan()

    def stop(self) -> None:
        """Idempotent."""
        self._running = False
        self._disarm()

    def plan(self) -> None:
        """Look again: entries were applied, or the clock was credited."""
        if not self._running:
            return
        self._disarm()
        due_ms = self._due_ms()
        stamped_ms = self._queue.stamped_ms()
        if stamped_ms is not None and stamped_ms >= due_ms:
            return  # its batch does the work, and when that is applied there is another look
        now_ms = self._clock.now_ms()
        if now_ms >= due_ms:
            self._queue.tick()
        elif not self._clock.standing():
            delay_s = (due_ms - now_ms) / 1_000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._plan_or_die)

    def _due_ms(self) -> int:
        machine = self._machine
        clock_ms = machine.clock_ms
        deadline_ms = machine.next_deadline_ms()
        if deadline_ms is None:
            return clock_ms + self._tick_ms
        if deadline_ms <= clock_ms and machine.sweep_backlog():
            return clock_ms
        return min(clock_ms + self._tick_ms, max(deadline_ms, clock_ms + DEADLINE_TICK_MS_MIN))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
