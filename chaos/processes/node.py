"""What a chaos child runs: one node, as anywhere, on a disk and with clocks that go wrong on order, and gone with its parent.

Duty: `main DISK CLOCKS PLUG_INS [arguments of a node]`: two files of orders, and the folder of handlers that are "installed", so that
they may be registered. It is the only way to such a disk and such clocks: no configuration of a node leads there.
Must not know: faults, scenarios.
"""

import signal
import sys
from pathlib import Path

from garbagetruck.chaos.processes.clocks import UnreliableClocks
from garbagetruck.chaos.processes.disk import UnreliableDisk
from garbagetruck.chaos.processes.orders import Orders
from garbagetruck.cli.bench.throwaway import end_with_parent
from garbagetruck.cluster.node.__main__ import main as run_node


def main() -> int:
    """Run it; the answer is the exit code."""
    # SIGKILL, since a node that is stopped would never hear of SIGTERM.
    end_with_parent(signal.SIGKILL)
    disk, clocks = UnreliableDisk(Path(sys.argv.pop(1))), UnreliableClocks(Orders(Path(sys.argv.pop(1))))
    sys.path.append(sys.argv.pop(1))
    clocks.install()
    return run_node(disk, clocks.clocks())


if __name__ == "__main__":
    sys.exit(main())
