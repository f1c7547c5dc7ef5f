"""What a figure means nothing without: the machine, the versions, the load that was there already."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("garbagetruck", "grpcio", "protobuf", "pysyncobj", "msgspec", "uvloop")


def conditions(when: str) -> list[str]:
    """A few lines for people, also for docs/measurements.md. `when` says at which moment."""
    return [
        load_average(when),
        f"- machine: {os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {platform.release()}",
        f"- Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}",
    ]


def load_average(when: str) -> str:
    """One line: the moment, and how busy the machine was."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return f"- {when}: {clock}, load average {load} (1, 5 and 15 minutes)"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
