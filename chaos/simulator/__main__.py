"""`python -m garbagetruck.chaos.simulator --seeds N --start S`: run N seeds and say which of them broke an invariant.

`--world cluster` runs whole clusters and their clients; `--world raft` runs the real log alone, which is faster and goes
into more of what a log can meet. Both run pysyncobj, on simulated disks and connections.

Exit codes: 0 all passed, 1 a violation, 3 none, but some undecided because no fault bit.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from garbagetruck.chaos.simulator.raft.simulation import simulate_raft
from garbagetruck.chaos.simulator.result import Result, Verdict
from garbagetruck.chaos.simulator.simulation import simulate

EXIT_PASSED, EXIT_VIOLATED, EXIT_UNDECIDED = 0, 1, 3
WORLDS: dict[str, Callable[[int, Sequence[str]], Result]] = {"cluster": simulate, "raft": simulate_raft}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m garbagetruck.chaos.simulator", description=__doc__)
    parser.add_argument("--world", choices=WORLDS, default="cluster", help="what to simulate; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--faults", default="", help="kinds of faults to draw from, separated by commas; default: all")
    parser.add_argument("--history", type=Path, help="write the last seed's history to this file")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first violation")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    counts = dict.fromkeys(Verdict, 0)
    for seed in range(options.start, options.start + options.seeds):
        started_s = time.monotonic()
        result = WORLDS[options.world](seed, tuple(filter(None, options.faults.split(","))))
        counts[result.verdict] += 1
        _tell(f"seed {seed} {result.verdict.value} in {time.monotonic() - started_s:.1f} s: {result.summary}")
        if options.history is not None:
            options.history.write_text("\n".join(result.history) + "\n")
        if result.verdict is Verdict.VIOLATED:
            _tell_violation(result, options.world, options.faults)
            if not options.keep_going:
                break
    _tell(", ".join(f"{count} {verdict.value}" for verdict, count in counts.items()))
    if counts[Verdict.VIOLATED]:
        return EXIT_VIOLATED
    return EXIT_UNDECIDED if counts[Verdict.UNDECIDED] else EXIT_PASSED


def _tell_violation(result: Result, world: str, faults: str) -> None:
    for violation in result.violations:
        _tell(f"  {violation}")
    choices = f"{'' if world == 'cluster' else f' --world {world}'}{f' --faults {faults}' if faults else ''}"
    _tell(
        f"  repeat it: python -m garbagetruck.chaos.simulator --seeds 1 --start {result.seed} --history history.txt{choices}"
    )


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
