"""What the client takes from the machine it runs on: a clock, randomness, ids.

Duty: name these three, so that tests and simulations can put their own in their place.
Invariant: `boottime_ns` never goes back and counts the time that the machine was suspended; a clock that stood still
while the cluster's went on would keep a lease alive that is long over.
"""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

NANOSECONDS_PER_SECOND = 1_000_000_000
NANOSECONDS_PER_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """Everything about the surroundings that the client does not get through the network."""

    boottime_ns: Callable[[], int]
    """Nanoseconds since some moment in the past; suspend included."""
    random: random.Random
    """For jitter and the choice of the first endpoint."""
    new_request_id: Callable[[], str]
    """A fresh id, at most 128 bytes, that no other request ever had."""


def boottime_ns() -> int:
    """Read CLOCK_BOOTTIME; where a system has none, the monotonic clock."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


def real_world() -> World:
    """The world as it is."""
    return World(boottime_ns=boottime_ns, random=random.Random(), new_request_id=lambda: str(uuid.uuid4()))
