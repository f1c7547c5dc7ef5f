"""Exit codes, and the one table from what went wrong to them."""

from enum import IntEnum

from garbagetruck.client import errors


class Exit(IntEnum):
    """Relied on by scripts; docs/cli.md lists them."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    PRECONDITION = 5
    PERMISSION = 6
    UNKNOWN = 7
    INTERRUPTED = 130


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
