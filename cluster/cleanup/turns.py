"""Whose turn it is among namespaces and handlers.

Duty: order what waits, so that nobody waits for another's backlog, and a slow or failing cleanup delays only its own.

- Of one handler, the namespace that has the fewest attempts under way comes next; among equals the one whose turn was longest
  ago. So a namespace whose cleanups hang keeps what slots it has, and gets no further one before the others.
- Handlers follow each other in the same way. How many slots each may have is `slots`' business.

Invariants: what is kept grows with the namespaces that wait or run, never with the backlog. It follows from the calls alone:
no clock, no chance.
Must not know: slots, what an attempt does.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

REMEMBERED_MIN = 64
"""Turns of namespaces that neither wait nor run are forgotten once there are twice as many as of others, and this many."""


class Turns:
    """Runs on the executor's loop."""

    def __init__(self) -> None:
        self._turn = 0
        self._handlers: dict[str, int] = {}
        """Handler -> its last turn."""
        self._namespaces: dict[tuple[str, str], int] = {}
        """(handler, namespace) -> its last turn."""
        self._running: dict[tuple[str, str], int] = {}
        """(handler, namespace) -> attempts under way; none of none."""

    def handlers(self, names: Iterable[str]) -> list[str]:
        """In the order of their turns, the longest ago first."""
        return sorted(names, key=lambda name: self._handlers.get(name, 0))

    def order(self, handler: str, waiting: Mapping[str, Iterator[T]], more: Callable[[], bool]) -> Iterator[T]:
        """What waits for one handler, in turn, as long as there may be `more`.

        Whoever takes an item tells `began` before asking for the next one, or passes it over. `waiting` has what each
        namespace waits with.
        """
        self._forget(handler, waiting)
        queue = [(*self._place(handler, namespace), namespace) for namespace in waiting]
        heapq.heapify(queue)
        while queue and more():
            namespace = queue[0][-1]
            item = next(waiting[namespace], None)
            if item is None:
                heapq.heappop(queue)
                continue
            yield item
            heapq.heapreplace(queue, (*self._place(handler, namespace), namespace))

    def began(self, handler: str, namespace: str) -> None:
        """An attempt is under way."""
        key = (handler, namespace)
        self._turn += 1
        self._handlers[handler] = self._namespaces[key] = self._turn
        self._running[key] = self._running.get(key, 0) + 1

    def ended(self, handler: str, namespace: str) -> None:
        """An attempt that began is under way no more."""
        key = (handler, namespace)
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]

    def _place(self, handler: str, namespace: str) -> tuple[int, int]:
        key = (handler, namespace)
        return self._running.get(key, 0), self._namespaces.get(key, 0)

    def _forget(self, handler: str, waiting: Mapping[str, object]) -> None:
        if len(self._namespaces) <= 2 * (len(waiting) + len(self._running)) + REMEMBERED_MIN:
            return
        self._namespaces = {
            key: turn
            for key, turn in self._namespaces.items()
            if key in self._running or (key[0] == handler and key[1] in waiting)
        }
