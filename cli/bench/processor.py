"""How much processor time processes have used, as Linux counts it in /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

_FIELDS_BEFORE_UTIME = 11
"""Fields of /proc/PID/stat between the name in parentheses and utime; see proc(5)."""


def processor_s(pids: Iterable[int]) -> float | None:
    """Seconds of user and system time that all of these processes have used so far; None where nothing can be told.

    A process that is gone counts nothing, so that a difference taken around its end is too small.
    """
    if not Path("/proc/self/stat").exists():
        return None
    return sum(_processor_s(pid) for pid in pids)


def _processor_s(pid: int) -> float:
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    # The name may hold spaces and parentheses: what is counted begins behind the last of them.
    user, system = line.rpartition(")")[2].split()[_FIELDS_BEFORE_UTIME:][:2]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
