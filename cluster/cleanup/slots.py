"""The executor's slots: how many attempts may run at once, over all and for each handler.

Duty: count them, and share them out so that a slow handler delays only its own cleanups.
Invariants: neither count ever exceeds its bound. Without bounds of their own, handlers have equal shares that add up to
no more than all slots (as far as there are slots for all), so none can take another's. Where bounds add up to more, a slot is
kept for each handler that has none in use, up to a quarter of all: whoever has several never takes the last ones.
Must not know: what occupies a slot.
"""

from collections.abc import Mapping

KEPT_SHARE = 4
"""One of so many slots is kept for handlers that have none in use."""


class Slots:
    """Counts slots in use. `handlers_max` holds each handler's own bound, None for an equal share."""

    def __init__(self, slots_max: int, handlers_max: Mapping[str, int | None]) -> None:
        share = max(1, slots_max // max(1, len(handlers_max)))
        self._free = slots_max
        self._kept_max = slots_max // KEPT_SHARE
        self._handlers_max = {name: min(slots_max, bound or share) for name, bound in handlers_max.items()}
        self._in_use = dict.fromkeys(handlers_max, 0)
        self._idle = len(handlers_max)
        """How many handlers have no slot in use."""

    @property
    def free(self) -> int:
        """How many more attempts may start, of whatever handler."""
        return self._free

    def in_use(self, handler: str) -> int:
        """How many slots a handler occupies."""
        return self._in_use[handler]

    def has_room(self, handler: str) -> bool:
        """Whether the handler may start one more attempt."""
        used = self._in_use[handler]
        kept = min(self._idle, self._kept_max) if used else 0
        return self._free > kept and used < self._handlers_max[handler]

    def take(self, handler: str) -> bool:
        """Occupy a slot; False, and nothing changed, when there is none for this handler."""
        if not self.has_room(handler):
            return False
        self._free -= 1
        self._idle -= not self._in_use[handler]
        self._in_use[handler] += 1
        return True

    def give_back(self, handler: str) -> None:
        """Free a slot that was taken."""
        assert self._in_use[handler] > 0, "only what was taken is given back"
        self._free += 1
        self._in_use[handler] -= 1
        self._idle += not self._in_use[handler]
