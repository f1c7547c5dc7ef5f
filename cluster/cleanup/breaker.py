"""When a handler fails so often that it is likelier to be broken than that its cleanups are.

Duty: count how attempts end, for each handler, and tell when its breaker should open. What an open breaker does is decided by
the replicated state: this only looks.

Invariants: bounded memory for each registered handler. Only what speaks of the handler counts: a success, and a failure that
may be repeated (timeouts and failed observations included); not what it refused for good, nor what was cancelled. What was
counted in an earlier leadership is forgotten: an outage goes on without it, and is seen again after a few attempts.
Must not know: how a breaker is opened.
"""

from collections import deque
from collections.abc import Callable

from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.cleanup.settings import BreakerSettings

ATTEMPTS_MAX = 1_000
"""Of more attempts in a window, the latest count."""
NS_PER_MS = 1_000_000
_FAILED = {AttemptEnd.DONE: False, AttemptEnd.ALREADY_GONE: False, AttemptEnd.FAILED: True}


class FailureWatch:
    """Runs on the executor's loop."""

    def __init__(self, settings: BreakerSettings, monotonic_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._ends: dict[str, deque[tuple[int, bool]]] = {}
        """Handler -> (when, whether it failed), the oldest first."""

    def ended(self, handler: str, end: AttemptEnd) -> None:
        """An attempt of a registered handler ended."""
        failed = _FAILED.get(end)
        if failed is not None:
            self._ends.setdefault(handler, deque(maxlen=ATTEMPTS_MAX)).append((self._monotonic_ns(), failed))

    def verdict(self, handler: str) -> str | None:
        """Why the handler's breaker should open, as a clause; None when it should not."""
        settings, ends = self._settings, self._ends.get(handler)
        if not settings.failures_min or not ends:
            return None
        oldest_ns = self._monotonic_ns() - settings.window_ms * NS_PER_MS
        while ends and ends[0][0] < oldest_ns:
            ends.popleft()
        failures = sum(failed for _, failed in ends)
        if failures < settings.failures_min or failures <= settings.share * len(ends):
            return None
        return f"{failures} of {len(ends)} attempts within {settings.window_ms} ms failed"

    def forget(self, handler: str | None = None) -> None:
        """Count anew: one handler's attempts, or all."""
        if handler is None:
            self._ends.clear()
        else:
            self._ends.pop(handler, None)
