"""What a chaos child runs: one node, as anywhere, on a disk that fails on order, and gone with its parent.

Duty: `main ORDERS PLUG_INS [arguments of a node]`; handlers that are "installed" in the folder PLUG_INS may be registered. It is the only way to such a disk: no configuration of a node leads there.
Must not know: faults, scenarios.
"""

import signal
import sys
from pathlib import Path

from garbagetruck.chaos.processes.disk import UnreliableDisk
from garbagetruck.cli.bench.throwaway import end_with_parent
from garbagetruck.cluster.node.__main__ import main as run_node


def main() -> int:
    """Run it; the answer is the exit code."""
    # SIGKILL, since a node that is stopped would never hear of SIGTERM.
    end_with_parent(signal.SIGKILL)
    orders, plug_ins = Path(sys.argv.pop(1)), sys.argv.pop(1)
    sys.path.append(plug_ins)
    return run_node(UnreliableDisk(orders))


if __name__ == "__main__":
    sys.exit(main())
