"""What falls due when. Derived from the tables, never part of a snapshot.

An extension of a deadline touches nothing here: the entry stays where it was and is put back when it surfaces.
So a renewal costs no timer work, and each thing has few entries. The order in which things *fall due* is (deadline,
kind, key) whatever the entries looked like before: an entry surfaces no later than its thing's deadline, and is put
back at that deadline before anything later can surface. Nodes whose entries differ therefore still agree.
"""

import heapq
from collections.abc import Callable
from enum import IntEnum

TimerKey = str | tuple[str, str]


class TimerKind(IntEnum):
    """Also the order among equal deadlines: leases end before sessions, both before cleanups fall due."""

    LEASE = 1
    SESSION = 2
    CLEANUP_DUE = 3
    CLAIM = 4


Deadline = Callable[[TimerKind, TimerKey], int | None]
"""The present deadline of a thing in cluster milliseconds, or None when it needs no timer any more."""


class Timers:
    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TimerKey]] = []

    def schedule(self, deadline_ms: int, kind: TimerKind, key: TimerKey) -> None:
        """Needed when a thing is new, or its deadline moved earlier."""
        heapq.heappush(self._heap, (deadline_ms, int(kind), key))

    def next_due(self, clock_ms: int, deadline_of: Deadline) -> tuple[TimerKind, TimerKey] | None:
        """The next thing whose deadline is at or before `clock_ms`, None when there is none.

        Puts entries back whose deadline moved. What is next stays next until it is taken.
        """
        heap = self._heap
        while heap and heap[0][0] <= clock_ms:
            scheduled_ms, kind, key = heap[0]
            deadline_ms = deadline_of(TimerKind(kind), key)
            if deadline_ms == scheduled_ms:
                return TimerKind(kind), key
            if deadline_ms is None or deadline_ms < scheduled_ms:
                heapq.heappop(heap)  # over, or another entry stands at the earlier deadline
            else:
                heapq.heapreplace(heap, (deadline_ms, kind, key))
        return None

    def take(self) -> None:
        """Remove what `next_due` told."""
        heapq.heappop(self._heap)

    def earliest_ms(self) -> int | None:
        """No later than the earliest deadline; None when nothing waits."""
        return self._heap[0][0] if self._heap else None
