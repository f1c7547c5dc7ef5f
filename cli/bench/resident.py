"""How much memory processes hold, as Linux counts it in /proc, and what their folders say of snapshots."""

from dataclasses import dataclass
from pathlib import Path

KIB_PER_MIB = 1_024


@dataclass(frozen=True, slots=True)
class Resident:
    """Mebibytes of one process: now, and at most so far."""

    now_mib: float
    peak_mib: float


def resident(pid: int) -> Resident | None:
    """None for a process that is gone, and where nothing can be told."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in fields or "VmHWM" not in fields:
        return None
    return Resident(_mib(fields["VmRSS"]), _mib(fields["VmHWM"]))


def _mib(field: str) -> float:
    """Of a field such as `  123456 kB`."""
    return round(int(field.split(maxsplit=1)[0]) / KIB_PER_MIB, 1)


def snapshot_names(data_dir: Path) -> set[str]:
    """What lies in a node's folder of snapshots: whole ones, and one that is being written."""
    try:
        return {entry.name for entry in (data_dir / "raft" / "snapshots").iterdir()}
    except FileNotFoundError:
        return set()
