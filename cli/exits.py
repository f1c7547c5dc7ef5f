"""Exit codes. `failures` has the one table from what went wrong to them."""

from enum import IntEnum


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
