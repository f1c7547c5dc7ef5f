"""The wait of a restored cluster before it cleans again (I9).

Law: from a restore on no cleanup is claimed before an operator has resumed cleanups of the whole cluster, and the longest
TTL has run once more after that, and every claim that was under way has run out. The wait counts from the first resume,
whenever it comes; what passed before does not count, for nobody may have been told yet that the cluster is back.

It holds for every cleanup, not only for what was an orphan at the restore: a lease that was acknowledged and is not in
the state may be on a resource that others seemed to hold alone, or on a target that a later resource names.
"""

from itertools import chain
from typing import TYPE_CHECKING

from msgspec.structs import replace

from garbagetruck.cluster.machine.model import Record

if TYPE_CHECKING:
    from garbagetruck.cluster.machine.state import State


class Quarantine(Record, frozen=True):
    """What a restored cluster waits for before it cleans again (I9): for holders that it may not know of any more."""

    wait_ms: int
    """How long, from when an operator resumes."""
    until_ms: int | None = None
    """The first stamp at which a cleanup may be claimed again; None before an operator has resumed."""


def begin(state: "State") -> None:
    """At a restore. A wait that is not over yet is not shortened by the next restore."""
    pending_ms = state.quarantine.wait_ms if state.quarantine is not None and is_on(state) else 0
    claimed = [each.claim.deadline_ms - state.clock_ms for each in state.resources.values() if each.claim is not None]
    state.quarantine = Quarantine(max(longest_ttl_ms(state), pending_ms, *claimed, 0))


def resumed(state: "State") -> None:
    """An operator resumed cleanups of the whole cluster: the first time after a restore, the wait begins."""
    if state.quarantine is not None and state.quarantine.until_ms is None:
        state.quarantine = replace(state.quarantine, until_ms=state.passed_ms(state.quarantine.wait_ms))


def left_ms(state: "State") -> int | None:
    """How long it lasts still, None when there is none. Before an operator has resumed: all of it."""
    if state.quarantine is None:
        return None
    if state.quarantine.until_ms is None:
        return state.quarantine.wait_ms
    return state.quarantine.until_ms - state.clock_ms if state.quarantine.until_ms > state.clock_ms else None


def is_on(state: "State") -> bool:
    return left_ms(state) is not None


def ended_ms(state: "State") -> int:
    """When the last one ended; 0 when there never was one that did."""
    return 0 if state.quarantine is None else state.quarantine.until_ms or 0


def longest_ttl_ms(state: "State") -> int:
    """Of what is held, and of what ended less than its own TTL ago: its holder may not have been told of that end."""
    held = chain(
        (each.ttl_ms for each in state.leases.values()),
        (each.ttl_ms for each in state.sessions.values()),
        (each.ttl_ms for each in state.ended_leases.values() if each.ended_ms + each.ttl_ms >= state.clock_ms),
        (each.ttl_ms for each in state.ended_sessions.values() if each.ended_ms + each.ttl_ms >= state.clock_ms),
        (each.ttl_ms for each in state.draining.values() if each.ended_ms + each.ttl_ms >= state.clock_ms),
    )
    return max(held, default=0)
