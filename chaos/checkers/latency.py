"""How long acquires took: what a client notices of a fault that is none of its own.

Duty: quantiles of a span of time, and whether two of them differ by more than the machine's own noise.
Invariants: an acquire that failed counts with the time that it took; only a refusal, which is an answer, is left out with
those that were not over.
Must not know: why they took that long.
"""

from dataclasses import dataclass

from garbagetruck.chaos.history import NS_PER_MS, Attempt, History, Outcome, Verb

SAMPLES_MIN = 20
"""Fewer show nothing."""
BUSY_MS_MAX = 300.0
"""A machine on which one in a hundred acquires takes longer while nothing is broken shows nothing of a fault."""
NOISE_FACTOR = 2.0
NOISE_MS = {50: 10.0, 99: 400.0}
"""By quantile. What one waits for who waits for PostgreSQL is a statement at least: half a second where it is slow."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the acquires of some span."""

    samples: int
    failed: int
    p50_ms: float
    p99_ms: float

    @property
    def told(self) -> str:
        failed = f", of which {self.failed} failed" if self.failed else ""
        return f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms of {self.samples}{failed}"

    @property
    def calm(self) -> bool:
        """Whether something can be compared with it."""
        return self.samples >= SAMPLES_MIN and not self.failed and self.p99_ms <= BUSY_MS_MAX

    def within_noise_of(self, *calm: "Latency") -> bool:
        """Whether no quantile is more than twice the greatest of the calm ones and a constant, and every span says something."""
        if any(each.samples < SAMPLES_MIN for each in (self, *calm)):
            return False
        p50_ms_max = NOISE_FACTOR * max(each.p50_ms for each in calm) + NOISE_MS[50]
        p99_ms_max = NOISE_FACTOR * max(each.p99_ms for each in calm) + NOISE_MS[99]
        return self.p50_ms <= p50_ms_max and self.p99_ms <= p99_ms_max


def latency_of(history: History, from_ns: int, to_ns: int) -> Latency:
    """Of the acquires that were sent and over within a span."""
    over = [
        each
        for each in history.of(Attempt)
        if each.verb is Verb.ACQUIRE and from_ns <= each.sent_ns and each.ended_ns <= to_ns
    ]
    counted = [each for each in over if each.outcome is not Outcome.REFUSED]
    took_ms = sorted((each.ended_ns - each.sent_ns) / NS_PER_MS for each in counted)
    return Latency(
        samples=len(took_ms),
        failed=sum(not each.ok for each in counted),
        p50_ms=_quantile(took_ms, 50),
        p99_ms=_quantile(took_ms, 99),
    )


def _quantile(ascending: list[float], percent: int) -> float:
    """0 without any."""
    return ascending[min(len(ascending) - 1, len(ascending) * percent // 100)] if ascending else 0.0
