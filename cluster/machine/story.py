"""Why a resource is where it is: what is on record of it, put together from everywhere.

Duty: collect; name what keeps a cleanup from being claimed at this moment. Pure, like all queries; bounded by what is
remembered of ended leases and events, both of which it looks through once.
It must not know: how a story is worded for people, but for the one sentence of an obstacle.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from garbagetruck.cluster.machine import fleet, quarantine, sweep
from garbagetruck.cluster.machine.model import Event, EventType, Namespace, Resource, ResourceState, Tombstone
from garbagetruck.cluster.machine.outcomes import LeaseView
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.views import lease_deadline_ms, view_ended_lease, view_lease

LEASES_MAX = 50
"""Leases that are told of, of those that count and of those that ended: the latest."""
EVENTS_MAX = 200
"""Events that are told of: the latest."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that keeps a resource from being cleaned."""

    kind: str
    description: str
    until_ms: int = 0
    """When it falls away by itself, in cluster time. 0: not by itself."""


@dataclass(frozen=True, slots=True)
class Story:
    """Of one life of a name."""

    life: Resource | Tombstone | None
    """None: it is off the books, and `events` tell why."""
    leases: tuple[LeaseView, ...]
    ended_leases: tuple[LeaseView, ...]
    obstacles: tuple[Obstacle, ...]
    events: tuple[Event, ...]


def story_of(state: State, namespace: str, name: str, clock_ms: int) -> Story | None:
    """The story of the latest life of a name; None when nothing is known of it."""
    key = (namespace, name)
    life = state.resources.get(key) or state.tombstones.get(key)
    events = _events_of(state, namespace, name, life)
    if life is None and not events:
        return None
    ended = deque(
        (each for each in state.ended_leases.values() if (each.namespace, each.resource) == key), maxlen=LEASES_MAX
    )
    since = life.generation if life is not None else 0
    held = life.leases[-LEASES_MAX:] if isinstance(life, Resource) else ()
    return Story(
        life,
        tuple(view_lease(state, state.leases[lease_id], clock_ms) for lease_id in held),
        tuple(view_ended_lease(each) for each in ended if each.token >= since),
        tuple(obstacles(state, life)) if isinstance(life, Resource) else (),
        events,
    )


def obstacles(state: State, resource: Resource) -> Iterator[Obstacle]:
    """Everything that keeps a resource from being cleaned at this moment, its own reasons first."""
    yield from _own_obstacles(state, resource)
    yield from withheld(state, resource)


def withheld(state: State, resource: Resource) -> Iterator[Obstacle]:
    """What an operator, the brake or a restore has to say against cleaning it."""
    for hold in resource.holds:
        by = f" by {hold.actor}" if hold.actor else ""
        yield Obstacle("hold", f"hold {hold.id!r}{by} forbids it: {hold.reason or 'no reason given'}")
    namespace = state.namespaces[resource.namespace]
    if state.cleanups_paused:
        yield Obstacle("paused", f"cleanups of the whole cluster are paused: {state.cleanups_pause_reason}")
    if namespace.paused:
        yield Obstacle("paused", f"cleanups of namespace {namespace.name!r} are paused: {namespace.pause_reason}")
    left_ms = quarantine.left_ms(state)
    if left_ms is not None:
        yield Obstacle("restored", "the cluster was restored, and waits for holders it may not know of any more")
    yield from _braked(state, namespace)
    if fleet.holds(state, namespace):
        yield Obstacle("fleet_brake", "the brake of the whole fleet is engaged: heartbeats ceased everywhere")
    if resource.cleanup is not None and resource.cleanup.handler in state.breakers:
        yield Obstacle("breaker", f"the breaker of handler {resource.cleanup.handler!r} is open: its attempts fail")


def _braked(state: State, namespace: Namespace) -> Iterator[Obstacle]:
    if namespace.brake_engaged:
        yield Obstacle("brake", f"the brake of namespace {namespace.name!r} is engaged: {namespace.brake_reason}")
    elif namespace.cleanups_not_before_ms > state.clock_ms:
        yield Obstacle(
            "brake",
            f"the brake of namespace {namespace.name!r} was released, and holders may still come back",
            namespace.cleanups_not_before_ms,
        )


def _own_obstacles(state: State, resource: Resource) -> Iterator[Obstacle]:
    if resource.cleanup is None:
        yield Obstacle("no_cleanup", "no cleanup is registered: there is nothing that could be done with it")
    match resource.state:
        case ResourceState.LIVE:
            ends = [lease_deadline_ms(state, state.leases[lease_id]) for lease_id in resource.leases]
            last_ms = max((each for each in ends if each is not None), default=0)
            yield Obstacle(
                "lease", f"{len(resource.leases)} lease(s) protect it for as long as they are renewed", last_ms
            )
        case ResourceState.ORPHANED if resource.cleanup is not None:
            yield Obstacle(
                "grace", f"it is left alone for {resource.grace_ms} ms after its last lease", resource.due_ms
            )
        case ResourceState.DUE if resource.due_ms > state.clock_ms:
            yield Obstacle(
                "backoff", f"its last attempt failed, the next one waits: {resource.last_error}", resource.due_ms
            )
        case ResourceState.CLAIMED:
            made = resource.claim
            assert made is not None, "a claimed resource has its claim"
            yield Obstacle("claim", f"{made.executor} is cleaning it (attempt {made.attempt})", made.deadline_ms)
        case ResourceState.DEAD_LETTER:
            yield Obstacle("dead_letter", f"its attempts are used up, an operator has to decide: {resource.last_error}")
        case _ if sweep.behind(state):
            yield Obstacle("sweep", "leases that are over are still being swept")
        case _:
            pass


def _events_of(state: State, namespace: str, name: str, life: Resource | Tombstone | None) -> tuple[Event, ...]:
    """Of this life, as far back as they are remembered, by rising index."""
    chronicle = state.chronicles.get((namespace, name))
    told = {event.index: event for event in chronicle.events} if chronicle is not None else {}
    for event in state.events:
        if event.resource == name and event.namespace == namespace:
            if life is not None and event.token == life.generation and event.type is EventType.LEASE_ACQUIRED:
                told.clear()  # what was before belongs to an earlier life
            told[event.index] = event
    return tuple(told[index] for index in sorted(told)[-EVENTS_MAX:])
