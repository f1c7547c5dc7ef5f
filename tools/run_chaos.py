"""The long chaos run: every part of it, one after the other, each told before it begins and bounded in time.

Usage: python tools/run_chaos.py [--seeds N] [--seed N] [--mutant NAME]... [--scenario NAME]... [--soak 2m] [--mass N]

Every part runs, whatever became of the others. Exit code 0: all passed; 1: a violation, or a mutant that survived; 3: something was
undecided, or took longer than it may; 130: interrupted, when what was started has ended.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GARBAGETRUCK = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()")
JOBS = "2"
SOAK = "soak"
MASS = "mass-expiry-leader-dies"
MASS_BYTES_EACH = 3 * 3 * 1_024
"""Three nodes, and for each lease and its resource in each of them what docs/measurements.md says, twice."""
PASSED, VIOLATED, UNDECIDED, INTERRUPTED = 0, 1, 3, 130
VERDICTS = {PASSED: "passed", VIOLATED: "VIOLATED", UNDECIDED: "undecided"}

SIMULATION_S_MAX = 3_600.0
MUTANTS_S_MAX = 3_600.0
SCENARIO_S_MAX = 600.0
"""Of one scenario with its own numbers; on an idle machine the longest takes a minute and a half."""
MASS_S_MAX = 3_600.0
ENDING_S_MAX = 60.0
"""How long a part may take to end what it has started, when its time is over."""


@dataclass(frozen=True)
class Part:
    """One command of the run, what it shows, and how long it may take."""

    name: str
    arguments: Sequence[str]
    s_max: float


@dataclass(frozen=True)
class Done:
    part: Part
    code: int
    said: str
    seconds: float


def parts_of(chosen: argparse.Namespace) -> list[Part]:
    seeds = ["--seeds", str(chosen.seeds), "--start", str(chosen.seed), "--jobs", JOBS]
    seed = ["--seed", str(chosen.seed)]
    parts = [
        Part(f"{chosen.seeds} simulated clusters", ["simulate", *seeds], SIMULATION_S_MAX),
        Part(f"{chosen.seeds} simulated logs", ["simulate", "--world", "raft", *seeds], SIMULATION_S_MAX),
        Part(
            f"mutants: {', '.join(chosen.mutant) or 'all'}",
            ["mutants", *chosen.mutant, "--jobs", JOBS],
            MUTANTS_S_MAX,
        ),
        *(Part(f"scenario {name}", ["run", name, *seed], SCENARIO_S_MAX) for name in chosen.scenario or scenarios()),
        Part(f"soak of {chosen.soak}", ["run", SOAK, "--duration", chosen.soak, *seed], MASS_S_MAX),
    ]
    if chosen.mass:
        parts.append(
            Part(f"{chosen.mass} leases end at once", ["run", MASS, "--size", str(chosen.mass), *seed], MASS_S_MAX)
        )
    return parts


def scenarios() -> list[str]:
    """All but the one that is long on purpose."""
    listed = subprocess.run([*GARBAGETRUCK, "chaos", "list", "-o", "json"], check=True, capture_output=True, text=True)
    return [each["scenario"] for each in json.loads(listed.stdout) if each["scenario"] != SOAK]


def free_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1_024 for line in lines if line.startswith("MemAvailable:")), None)


def run(part: Part) -> Done:
    """Run it to its end, or to its bound."""
    began_s = time.monotonic()
    with subprocess.Popen([*GARBAGETRUCK, "chaos", *part.arguments]) as process:
        try:
            code = process.wait(part.s_max)
            said = VERDICTS.get(code, f"failed with exit code {code}")
        except subprocess.TimeoutExpired:
            end(process)
            code, said = UNDECIDED, f"undecided: not done after {part.s_max / 60:.0f} minutes"
        except KeyboardInterrupt:
            # It heard the same Ctrl-C, and ends what it has started.
            end(process)
            raise
    return Done(part, code, said, time.monotonic() - began_s)


def end(process: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C does; and with force if that does not help."""
    process.terminate()
    try:
        process.wait(ENDING_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def worst(codes: Sequence[int]) -> int:
    failed = [code for code in codes if code not in VERDICTS]
    return VIOLATED if VIOLATED in codes else failed[0] if failed else UNDECIDED if UNDECIDED in codes else PASSED


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="The long chaos run.")
    parser.add_argument("--seeds", type=int, default=300, help="of each simulated world")
    parser.add_argument("--seed", type=int, default=1, help="the first of them, and that of every scenario")
    parser.add_argument("--mutant", action="append", default=[], help="default: all")
    parser.add_argument("--scenario", action="append", default=[], help=f"default: all but {SOAK}")
    parser.add_argument("--soak", default="2m", help="how long")
    parser.add_argument("--mass", type=int, default=1_000_000, help="leases that end at once; 0: none")
    chosen = parser.parse_args()
    available = free_bytes()
    if available is not None and available < chosen.mass * MASS_BYTES_EACH:
        wanted, there = chosen.mass * MASS_BYTES_EACH >> 20, available >> 20
        say(
            f"{chosen.mass} leases want {wanted} MiB of memory, and {there} MiB are free: {MASS} runs with its own number only"
        )
        chosen.mass = 0
    parts = parts_of(chosen)
    done: list[Done] = []
    try:
        for number, part in enumerate(parts, start=1):
            say(f"\n=== {number} of {len(parts)}: {part.name}; {part.s_max / 60:.0f} minutes at most")
            done.append(run(part))
            say(f"=== {part.name}: {done[-1].said} in {done[-1].seconds:.0f} s")
    except KeyboardInterrupt:
        say("\ninterrupted")
        return INTERRUPTED
    finally:
        say(f"\n=== {len(done)} of {len(parts)} parts in {sum(each.seconds for each in done) / 60:.0f} minutes")
        for each in done:
            say(f"{each.seconds:7.0f} s  {each.said:<10}  {each.part.name}")
    return worst([each.code for each in done])


if __name__ == "__main__":
    sys.exit(main())
