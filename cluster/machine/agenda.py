"""A priority queue of what has a moment: entries of one moment share its number, so that a million entries stay small.

Entries leave in the order of (moment, kind, key), like those of a heap of such tuples. A moment with one entry keeps the
bare key; one with several a heap of keys. It must not know: whether anything still waits for an entry.
"""

import heapq
from collections.abc import Sequence
from enum import IntEnum

KIND_BITS = 2


class TimerKind(IntEnum):
    """Also the order among equal deadlines: leases end before sessions, both before cleanups fall due."""

    LEASE = 0
    SESSION = 1
    CLEANUP_DUE = 2
    CLAIM = 3


TimerKey = str | tuple[str, str]
"""Keys of one kind are of one type."""
Entry = tuple[int, TimerKind, TimerKey]

_KINDS = tuple(TimerKind)


class Agenda:
    __slots__ = ("_count", "_keys", "_moments")

    def __init__(self) -> None:
        self._moments: list[int] = []
        """A heap of deadlines with their kinds in the lowest bits; each stands there once."""
        self._keys: dict[int, TimerKey | list[TimerKey]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, deadline_ms: int, kind: TimerKind, key: TimerKey) -> None:
        moment = deadline_ms << KIND_BITS | kind
        keys = self._keys.get(moment)
        if keys is None:
            self._keys[moment] = key
            heapq.heappush(self._moments, moment)
        elif isinstance(keys, list):
            heapq.heappush(keys, key)  # of one kind: all strings, or all pairs
        else:
            self._keys[moment] = [keys, key] if keys < key else [key, keys]  # type: ignore[operator]
        self._count += 1

    def push_all(self, deadline_ms: int, kind: TimerKind, keys: Sequence[TimerKey]) -> None:
        """As many times `push`, under one moment."""
        first, *others = keys
        self.push(deadline_ms, kind, first)
        if not others:
            return
        moment = deadline_ms << KIND_BITS | kind
        there = self._keys[moment]
        listed = there if isinstance(there, list) else [there]
        for key in others:
            heapq.heappush(listed, key)
        self._keys[moment] = listed
        self._count += len(others)

    def first_ms(self) -> int | None:
        """The earliest deadline, or None."""
        return self._moments[0] >> KIND_BITS if self._moments else None

    def first(self) -> Entry:
        """The earliest entry. There must be one."""
        moment = self._moments[0]
        keys = self._keys[moment]
        return moment >> KIND_BITS, _KINDS[moment & 3], keys[0] if isinstance(keys, list) else keys

    def due(self, clock_ms: int) -> Entry | None:
        """The earliest entry, if its moment is no later than `clock_ms`."""
        if not self._moments or (moment := self._moments[0]) >> KIND_BITS > clock_ms:
            return None
        keys = self._keys[moment]
        return moment >> KIND_BITS, _KINDS[moment & 3], keys[0] if isinstance(keys, list) else keys

    def pop(self) -> None:
        """Remove the earliest entry."""
        moment = self._moments[0]
        keys = self._keys[moment]
        self._count -= 1
        if isinstance(keys, list) and len(keys) > 1:
            heapq.heappop(keys)
            return
        heapq.heappop(self._moments)
        del self._keys[moment]

    def pop_any(self) -> Entry:
        """Remove an entry that costs nothing to remove. There must be one."""
        moment = self._moments[-1]  # a heap without its last entry is still a heap
        keys = self._keys[moment]
        self._count -= 1
        key = keys.pop() if isinstance(keys, list) else keys
        if not isinstance(keys, list) or not keys:
            self._moments.pop()
            del self._keys[moment]
        return moment >> KIND_BITS, _KINDS[moment & 3], key

    def entries(self) -> list[Entry]:
        """All of them, in no order."""
        found: list[Entry] = []
        for moment, keys in self._keys.items():
            listed = keys if isinstance(keys, list) else [keys]
            found += [(moment >> KIND_BITS, _KINDS[moment & 3], key) for key in listed]
        return found
