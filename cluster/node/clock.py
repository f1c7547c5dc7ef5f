"""Cluster time as the leader keeps it: milliseconds of *available* time (DESIGN section 4).

    clock(now) = credited + min((now - credited_at) * (1 - drift), step)

A credit moves `credited` up to the clock of that moment. It is earned by a probe that was sent after the previous
credit, along the way of a renewal, and came back with a majority's echo. So while renewals do not get through (no
majority, a full queue, a stopped process) the clock stands still within one step, and however late a probe comes back
it grants no more than one step.

Invariants (I7): between any two reads the clock advances by no more than the time that passed, less the drift
assumed; it never goes back while it leads. Reads are cut to whole milliseconds, so that two reads may differ by less
than one millisecond more than the time between them: whoever grants a span from one stamp and ends it by another
leaves that millisecond to the holder.

Must not know: the loop, the queue, the log. It starts nothing and waits for nothing.
"""

from collections.abc import Callable

NS_PER_MS = 1_000_000
PPM = 1_000_000


class NotLeadingError(AssertionError):
    """The clock was read or credited while it does not lead: a bug of the caller."""


class ClusterClock:
    """One node's cluster clock. Runs on the node's main loop.

    `monotonic_ns` is read afresh at every call: a cached time would be early after a pause (a stamp from before it).
    `step_ms` bounds what one credit grants; `drift_ppm` is how fast this machine's oscillator may be.
    """

    def __init__(self, *, monotonic_ns: Callable[[], int], step_ms: int, drift_ppm: int) -> None:
        assert step_ms > 0
        assert 0 <= drift_ppm < PPM
        self._monotonic_ns = monotonic_ns
        self._step_ns = step_ms * NS_PER_MS
        self._rate_ppm = PPM - drift_ppm
        self._leading = False
        self._credited_ns = 0
        self._credited_at_ns = 0

    @property
    def leading(self) -> bool:
        return self._leading

    def lead(self, clock_ms: int) -> None:
        """Begin at `clock_ms`, the replicated clock when this leader's own epoch entry was applied."""
        assert not self._leading, "a clock leads one epoch at a time"
        self._leading = True
        self._credited_ns = clock_ms * NS_PER_MS
        self._credited_at_ns = self._monotonic_ns()

    def stop(self) -> None:
        """Stop leading. Idempotent."""
        self._leading = False

    def now_ms(self) -> int:
        """Cluster time now, in whole milliseconds. Raises `NotLeadingError`."""
        return self._now_ns(self._monotonic_ns()) // NS_PER_MS

    def standing(self) -> bool:
        """Whether the clock has used up its credit and waits for the next. Raises `NotLeadingError`."""
        now_ns = self._monotonic_ns()
        return self._now_ns(now_ns) >= self._credited_ns + self._step_ns

    def uncredited_ms(self) -> int:
        """How long ago a majority last proved that this node leads, in milliseconds. Raises `NotLeadingError`."""
        now_ns = self._monotonic_ns()
        self._now_ns(now_ns)
        return (now_ns - self._credited_at_ns) // NS_PER_MS

    def credit(self, sent_ns: int) -> bool:
        """Take up a probe that came back; `sent_ns` is `monotonic_ns` when it was sent.

        False, and nothing changes, when it was sent before the last credit. Raises `NotLeadingError`.
        """
        now_ns = self._monotonic_ns()
        clock_ns = self._now_ns(now_ns)
        if sent_ns < self._credited_at_ns:
            return False
        self._credited_ns = clock_ns
        self._credited_at_ns = now_ns
        return True

    def _now_ns(self, now_ns: int) -> int:
        if not self._leading:
            raise NotLeadingError("the cluster clock was used while this node does not lead")
        elapsed_ns = (now_ns - self._credited_at_ns) * self._rate_ppm // PPM
        return self._credited_ns + min(elapsed_ns, self._step_ns)
