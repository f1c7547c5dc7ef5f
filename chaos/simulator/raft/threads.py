"""The threads of a simulated node: its Raft loop, its journal's writer and the executor of its snapshots.

Duty: do on the world's time, one thing after the other, what threads do in production.

Must not know: what they work for, who pulls the plug.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, cast

from typing_extensions import override

from garbagetruck.chaos.simulator.disk import PowerLoss
from garbagetruck.chaos.simulator.world import NS_PER_MS, Chance, Process, ProcessClock, World
from garbagetruck.cluster.raft.errors import DiskFailed
from garbagetruck.cluster.raft.journal.writer import JournalWriter

CHORES_NS = 500 * NS_PER_MS
"""How often the writer looks for what is no writing: measuring, deleting."""

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class DiskSpeed:
    """How long the disk takes. A stalled one does nothing until it goes on."""

    def __init__(self, world: World, chance: Chance) -> None:
        self._world = world
        self._chance = chance
        self._waiting: list[tuple[Process, Callable[[], object]]] = []
        self.is_stalled = False
        self.delay_ms = (0.1, 1.0)

    def after_a_while(self, process: Process, do: Callable[[], object]) -> None:
        """Call `do`, off the process's loops, when the disk has got to it."""

        def done() -> None:
            if self.is_stalled:
                self._waiting.append((process, do))
            else:
                do()

        process.post(int(self._chance.uniform(*self.delay_ms) * NS_PER_MS), done)

    def go_on(self) -> None:
        self.is_stalled = False
        waiting, self._waiting = self._waiting, []
        for process, do in waiting:
            process.post(0, do)

    def forget(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()


class NodeThread(Process):
    """A thread with a loop: the main one, or the Raft thread. `on_turned` is called after each of its turns."""

    def __init__(self, world: World, name: str, clock: ProcessClock) -> None:
        super().__init__(world, name, clock)
        self.on_turned: Callable[[], None] = lambda: None

    @override
    def turn(self) -> None:
        super().turn()
        self.on_turned()

    @override
    def _error(self, message: str, error: BaseException | None) -> None:
        if not isinstance(error, PowerLoss):
            super()._error(message, error)


class HandOffDelay:
    """What one thread tells another is heard a little later, in the same order; the less often the longer."""

    def __init__(self, listener: Process, delay_ms: tuple[float, float], chance: Chance) -> None:
        self._listener = listener
        self._delay_ms = delay_ms
        self._chance = chance
        self._last_ns = 0

    def __call__(self, tell: Callable[[], None]) -> None:
        low, high = self._delay_ms
        if not high:
            tell()
            return
        now_ns = self._listener.world.now_ns
        at_ns = now_ns + int((low + (high - low) * self._chance.random() ** 4) * NS_PER_MS)
        self._last_ns = max(at_ns, self._last_ns + 1)
        self._listener.post(self._last_ns - now_ns, tell)


class StartedLoop:
    """Stands for a thread that runs a loop: that loop is the world's, and the function only starts something on it."""

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start

    def start(self) -> None:
        self._start()

    def join(self) -> None:
        """The loop has ended by then."""


class WriterThread:
    """Stands for the thread of a journal's writer."""

    def __init__(self, process: NodeThread, speed: DiskSpeed, writer: JournalWriter) -> None:
        self._process = process
        self._speed = speed
        self._writer = writer
        self._busy = False
        self._ended = False

    def start(self) -> None:
        self._process.on_turned = self._look
        self._process.post(0, self._do_chores)

    def join(self) -> None:
        self._ended = True

    @property
    def has_work(self) -> bool:
        return not self._ended and self._writer.put_count > self._writer.durable

    def _look(self) -> None:
        if self.has_work and not self._busy:
            self._busy = True
            self._speed.after_a_while(self._process, self._write)

    def _write(self) -> None:
        self._busy = False
        self.write()
        self._look()

    def write(self) -> None:
        """What the thread does in one go."""
        if self._ended:
            return
        try:
            self._writer.write_waiting()
        except (DiskFailed, PowerLoss):
            self._ended = True  # the writer keeps it as its `failure`, and the Raft thread raises it

    def _do_chores(self) -> None:
        if not self._ended:
            if not self._busy:
                self._busy = True
                self._speed.after_a_while(self._process, self._write)
            self._process.post(CHORES_NS, self._do_chores)


def as_thread(stand_in: StartedLoop | WriterThread) -> threading.Thread:
    """What is used of a thread is there: `start` and `join`."""
    return cast("threading.Thread", stand_in)


class DiskExecutor(Executor):
    """Stands for the thread that writes and reads snapshots."""

    def __init__(self, process: Process, speed: DiskSpeed) -> None:
        self._process = process
        self._speed = speed
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    @override
    def submit(self, fn: Callable[P, ResultT], /, *args: P.args, **kwargs: P.kwargs) -> "Future[ResultT]":
        future: Future[ResultT] = Future()
        self._jobs.append((lambda: fn(*args, **kwargs), future))
        if len(self._jobs) == 1:
            self._speed.after_a_while(self._process, self._work)
        return future

    def _work(self) -> None:
        self.work()
        if self._jobs:
            self._speed.after_a_while(self._process, self._work)

    @property
    def has_work(self) -> bool:
        return bool(self._jobs)

    def work(self) -> None:
        """Do the next job."""
        job, future = self._jobs.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = job()
        except BaseException as error:  # noqa: BLE001  # as the executors of the standard library
            future.set_exception(error)
        else:
            future.set_result(result)
