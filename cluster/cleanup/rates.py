"""How often attempts of each handler may begin.

Duty: a token bucket for each handler that has a rate.
Invariant: in no stretch of time do more attempts begin than the rate gives for it and one burst; what was not used is kept
up to a burst, and no further.
Must not know: what begins.

It is the generic cell rate algorithm: a bucket is one moment, that at which it would be full again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ATTEMPTS_MAX = 1_000_000
PERIOD_MS_MAX = 3_600_000
BURST_MAX = 100_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many attempts in so long. Raises `ValueError` out of bounds."""

    attempts: int
    period_ms: int
    burst: int
    """How many may begin at once after a quiet time."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("attempts", self.attempts, ATTEMPTS_MAX),
            ("period_ms", self.period_ms, PERIOD_MS_MAX),
            ("burst", self.burst, BURST_MAX),
        ):
            if not 1 <= value <= most:
                message = f"{name} is {value}; it must be from 1 to {most}"
                raise ValueError(message)

    @property
    def apart_ns(self) -> int:
        """From one attempt to the next, when they come evenly."""
        return max(1, self.period_ms * NS_PER_MS // self.attempts)


class Rates:
    """The buckets of all handlers, full at first. A handler without a rate may always begin."""

    def __init__(self, rates: Mapping[str, Rate | None], monotonic_ns: Callable[[], int]) -> None:
        self._rates = {name: rate for name, rate in rates.items() if rate is not None}
        self._monotonic_ns = monotonic_ns
        self._full_ns: dict[str, int] = {}

    def spent(self) -> set[str]:
        """The handlers of which no attempt may begin now."""
        now_ns = self._monotonic_ns()
        return {name for name in self._rates if self._wait_ns(name, now_ns) > 0}

    def may(self, handler: str) -> bool:
        """Whether one of this handler may begin now."""
        return handler not in self._rates or self._wait_ns(handler, self._monotonic_ns()) <= 0

    def take(self, handler: str) -> None:
        """One begins, which may."""
        rate = self._rates.get(handler)
        if rate is not None:
            now_ns = self._monotonic_ns()
            assert self._wait_ns(handler, now_ns) <= 0, "it may begin"
            self._full_ns[handler] = max(self._full_ns.get(handler, now_ns), now_ns) + rate.apart_ns

    def wait_s(self) -> float | None:
        """Until the first of the handlers that may not begin now may; None when all may."""
        now_ns = self._monotonic_ns()
        waits = [wait_ns for name in self._rates if (wait_ns := self._wait_ns(name, now_ns)) > 0]
        return min(waits) / NS_PER_S if waits else None

    def _wait_ns(self, handler: str, now_ns: int) -> int:
        rate = self._rates[handler]
        full_ns = self._full_ns.get(handler, now_ns)
        return full_ns - now_ns - (rate.burst - 1) * rate.apart_ns
