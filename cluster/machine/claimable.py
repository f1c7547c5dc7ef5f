"""What the leader may claim now, in a fair order, and how long it has been waiting.

Duty: the reading side of claiming: `cleanups.claim` refuses what is not in here.
Invariants: nothing here looks at more than the namespaces and what it gives back, however long the backlog is; and
nothing changes anything.
Must not know: slots, handlers' registrations, who asks.
"""

from collections.abc import Iterator
from itertools import islice, repeat

from garbagetruck.cluster.machine import breakers, fleet, pages, quarantine, sweep
from garbagetruck.cluster.machine.model import Resource, ResourceKey
from garbagetruck.cluster.machine.state import State


def namespaces(state: State) -> Iterator[str]:
    """The namespaces that have something ready, and may clean now."""
    if state.cleanups_paused or quarantine.is_on(state) or sweep.behind(state):
        return iter(())
    return (name for name in state.ready.namespaces() if _may_clean(state, name))


def first(state: State, limit: int) -> list[Resource]:
    """At most so many, from the namespaces in turn, in each from the handlers in turn."""

    def of_namespace(name: str) -> Iterator[ResourceKey]:
        lists = state.ready.handlers(name).items()
        return pages.in_turn(
            zip(repeat(name), names, strict=False) for handler, names in lists if breakers.lets_through(state, handler)
        )

    waiting = pages.in_turn(map(of_namespace, namespaces(state)))
    return [state.resources[key] for key in islice(waiting, limit)]


def of_handler(state: State, handler: str) -> dict[str, Iterator[Resource]]:
    """For each namespace that has any of the handler's: those, the longest due first.

    A resource is read when it is asked for; ask before anything changes.
    """
    if not breakers.lets_through(state, handler):
        return {}
    found = ((name, state.ready.names(name, handler)) for name in namespaces(state))
    return {
        name: (state.resources[key] for key in zip(repeat(name), names, strict=False)) for name, names in found if names
    }


def oldest_due_ms(state: State) -> int | None:
    """Of what may be cleaned and is not yet: a pause or a brake is no lateness of ours."""
    if state.cleanups_paused or quarantine.is_on(state):
        return None
    longest_waiting = (
        (name, next(iter(names)))  # a ready list is in the order in which its names fell due, and never empty
        for name in state.ready.namespaces()
        if _may_clean(state, name)
        for handler, names in state.ready.handlers(name).items()
        if handler not in state.breakers
    )
    oldest_ms = min((state.resources[key].due_ms for key in longest_waiting), default=None)
    return None if oldest_ms is None else max(oldest_ms, quarantine.ended_ms(state))


def _may_clean(state: State, name: str) -> bool:
    namespace = state.namespaces[name]
    waits = namespace.cleanups_not_before_ms > state.clock_ms
    return not (namespace.paused or namespace.brake_engaged or waits or fleet.holds(state, namespace))
