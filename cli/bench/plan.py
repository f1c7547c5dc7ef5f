"""How long and how hard a scenario shall run."""

from collections.abc import Callable
from dataclasses import dataclass

from garbagetruck.cli.bench.figures import Measurement, Row
from garbagetruck.cli.bench.load import Budget

DURATION_S_DEFAULT = 5.0
WARM_UP_S = 1.0
WARM_UP_CALLS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line asked for. Without `operations` a load runs for `duration_s`."""

    operations: int | None
    duration_s: float
    say: Callable[[str], None]
    """Tells a person how far it is."""

    def say_row(self, row: Row, measured: Measurement) -> None:
        """Tell what came out, and of what kinds the errors were."""
        errors = f"; errors: {measured.errors_by_kind}" if measured.errors else ""
        self.say(f"{row.scenario}: {row.in_flight} in flight: {row.rate_per_s} a second, p99 {row.p99_ms} ms{errors}")

    def budget(self, *, units_per_call: int = 1) -> Budget:
        """For one row whose calls do `units_per_call` operations each."""
        if self.operations is not None:
            return Budget(calls_max=-(-self.operations // units_per_call))
        return Budget(duration_s=self.duration_s)

    def warm_up(self, *, units_per_call: int = 1) -> Budget:
        """What is done before, and not measured: connections, caches and the interpreter's specialised code."""
        if self.operations is not None:
            return Budget(calls_max=min(WARM_UP_CALLS_MAX, -(-self.operations // units_per_call)))
        return Budget(duration_s=WARM_UP_S)
