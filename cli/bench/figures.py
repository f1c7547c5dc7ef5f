"""From samples to the rows that `garbagetruck bench` prints. Pure.

Invariants: a percentile is one of the samples, taken from all of them, never a mean of percentiles; a figure that
nobody measured is None, never 0; failures are counted beside the samples and are never among them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Measurement:
    """What one run of a load gave."""

    latencies_ns: list[int] = field(default_factory=list)
    """One for each call that succeeded, from sending it to having its answer."""
    errors: int = 0
    """Calls and items that failed, whatever the reason."""
    failed_calls: int = 0
    """Calls among them."""
    errors_by_kind: dict[str, int] = field(default_factory=dict)
    elapsed_ns: int = 0
    """From the first call to the last answer."""
    client_cpu_s: float | None = None
    """Processor time of this process meanwhile."""
    server_cpu_s: float | None = None
    """Processor time of all nodes meanwhile. None where they are not processes of this machine."""

    @property
    def calls(self) -> int:
        """How many calls were made, those that failed included."""
        return len(self.latencies_ns) + self.failed_calls

    def count_failure(self, kind: str) -> None:
        """A call that failed as a whole."""
        self.failed_calls += 1
        self.count_error(kind)

    def count_error(self, kind: str, number: int = 1) -> None:
        self.errors += number
        self.errors_by_kind[kind] = self.errors_by_kind.get(kind, 0) + number


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the result. `more` holds a scenario's own figures, by the name they are printed under."""

    scenario: str
    target: str
    in_flight: int
    operations: int
    rate_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    client_cpu_s: float | None
    server_cpu_s: float | None
    errors: int
    more: Mapping[str, object] = field(default_factory=dict)

    def with_rate(self, operations: int, elapsed_ns: int, more: Mapping[str, object]) -> Self:
        """The same with the rate of something else than its calls, and with the scenario's own figures."""
        return replace(self, rate_per_s=rate_per_s(operations, elapsed_ns), more=more)

    def with_operations(self, operations: int, elapsed_ns: int, more: Mapping[str, object]) -> Self:
        """The same with other operations than its calls, and with the scenario's own figures."""
        return replace(self.with_rate(operations, elapsed_ns, more), operations=operations)

    def fields(self) -> dict[str, object]:
        """As JSON: the ten names that every row has, in their order, then the scenario's own."""
        return {
            "scenario": self.scenario,
            "target": self.target,
            "in_flight": self.in_flight,
            "operations": self.operations,
            "rate_per_s": self.rate_per_s,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "client_cpu_s": self.client_cpu_s,
            "server_cpu_s": self.server_cpu_s,
            "errors": self.errors,
            **self.more,
        }


def percentile(samples: Sequence[int], share: float) -> int | None:
    """The smallest sample that at least `share` of all samples do not exceed (nearest rank); None without samples."""
    if not 0 < share <= 1:
        message = f"a share is above 0 and at most 1, not {share}"
        raise ValueError(message)
    if not samples:
        return None
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


def rate_per_s(operations: int, elapsed_ns: int) -> float | None:
    """None when no time passed."""
    return round(operations * NS_PER_S / elapsed_ns, 1) if elapsed_ns > 0 else None


def milliseconds(nanoseconds: int | None) -> float | None:
    """Rounded to microseconds: finer than a loaded machine can tell."""
    return None if nanoseconds is None else round(nanoseconds / NS_PER_MS, 3)


def seconds(value: float | None) -> float | None:
    """Processor seconds, as fine as the kernel counts them."""
    return None if value is None else round(value, 2)


def row(
    scenario: str,
    in_flight: int,
    measured: Measurement,
    *,
    units_per_call: int = 1,
    target: str = "self",
    more: Mapping[str, object] | None = None,
) -> Row:
    """The row of a load whose calls do `units_per_call` operations each; percentiles are per call."""
    operations = len(measured.latencies_ns) * units_per_call
    return Row(
        scenario=scenario,
        target=target,
        in_flight=in_flight,
        operations=operations,
        rate_per_s=rate_per_s(operations, measured.elapsed_ns),
        p50_ms=milliseconds(percentile(measured.latencies_ns, 0.50)),
        p99_ms=milliseconds(percentile(measured.latencies_ns, 0.99)),
        client_cpu_s=seconds(measured.client_cpu_s),
        server_cpu_s=seconds(measured.server_cpu_s),
        errors=measured.errors,
        more=more or {},
    )
