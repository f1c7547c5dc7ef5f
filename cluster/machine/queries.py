"""Reading the state. Pure: nothing here changes anything that a digest or an outcome can see.

Lists are in order of creation and resume after a number (`after`: the token or generation of the last item seen).
`clock_ms` is the cluster time to count remaining times from; it may be ahead of the state's own.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import xxhash

from garbagetruck.cluster.machine import claimable, digests, features, fleet, pages, quarantine, sweep
from garbagetruck.cluster.machine.brake_records import Breaker, FleetBrake
from garbagetruck.cluster.machine.chronicle import CHRONICLE_LEVEL
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.model import (
    Bounds,
    Event,
    Labels,
    Member,
    MemberRole,
    Namespace,
    Resource,
    ResourceState,
    Tombstone,
)
from garbagetruck.cluster.machine.operations import Operation
from garbagetruck.cluster.machine.outcomes import LeaseView, Refused, SessionView
from garbagetruck.cluster.machine.questions import (
    EventsGone,
    LeaseFilter,
    NamespaceUsage,
    Page,
    ResourceFilter,
    Summary,
)
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.story import Obstacle, Story, story_of, withheld
from garbagetruck.cluster.machine.views import find_lease, find_session, view_lease, view_session

CLEANUP_STATES = (ResourceState.DUE, ResourceState.CLAIMED, ResourceState.DEAD_LETTER)


class Queries:
    """The reading half of a machine."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def clock_ms(self) -> int:
        return self._state.clock_ms

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def leader(self) -> str:
        return self._state.leader

    @property
    def cluster_id(self) -> str:
        return self._state.cluster_id

    @property
    def incarnation(self) -> int:
        return self._state.incarnation

    @property
    def incarnation_id(self) -> str:
        """Random, of this life of the cluster; empty until it was needed."""
        return self._state.incarnation_id

    @property
    def event_index(self) -> int:
        return self._state.event_index

    @property
    def bounds(self) -> Bounds:
        return self._state.bounds

    @property
    def feature_level(self) -> int:
        """What the cluster uses: the lowest level of its members, and no less than what was ever used."""
        return features.cluster_level(self._state.members.values(), self._state.level_used)

    @property
    def keeps_chronicles(self) -> bool:
        """Whether resources' stories are kept by now: see `KeepChronicles`."""
        return self._state.level_used >= CHRONICLE_LEVEL

    def voters(self) -> frozenset[str]:
        """Whose digests count towards a majority: a member that leaves votes until it has left, one that learns not yet."""
        return frozenset(each.id for each in self._state.members.values() if each.role is not MemberRole.LEARNER)

    def not_enabled(self, operations: Sequence[Operation]) -> Refused | None:
        """Why the cluster does not take one of these yet; None when it takes all. To be asked before they are logged:
        a member below their level ends at the entry.
        """
        if features.format_of(operations) == features.LEVEL_OLDEST:
            return None
        members, used = tuple(self._state.members.values()), self._state.level_used
        return next((why for each in operations if (why := features.not_enabled(members, used, each))), None)

    def digest_notes(self) -> tuple[DigestNote, ...]:
        """The digests that leaders noted last, by rising index."""
        return tuple(self._state.digest_notes.values())

    def open_difference(self) -> DigestNote | None:
        """The latest digest that some node contradicts, until an operator resumes cleanups."""
        return digests.open_difference(self._state)

    @property
    def cleanups_paused(self) -> bool:
        return self._state.cleanups_paused

    @property
    def cleanups_pause_reason(self) -> str:
        return self._state.cleanups_pause_reason

    @property
    def fleet_brake(self) -> FleetBrake | None:
        """None where not every member could read it yet."""
        return self._state.fleet

    def fleet_holds(self, namespace: Namespace) -> bool:
        """Whether the fleet's brake keeps a namespace's cleanups from being claimed now."""
        return fleet.holds(self._state, namespace)

    @property
    def fleet_missing_holders(self) -> int:
        """How many holders the engaged brake of the fleet waits for."""
        return len(self._state.fleet_missing)

    @property
    def holders(self) -> int:
        """How many holders have leases, over all namespaces."""
        return sum(self._state.holders.values())

    def breakers(self) -> tuple[Breaker, ...]:
        """The open ones, by rising handler."""
        return tuple(sorted(self._state.breakers.values(), key=lambda breaker: breaker.handler))

    def breaker(self, handler: str) -> Breaker | None:
        """The handler's, while it is open."""
        return self._state.breakers.get(handler)

    @property
    def quarantine_left_ms(self) -> int | None:
        """How long a restored cluster still cleans nothing; None when it may. Before an operator resumed: all of it."""
        return quarantine.left_ms(self._state)

    def next_deadline_ms(self) -> int | None:
        """A stamp no later than the first one whose sweep has work; the present clock while one is behind."""
        if len(self._state.draining):
            return self._state.clock_ms
        return self._state.timers.earliest_ms()

    def sweep_backlog(self) -> bool:
        return sweep.behind(self._state)

    def digest(self) -> int:
        """64 bits over the whole state; equal on all nodes at equal applied index (I3)."""
        state = self._state
        rest = (
            state.digest.value,
            state.cluster_id,
            state.incarnation,
            state.epoch,
            state.leader,
            state.clock_ms,
            state.token_counter,
            state.event_index,
            state.cleanups_paused,
            state.cleanups_pause_reason,
            state.bounds,
            [(name, list(recent.items())) for name, recent in state.expired_holders.items() if recent],
            [(name, list(missing)) for name, missing in state.brake_missing.items()],
            # A state that a node of the oldest level can have has that level's digest.
            *((state.level_used, state.skipped) if state.level_used > features.LEVEL_OLDEST else ()),
            *(() if state.quarantine is None else (state.quarantine,)),  # digests older than the field stay as they are
            *((state.incarnation_id,) if state.incarnation_id else ()),  # likewise
            *(() if state.fleet is None else (state.fleet, list(state.fleet_missing))),
        )
        return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(rest))

    # -- leases and sessions ----------------------------------------------------------------------------------

    def lease(self, lease_id: str, clock_ms: int) -> LeaseView | None:
        """A lease, also one that ended recently."""
        return find_lease(self._state, lease_id, clock_ms)

    def leases(self, wanted: LeaseFilter, after: int, limit: int, clock_ms: int) -> Page[LeaseView]:
        def view(lease_id: str) -> LeaseView | None:
            lease = self._state.leases[lease_id]
            fits = (
                lease.namespace == wanted.namespace
                and wanted.resource in ("", lease.resource)
                and wanted.holder in ("", lease.holder)
                and wanted.session_id in ("", lease.session_id)
                and _has_labels(lease.labels, wanted.labels)
            )
            return view_lease(self._state, lease, clock_ms) if fits else None

        return pages.page(self._lease_candidates(wanted, after), view, after, limit)

    def _lease_candidates(self, wanted: LeaseFilter, after: int) -> Iterator[tuple[int, str]]:
        """The narrowest index that covers the filter, if it is short: all but the first one resume after a number."""
        state = self._state
        resource = state.resources.get((wanted.namespace, wanted.resource))
        holder = (wanted.namespace, wanted.holder)
        if wanted.resource:
            ids = iter(resource.leases if resource is not None else ())
        elif wanted.session_id and state.leases_by_session.count(wanted.session_id) <= pages.SCANNED_ROWS_MAX:
            ids = state.leases_by_session.values(wanted.session_id)
        elif wanted.holder and state.leases_by_holder.count(holder) <= pages.SCANNED_ROWS_MAX:
            ids = state.leases_by_holder.values(holder)
        else:
            return state.leases.after(after)
        numbered = ((state.leases[lease_id].token, lease_id) for lease_id in ids)
        return ((number, lease_id) for number, lease_id in numbered if number > after)

    def session(self, session_id: str, clock_ms: int) -> SessionView | None:
        return find_session(self._state, session_id, clock_ms)

    def sessions(self, namespace: str, holder: str, after: int, limit: int, clock_ms: int) -> Page[SessionView]:
        def view(session_id: str) -> SessionView | None:
            session = self._state.sessions[session_id]
            fits = session.namespace == namespace and holder in ("", session.holder)
            return view_session(self._state, session, clock_ms) if fits else None

        return pages.page(self._state.sessions.after(after), view, after, limit)

    # -- resources and cleanups -------------------------------------------------------------------------------

    def resource(self, namespace: str, name: str) -> Resource | Tombstone | None:
        key = (namespace, name)
        return self._state.resources.get(key) or self._state.tombstones.get(key)

    def story(self, namespace: str, name: str, clock_ms: int) -> Story | None:
        """All that is known of the latest life of a name."""
        return story_of(self._state, namespace, name, clock_ms)

    def withheld(self, resource: Resource) -> tuple[Obstacle, ...]:
        return tuple(withheld(self._state, resource))

    def resources(self, wanted: ResourceFilter, after: int, limit: int) -> Page[Resource]:
        def view(resource: Resource) -> Resource | None:
            fits = (
                resource.namespace == wanted.namespace
                and resource.name.startswith(wanted.prefix)
                and (wanted.state is None or resource.state is wanted.state)
                and _has_labels(resource.labels, wanted.labels)
            )
            return resource if fits else None

        return pages.page(self._state.resources.after(after), view, after, limit)

    def cleanups(self, namespace: str | None, wanted: ResourceState | None, after: int, limit: int) -> Page[Resource]:
        """Resources whose cleanup is due, claimed or a dead letter; `namespace` None means all."""
        states = CLEANUP_STATES if wanted is None else (wanted,)

        def view(resource: Resource) -> Resource | None:
            return resource if resource.state in states and namespace in (None, resource.namespace) else None

        return pages.page(self._state.resources.after(after), view, after, limit)

    def ready(self, limit: int) -> list[Resource]:
        """What may be claimed now, taken from the namespaces in turn, in each from the handlers in turn."""
        return claimable.first(self._state, limit)

    def has_ready(self) -> bool:
        """Whether there is anything that may be claimed now. Looks at no more than the namespaces."""
        return next(claimable.namespaces(self._state), None) is not None

    def ready_counts(self) -> Mapping[str, int]:
        """How many cleanups are due, unheld and not waiting for a retry, by handler; those that a pause keeps included."""
        return self._state.ready.counts()

    def waiting(self, handler: str) -> dict[str, Iterator[Resource]]:
        """What may be claimed now of one handler: for each namespace that has any, the longest due first.

        Costs a look at each namespace, whatever the backlog; a resource is read when it is asked for, and before anything
        changes.
        """
        return claimable.of_handler(self._state, handler)

    # -- namespaces, members, events --------------------------------------------------------------------------

    def namespaces(self) -> tuple[Namespace, ...]:
        return tuple(sorted(self._state.namespaces.values(), key=lambda namespace: namespace.name))

    def namespace(self, name: str) -> Namespace | None:
        return self._state.namespaces.get(name)

    def usage(self, name: str) -> NamespaceUsage:
        state = self._state
        count = state.resource_counts
        return NamespaceUsage(
            state.lease_counts.get(name, 0),
            state.session_counts.get(name, 0),
            state.resource_totals.get(name, 0),
            state.holders.get(name, 0),
            count.get((name, ResourceState.ORPHANED), 0),
            count.get((name, ResourceState.DUE), 0),
            count.get((name, ResourceState.CLAIMED), 0),
            count.get((name, ResourceState.DEAD_LETTER), 0),
            len(state.brake_missing.get(name, ())),
        )

    def member(self, member_id: str) -> Member | None:
        return self._state.members.get(member_id)

    def members(self) -> tuple[Member, ...]:
        return tuple(sorted(self._state.members.values(), key=lambda member: member.id))

    def summary(self) -> Summary:
        state = self._state
        totals = dict.fromkeys(ResourceState, 0)
        for (_, each), number in state.resource_counts.items():
            totals[each] += number
        return Summary(
            len(state.leases),
            len(state.sessions),
            len(state.resources),
            totals[ResourceState.ORPHANED],
            totals[ResourceState.DUE],
            totals[ResourceState.CLAIMED],
            totals[ResourceState.DEAD_LETTER],
            state.cleanups_paused,
            tuple(each.name for each in self.namespaces() if each.brake_engaged),
            claimable.oldest_due_ms(state),
        )

    def events_after(self, index: int, limit: int) -> tuple[Event, ...]:
        """Events past `index`, oldest first. Raises `EventsGone` when some of them left the ring."""
        events = self._state.events
        newest = self._state.event_index
        if index >= newest:
            return ()
        oldest = events[0].index if events else newest + 1
        if index + 1 < oldest:
            raise EventsGone(oldest)
        start = index + 1 - oldest
        return tuple(events[position] for position in range(start, min(start + limit, len(events))))


def _has_labels(labels: Labels, wanted: Labels) -> bool:
    return all(pair in labels for pair in wanted)
