"""How far what is committed has been archived, and how old the rest is.

Duty: the lag, by this node's own clock, from what it applied and what it was told is archived.
Invariants: bounded memory: of a long outage the beginning is remembered exactly, and its end. Asking changes nothing.
Must not know: who archives.
"""

from collections import deque

SAMPLES_MAX = 512
_NS_PER_S = 1_000_000_000


class ArchiveProgress:
    """Runs on the node's main loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque()
        """(applied index, when this node saw it applied), rising; of what is not archived."""
        self.archived_index = 0
        """The end of the archive, as this node last heard; it falls when another incarnation begins."""
        self.failure = ""
        """Why nothing can be archived at present, as a clause; empty when it can."""

    def applied(self, index: int, now_ns: int) -> None:
        """Everything up to `index` is applied here."""
        waiting = self._waiting
        if index <= (waiting[-1][0] if waiting else self.archived_index):
            return
        if len(waiting) >= SAMPLES_MAX:
            waiting.pop()  # the oldest count; what lies between them and now is rounded up
        waiting.append((index, now_ns))

    def archived(self, index: int) -> None:
        """Everything up to `index` is archived."""
        self.archived_index = index
        while self._waiting and self._waiting[0][0] <= index:
            self._waiting.popleft()

    def lag_s(self, now_ns: int) -> float:
        """How long the first entry that is not archived has been applied here, as far as that was seen; 0 without one."""
        return (now_ns - self._waiting[0][1]) / _NS_PER_S if self._waiting else 0.0
