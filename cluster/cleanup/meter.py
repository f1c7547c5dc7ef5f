"""What the executor tells of itself, for metrics and alerts.

Duty: name the events worth counting. `cluster.observe` implements the port; without it nothing is counted.
Invariant: handler names are those of the operator's configuration, so their number is bounded; a name that only a
client knows reaches `handler_unknown` alone.
"""

import enum
from typing import Protocol

from typing_extensions import override


class AttemptEnd(enum.Enum):
    """How an attempt ended, as a label."""

    DONE = "done"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"
    FAILED_FOR_GOOD = "failed_for_good"
    NOT_ATTEMPTED = "not_attempted"
    CANCELLED = "cancelled"
    """Leadership was lost, or the node is stopping: nothing was reported."""


class CleanupMeter(Protocol):
    """Where the executor counts. Methods are called on the main loop; they must not block or raise."""

    def slots_in_use(self, handler: str, slots: int) -> None:
        """A gauge: how many slots the handler's attempts occupy now."""

    def claim_refused(self, handler: str, reason: str) -> None:
        """A claim was proposed and refused, or not applied. `reason` is one of `outcomes.Reason`, or the error."""

    def attempt_ended(self, handler: str, end: AttemptEnd, duration_s: float) -> None:
        """A granted claim's attempt ended; `duration_s` counts from its handler's start."""

    def reclaimed(self, handler: str, lateness_s: float) -> None:
        """A cleanup was reported done: `lateness_s` after it, or this attempt of it, was due, in cluster time."""

    def report_lost(self, handler: str) -> None:
        """An attempt ended, and its report could not be made known before its claim was over: it will be repeated."""

    def handler_unknown(self, handler: str) -> None:
        """Resources wait for a handler that this leader does not have. Once for each name and leadership."""


class NullMeter(CleanupMeter):
    """Counts nothing."""

    @override
    def slots_in_use(self, handler: str, slots: int) -> None:
        pass

    @override
    def claim_refused(self, handler: str, reason: str) -> None:
        pass

    @override
    def attempt_ended(self, handler: str, end: AttemptEnd, duration_s: float) -> None:
        pass

    @override
    def reclaimed(self, handler: str, lateness_s: float) -> None:
        pass

    @override
    def report_lost(self, handler: str) -> None:
        pass

    @override
    def handler_unknown(self, handler: str) -> None:
        pass
