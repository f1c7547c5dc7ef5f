"""Free ports for a whole cluster.

Duty: each worker of pytest-xdist has its own share: a port that was found free is bound only some time later, and meanwhile another
worker would find it free, too.
"""

import os

from garbagetruck.cli.bench import throwaway

SHARES = 4
"""More workers than that share again."""
APART = 1 + max(throwaway.PORT_OFFSETS) // throwaway.BASES.step
"""Bases between two shares, so that what belongs to the highest of one ends below the other."""


def free_base_port(nodes: int) -> int:
    """A base whose ports, as `up` lays them out for so many nodes, are free now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(throwaway.BASES) // SHARES
    first = worker % SHARES * size
    return throwaway.free_base_port(nodes, throwaway.BASES[first : first + size - APART])
