"""Free ports for a whole cluster."""

import itertools
import random
import socket
from contextlib import ExitStack

HIGHEST_BASE = 31_500
"""Below the ports that the kernel hands out by itself (32768 and up), so that no connection takes one meanwhile."""
LOWEST_BASE = 18_000
STEP = 20


def free_base_port(nodes: int) -> int:
    """A base whose ports base + i, base + 100 + i, base + 200 + i, base + 400 + i are free now, for i from 1 to `nodes`."""
    bases = list(range(LOWEST_BASE, HIGHEST_BASE, STEP))
    random.SystemRandom().shuffle(bases)
    for base in bases:
        ports = [
            base + offset + number for offset, number in itertools.product((0, 100, 200, 400), range(1, nodes + 1))
        ]
        if _all_free(ports):
            return base
    raise AssertionError("no free ports on this machine")


def _all_free(ports: list[int]) -> bool:
    with ExitStack() as held:
        for port in ports:
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
