"""The one table from what went wrong to exit codes."""

from garbagetruck.cli.exits import Exit
from garbagetruck.client import errors

_BY_ERROR: tuple[tuple[type[errors.GarbageTruckError], Exit], ...] = (
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.PermissionDenied, Exit.PERMISSION),
    (errors.Unauthenticated, Exit.PERMISSION),
    (errors.PreconditionFailed, Exit.PRECONDITION),
    (errors.LeaseLost, Exit.PRECONDITION),
    (errors.SessionLost, Exit.PRECONDITION),
    (errors.OutcomeUnknown, Exit.UNKNOWN),
    (errors.DeadlineExceeded, Exit.UNKNOWN),
    (errors.Unavailable, Exit.UNREACHABLE),
    (errors.GarbageTruckError, Exit.REFUSED),
)


def exit_code(error: errors.GarbageTruckError) -> Exit:
    """The first row that fits; the last one fits all."""
    return next(code for kind, code in _BY_ERROR if isinstance(error, kind))
