"""Free ports for a whole cluster.

Duty: a port that was found free is bound only some time later, and meanwhile another worker of pytest-xdist, or the same test for its
other cluster, would find it free, too. So each worker has its own share, and none of the last few bases shares a port with the next.
"""

import os
from collections import deque

from garbagetruck.cli.bench import throwaway

SHARES = 4
"""More workers than that share again."""
APART = 1 + max(throwaway.PORT_OFFSETS) // throwaway.BASES.step
"""Bases between two shares, so that what belongs to the highest of one ends below the other."""
UNBOUND_MAX = 4
"""Clusters that one test may have asked ports for, and not started yet."""

_last: deque[int] = deque(maxlen=UNBOUND_MAX)


def free_base_port(nodes: int) -> int:
    """A base whose ports, as `up` lays them out for so many nodes, are free now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(throwaway.BASES) // SHARES
    first = worker % SHARES * size
    share = throwaway.BASES[first : first + size - APART]
    base = throwaway.free_base_port(nodes, [each for each in share if not any(_meet(each, other) for other in _last)])
    _last.append(base)
    return base


def _meet(base: int, other: int) -> bool:
    """Whether they have a port in common, with fewer nodes than there are ports between two bases."""
    return any(base + mine == other + theirs for mine in throwaway.PORT_OFFSETS for theirs in throwaway.PORT_OFFSETS)
