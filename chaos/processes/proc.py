"""What Linux says of a process, in /proc.

Duty: states and burdens by process id. Invariant: a process that is gone gives None or nothing, never an error.
Must not know: whose process it is.
"""

import os
from collections.abc import Sequence
from pathlib import Path

STOPPED = "T"
ENDED = "Z"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def state_of(pid: int) -> str:
    """The letter of proc(5): R, S, D, T, Z, …; empty when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def resident_bytes(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[21]) * PAGE_BYTES if fields else None


def children(pid: int) -> list[int]:
    """Of the processes that run now, those that it has begun and that are still its own."""
    running = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [each for each in running if _parent(each) == pid]


def threads(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[17]) if fields else None


def descriptors(pid: int) -> int | None:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder, whatever vanishes meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_blocks * 512
            except OSError:
                continue
    return total


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name, which may itself hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def tail_of(log: Path, lines: int) -> Sequence[str]:
    """The end of a process's log."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []
