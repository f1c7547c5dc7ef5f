"""Ids that nobody can guess, for leases, sessions and holds.

Duty: 130 random bits as 26 characters that survive being read aloud. Must not know: what is named.
"""

import random
from collections.abc import Callable

CHARACTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letters that are taken for digits when read aloud."""
LENGTH = 26
BITS = 5 * LENGTH
_PAIRS = tuple(first + second for first in CHARACTERS for second in CHARACTERS)
_SHIFTS = range(BITS - 10, -1, -10)


def id_source(random: random.Random) -> Callable[[], str]:
    """Draw ids from `random`, a `random.SystemRandom` in production: one look at it for each id, for each costs."""
    draw_bits = random.getrandbits

    def draw() -> str:
        bits = draw_bits(BITS)
        return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])

    return draw
