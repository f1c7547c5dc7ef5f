"""How an attempt ends: what is reported of it, and how it is counted.

Duty: the one table from a handler's verdict to a report.
Must not know: how an attempt is run.
"""

from dataclasses import dataclass

from garbagetruck.cluster.cleanup.handler import ERROR_CHARACTERS_MAX, CleanupResult, Verdict
from garbagetruck.cluster.cleanup.meter import AttemptEnd
from garbagetruck.cluster.machine.model import ReportResult


@dataclass(frozen=True, slots=True)
class Ending:
    """What is reported of an attempt, and how it is counted."""

    result: ReportResult
    counted: AttemptEnd
    error: str = ""


def as_last(ending: Ending, attempts_max: int) -> Ending:
    """A failure as that of the last attempt that the handler's own limit allows; whatever else an ending is, it stays."""
    if ending.result is not ReportResult.FAILED:
        return ending
    told = f" (the last of {attempts_max} attempts that this handler is given)"
    error = ending.error[: ERROR_CHARACTERS_MAX - len(told)] + told
    return Ending(ReportResult.FAILED_FOR_GOOD, AttemptEnd.FAILED_FOR_GOOD, error)


def ending_of(result: CleanupResult) -> Ending:
    """The ending that a result means."""
    error = result.error[:ERROR_CHARACTERS_MAX]
    match result.verdict:
        case Verdict.DONE:
            return Ending(ReportResult.DONE, AttemptEnd.DONE)
        case Verdict.ALREADY_GONE:
            return Ending(ReportResult.DONE, AttemptEnd.ALREADY_GONE)
        case Verdict.FAILED if result.retryable:
            return Ending(ReportResult.FAILED, AttemptEnd.FAILED, error)
        case Verdict.FAILED:
            return Ending(ReportResult.FAILED_FOR_GOOD, AttemptEnd.FAILED_FOR_GOOD, error)
