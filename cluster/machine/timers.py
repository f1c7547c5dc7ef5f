"""What falls due when. Derived from the tables, never part of a snapshot.

An extension of a deadline touches nothing here: the entry stays where it was and is put back when it surfaces.
So a renewal costs no timer work. The order in which things *fall due* is (deadline, kind, key) whatever the entries
looked like before: an entry surfaces no later than its thing's deadline, and is put back at that deadline before
anything later can surface. Nodes whose entries differ therefore still agree.

Entries of what is over stay until they surface, which for a lease of 30 days takes 30 days. `tidy` keeps their number
in proportion to what lives, a bounded part at a time.
"""

import heapq
from collections.abc import Callable
from enum import IntEnum

TIDY_MIN = 10_000
"""So many dead entries are nobody's concern."""
TIDY_STEP = 500


class TimerKind(IntEnum):
    """Also the order among equal deadlines: leases end before sessions, both before cleanups fall due."""

    LEASE = 1
    SESSION = 2
    CLEANUP_DUE = 3
    CLAIM = 4


TimerKey = str | tuple[str, str]
Entry = tuple[int, TimerKind, TimerKey]

Deadline = Callable[[TimerKind, TimerKey], int | None]
"""The first stamp at which a thing is due, in cluster milliseconds, or None when it needs no timer any more."""


class Timers:
    """`deadline_of` tells the truth that the entries only point at."""

    __slots__ = ("_added", "_deadline_of", "_heap", "_moved", "_old")

    def __init__(self, deadline_of: Deadline) -> None:
        self._deadline_of = deadline_of
        self._heap: list[Entry] = []
        self._old: list[Entry] = []
        """The heap that is being tidied up: entries leave it for `_heap`, none come."""
        self._moved: dict[int, set[TimerKey]] = {}
        """What `_heap` has an entry for since the tidying began, so that a second one from `_old` is not needed."""
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._old)

    def schedule(self, deadline_ms: int, kind: TimerKind, key: TimerKey) -> None:
        """Needed when a thing is new, or its deadline moved earlier."""
        heapq.heappush(self._heap, (deadline_ms, kind, key))
        self._added += 1

    def next_due(self, clock_ms: int) -> tuple[TimerKind, TimerKey] | None:
        """The next thing that is due at `clock_ms`, None when there is none.

        Puts entries back whose deadline moved. What is next stays next until it is taken.
        """
        while heap := self._first():
            scheduled_ms, kind, key = heap[0]
            if scheduled_ms > clock_ms:
                break
            deadline_ms = self._deadline_of(kind, key)
            if deadline_ms == scheduled_ms:
                return kind, key
            if deadline_ms is None or deadline_ms < scheduled_ms:  # if earlier, another entry stands there
                heapq.heappop(heap)
            elif heap is self._heap:
                heapq.heapreplace(heap, (deadline_ms, kind, key))
            else:
                heapq.heappop(heap)
                heapq.heappush(self._heap, (deadline_ms, kind, key))
        return None

    def take(self) -> None:
        """Remove what `next_due` told."""
        heapq.heappop(self._first())

    def earliest_ms(self) -> int | None:
        """No later than the first stamp at which something is due; None when nothing waits."""
        heap = self._first()
        return heap[0][0] if heap else None

    def tidy(self, living: int) -> None:
        """Drop entries of what is over, once they outnumber the `living` things. Costs what was added lately."""
        step, self._added = TIDY_STEP + 2 * self._added, 0
        if not self._old:
            self._moved = {kind: set() for kind in TimerKind}
            if len(self._heap) <= 2 * living + TIDY_MIN:
                return
            self._old, self._heap = self._heap, []
        for _ in range(min(step, len(self._old))):
            scheduled_ms, kind, key = self._old.pop()  # a heap without its last entry is still a heap
            deadline_ms = self._deadline_of(kind, key)
            if deadline_ms is not None and deadline_ms >= scheduled_ms and key not in self._moved[kind]:
                self._moved[kind].add(key)
                heapq.heappush(self._heap, (deadline_ms, kind, key))

    def _first(self) -> list[Entry]:
        """The heap whose first entry is the earlier one."""
        if not self._old:
            return self._heap
        return self._old if not self._heap or self._old[0] < self._heap[0] else self._heap
