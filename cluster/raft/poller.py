"""What pysyncobj takes for its poller, which would wait for sockets: it has none.

Duty: wait for nothing. Invariants: the event loop of the Raft thread is never held up by pysyncobj. Threads: the Raft thread only.
"""

from pysyncobj.poller import Poller


class NoPoller(Poller):  # type: ignore[misc]  # pysyncobj is published without annotations
    """Waits for nothing: this thread's own event loop does, and ticks pysyncobj when there is something to do."""

    def poll(self, timeout: float) -> None:
        assert timeout == 0.0, "pysyncobj must never sleep on the event loop's thread"
