"""The journal's writer: takes what waits, makes it durable as one group, says how far it came.

Duty: one sync for everything that came in while the one before was under way; and never a word about what is not durable.

Invariants: records become durable in the order in which they were put, so that a term and a vote are durable before any
entry that follows them. `durable` rises only after a sync returned. After a failure nothing is written any more.

Threads: `put` and what else the Raft thread calls; `run` on the writer's own thread, which is made by whoever calls
`start`. Without one, as in a simulator, `write_waiting` is called where `run` would.

Must not know: what records mean, pysyncobj.
"""

import threading
from collections.abc import Callable

from garbagetruck.cluster.raft.journal.format import Record
from garbagetruck.cluster.raft.journal.segments import Segments

GROUP_BYTES_MAX = 4 * 1024 * 1024
"""Payload in one group; more that waits becomes several, each with its sync."""

WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Payload that waits for the disk. Past it the Raft thread waits, and with it the peers that send."""

ThreadFactory = Callable[[Callable[[], None], str], threading.Thread]
"""Makes a thread that will run the function, under the name; whoever asked for it starts and joins it."""


class JournalWriter:
    """`on_progress` is called, on the writer's thread, whenever `durable` has risen or `failure` was set."""

    def __init__(self, segments: Segments, *, on_progress: Callable[[], None]) -> None:
        self._segments = segments
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        self._delete_below = 0
        self._measure = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.put_count = 0
        """Records put so far; a record's number is this after it was put."""
        self.durable = 0
        """The number of the last record that is durable, with all before it."""
        self.failure: BaseException | None = None
        self.free_bytes: int | None = None
        """On the disk, as last measured; None before."""
        self.size_bytes = segments.size_bytes

    # --- the Raft thread --------------------------------------------------------------------------------------------

    def start(self, thread_factory: ThreadFactory, name: str) -> None:
        """Have `run` run on a thread of its own."""
        assert self._thread is None
        self._thread = thread_factory(self.run, name)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, end the thread, close the file. Raises what writing raised."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        try:
            if self.failure is None:
                while self.write_waiting():
                    pass
        finally:
            self._segments.close()
        self.raise_failure()

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def put(self, record: Record) -> int:
        """Have `record` written; its number. Waits while too much waits. Raises what writing raised."""
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.wait_durable(self.put_count)
        self.raise_failure()
        with self._changed:
            if not self._waiting:
                self._changed.notify_all()
            self._waiting.append(record)
            self._waiting_bytes += len(record.payload)
            self.put_count += 1
        return self.put_count

    def delete_below(self, index: int) -> None:
        """Delete, soon, whole segments that hold nothing but entries below `index`."""
        with self._changed:
            self._delete_below = max(self._delete_below, index)
            self._changed.notify_all()

    def measure_space(self) -> None:
        """Renew `free_bytes` soon."""
        with self._changed:
            self._measure = True
            self._changed.notify_all()

    def wait_durable(self, number: int) -> None:
        """Wait until record `number` is durable. Raises what writing raised."""
        while self.durable < number:
            if self._thread is None:
                self.write_waiting()
            else:
                with self._changed:
                    self._changed.wait_for(lambda: self.durable >= number or self.failure is not None)
            self.raise_failure()

    # --- the writer's thread ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Write until `stop`, or until something failed: then `failure` says what."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._has_work)
                    if self._stopping:
                        return
                self.write_waiting()
        except BaseException as error:  # noqa: BLE001  # raised on the Raft thread, which ends the process
            self._fail(error)

    def write_waiting(self) -> bool:
        """Do what waits, at most one group of it; whether there was anything. Raises DiskFailed, as `failure` is."""
        with self._changed:
            batch, delete_below, measure = self._take(), self._delete_below, self._measure
            self._delete_below, self._measure = 0, False
        try:
            if batch:
                self._segments.append(batch)
                with self._changed:
                    self.durable += len(batch)
                    self._changed.notify_all()
                self._on_progress()
            if delete_below:
                self._segments.delete_below(delete_below)
            if measure:
                self.free_bytes = self._segments.free_bytes()
            self.size_bytes = self._segments.size_bytes
        except BaseException as error:
            self._fail(error)
            raise
        return bool(batch or delete_below or measure)

    def _has_work(self) -> bool:
        return bool(self._waiting or self._delete_below or self._measure or self._stopping)

    def _take(self) -> list[Record]:
        """The beginning of what waits, as much as makes one group."""
        batch, self._waiting = self._waiting, []
        if self._waiting_bytes > GROUP_BYTES_MAX:
            taken_bytes = 0
            for count, record in enumerate(batch):
                if taken_bytes + len(record.payload) > GROUP_BYTES_MAX and count:
                    batch, self._waiting = batch[:count], batch[count:]
                    break
                taken_bytes += len(record.payload)
        self._waiting_bytes -= sum(len(record.payload) for record in batch)
        return batch

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self.failure is None:
                self.failure = error
            self._changed.notify_all()
        self._on_progress()
