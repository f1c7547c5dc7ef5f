"""The replicated state: tables, counters, and the indexes derived from them.

Law: whatever changes a table goes through a method here, so that digest, indexes and timers follow. The methods
decide nothing; the nouns beside this file (leases, sessions, resources, cleanups, ...) do.
"""

from collections import Counter, deque
from collections.abc import Sequence
from operator import attrgetter

from garbagetruck.cluster.machine.brake_records import Breaker, FleetBrake
from garbagetruck.cluster.machine.chronicle import CHRONICLE_LEVEL, ChronicleTable
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.features import LEVEL_OLDEST
from garbagetruck.cluster.machine.model import (
    DEFAULT_NAMESPACE,
    TOKEN_COUNTER_BITS,
    TOKEN_LIMIT,
    Bounds,
    EndedLease,
    EndedSession,
    Event,
    EventType,
    HolderKey,
    Lease,
    Namespace,
    Resource,
    ResourceKey,
    ResourceState,
    Session,
    Tombstone,
)
from garbagetruck.cluster.machine.multimap import Multimap
from garbagetruck.cluster.machine.quarantine import Quarantine
from garbagetruck.cluster.machine.ready import ReadyIndex
from garbagetruck.cluster.machine.request_table import RequestTable
from garbagetruck.cluster.machine.resource_table import ResourceTable
from garbagetruck.cluster.machine.tables import DeadlineTable, DigestSum, MemberTable, QueueTable, Table
from garbagetruck.cluster.machine.targets import TargetIndex
from garbagetruck.cluster.machine.timers import TimerKey, TimerKind, Timers

_namespace_and_state = attrgetter("namespace", "state")


class State:
    """Everything that a snapshot carries, plus what follows from it."""

    incarnation_id: str = ""
    """Random, one for each life of the cluster; empty as long as nobody needed it."""
    quarantine: Quarantine | None = None
    """Set by a restore; None in a cluster that never had one."""
    fleet: FleetBrake | None = None
    """The fleet's brake; None as long as not every member can read it."""
    skipped: tuple[tuple[int, int], ...] = ()
    """(index, checksum) of the last entries that were not applied by order of an operator."""

    def __init__(self) -> None:
        self.cluster_id = ""
        self.incarnation = 0
        self.epoch = 0
        self.leader = ""
        self.clock_ms = 0
        self.token_counter = 0
        self.event_index = 0
        self.cleanups_paused = False
        self.cleanups_pause_reason = ""
        self.bounds = Bounds()
        self.level_used = LEVEL_OLDEST
        """The highest feature level of anything that was ever applied: what reads this state must have it."""

        self.digest = DigestSum()
        self.members = MemberTable(self.digest, 1)
        self.namespaces: Table[str, Namespace] = Table(self.digest, 2)
        self.leases: DeadlineTable[str, Lease] = DeadlineTable(self.digest, 3)
        self.sessions: DeadlineTable[str, Session] = DeadlineTable(self.digest, 4)
        self.resources = ResourceTable(self.digest, 5)
        self.ended_leases: QueueTable[str, EndedLease] = QueueTable(self.digest, 6)
        self.ended_sessions: QueueTable[str, EndedSession] = QueueTable(self.digest, 7)
        self.tombstones: QueueTable[ResourceKey, Tombstone] = QueueTable(self.digest, 8)
        self.requests = RequestTable(self.digest, 9)
        self.draining: QueueTable[str, EndedSession] = QueueTable(self.digest, 10)
        """Sessions that are over, whose leases are still to be ended, a bounded number a batch."""
        self.digest_notes: QueueTable[int, DigestNote] = QueueTable(self.digest, 11)
        """By index, rising; the last few."""
        self.chronicles = ChronicleTable(self.digest, 12)
        self.expired_holders: dict[str, dict[str, int]] = {}
        """Namespace -> holder -> when it last lost a lease by expiry, oldest first: the brake's memory."""
        self.brake_missing: dict[str, dict[str, None]] = {}
        """Namespace -> holders that an engaged brake waits for."""
        self.fleet_missing: dict[HolderKey, None] = {}
        """Holders that the fleet's brake waits for while it is engaged."""
        self.breakers: Table[str, Breaker] = Table(self.digest, 20)
        """Handler -> its breaker, while that is open."""
        self.events: deque[Event] = deque()

        self.timers = Timers(self.deadline_of)
        self.targets = TargetIndex()
        self.leases_by_holder: Multimap[HolderKey, str] = Multimap()
        self.leases_by_session: Multimap[str, str] = Multimap()
        self.holders: dict[str, int] = {}
        self.lease_counts: dict[str, int] = {}
        self.session_counts: dict[str, int] = {}
        self.resource_counts: dict[tuple[str, ResourceState], int] = {}
        self.resource_totals: dict[str, int] = {}
        self.ready = ReadyIndex()
        """Cleanups that are due, unheld and not waiting for a retry: what may be claimed."""

    def forget_views(self) -> None:
        """A snapshot of this moment is read, or given up."""
        for table in (self.leases, self.sessions, self.resources, self.ended_leases, self.ended_sessions):
            table.forget_view()
        for queue in (self.tombstones, self.requests, self.draining, self.digest_notes, self.chronicles):
            queue.forget_view()

    # -- counters ---------------------------------------------------------------------------------------------

    def next_token(self) -> int:
        self.token_counter += 1
        token = (self.incarnation << TOKEN_COUNTER_BITS) + self.token_counter
        assert token < TOKEN_LIMIT, "fencing tokens are used up"
        return token

    def passed_ms(self, span_ms: int) -> int:
        """The first stamp that proves that `span_ms` have passed since the present moment (I1, I7).

        A stamp is cut to the whole millisecond: its moment may be almost one later than it says. So a span that begins
        under the stamp s has surely passed under s + span + 1, and may not have under s + span. An empty span has
        passed at once.
        """
        return self.clock_ms + span_ms + 1 if span_ms else self.clock_ms

    def emit(
        self,
        kind: EventType,
        namespace: str = "",
        resource: str = "",
        *,
        lease_id: str = "",
        session_id: str = "",
        holder: str = "",
        token: int = 0,
        detail: str = "",
    ) -> Event:
        self.event_index += 1
        events = self.events
        event = Event(
            self.event_index, self.clock_ms, kind, namespace, resource, lease_id, session_id, holder, token, detail
        )
        events.append(event)
        while len(events) > self.bounds.events_max:
            events.popleft()
        return event

    def chronicle(self, event: Event) -> None:
        """Keep an event of a resource as a part of its story, since every member can read that (`KeepChronicles`)."""
        if self.level_used >= CHRONICLE_LEVEL:
            self.chronicles.add(event, self.bounds.tombstones_max)

    # -- namespaces -------------------------------------------------------------------------------------------

    def ensure_default_namespace(self) -> None:
        if DEFAULT_NAMESPACE not in self.namespaces:
            self.namespaces.put(DEFAULT_NAMESPACE, Namespace(DEFAULT_NAMESPACE))

    # -- leases -----------------------------------------------------------------------------------------------

    def add_lease(self, lease: Lease) -> None:
        self.leases.put(lease.id, lease)
        self.index_lease(lease)

    def index_lease(self, lease: Lease) -> None:
        namespace = lease.namespace
        if self.leases_by_holder.add((namespace, lease.holder), lease.id):
            self.holders[namespace] = self.holders.get(namespace, 0) + 1
        self.lease_counts[namespace] = self.lease_counts.get(namespace, 0) + 1
        if lease.session_id:
            self.leases_by_session.add(lease.session_id, lease.id)
        else:
            self.timers.schedule(lease.deadline_ms + 1, TimerKind.LEASE, lease.id)

    def index_leases(self, leases: Sequence[Lease]) -> None:
        """As many times `index_lease`: what they have in common is looked up once."""
        by_holder: dict[HolderKey, list[str]] = {}
        by_session: dict[str, list[str]] = {}
        by_deadline: dict[int, list[TimerKey]] = {}
        for lease in leases:
            by_holder.setdefault((lease.namespace, lease.holder), []).append(lease.id)
            if lease.session_id:
                by_session.setdefault(lease.session_id, []).append(lease.id)
            else:
                by_deadline.setdefault(lease.deadline_ms, []).append(lease.id)
        for key, ids in by_holder.items():
            if self.leases_by_holder.extend(key, ids):
                self.holders[key[0]] = self.holders.get(key[0], 0) + 1
            self.lease_counts[key[0]] = self.lease_counts.get(key[0], 0) + len(ids)
        for session_id, ids in by_session.items():
            self.leases_by_session.extend(session_id, ids)
        for deadline_ms, keys in by_deadline.items():
            self.timers.schedule_all(deadline_ms + 1, TimerKind.LEASE, keys)

    def known_holder(self, namespace: str, holder: str) -> str:
        """The same name, as another lease of this holder has it: a holder of many leases is named once."""
        lease_id = self.leases_by_holder.first((namespace, holder))
        return holder if lease_id is None else self.leases[lease_id].holder

    def hasten_lease(self, lease: Lease) -> None:
        """Its deadline is about to move forward, to that of `lease`: a timer that only knows the old one is too late."""
        self.timers.schedule(lease.deadline_ms + 1, TimerKind.LEASE, lease.id)

    def drop_lease(self, lease: Lease) -> None:
        self.leases.pop(lease.id)
        namespace = lease.namespace
        if self.leases_by_holder.discard((namespace, lease.holder), lease.id):
            self.holders[namespace] -= 1
        self.lease_counts[namespace] -= 1
        if lease.session_id:
            self.leases_by_session.discard(lease.session_id, lease.id)

    def remember_lease(self, ended: EndedLease) -> None:
        self.ended_leases.put(ended.id, ended)
        self.ended_leases.trim(self.bounds.ended_leases_max)

    # -- sessions ---------------------------------------------------------------------------------------------

    def add_session(self, session: Session) -> None:
        self.sessions.put(session.id, session)
        self.index_session(session)

    def index_session(self, session: Session) -> None:
        self.session_counts[session.namespace] = self.session_counts.get(session.namespace, 0) + 1
        self.timers.schedule(session.deadline_ms + 1, TimerKind.SESSION, session.id)

    def drop_session(self, session: Session) -> None:
        self.sessions.pop(session.id)
        self.session_counts[session.namespace] -= 1

    def remember_session(self, ended: EndedSession) -> None:
        self.ended_sessions.put(ended.id, ended)
        self.ended_sessions.trim(self.bounds.ended_sessions_max)

    # -- resources --------------------------------------------------------------------------------------------

    def add_resource(self, resource: Resource) -> None:
        key = (resource.namespace, resource.name)
        self.resources.put(key, resource)
        for remembered in (self.tombstones, self.chronicles):
            if key in remembered:
                remembered.pop(key)
        self.index_resource(resource)
        if resource.cleanup is not None:
            self.targets.take(resource.cleanup.target, resource.generation)

    def index_resource(self, resource: Resource) -> None:
        """All but its target."""
        namespace, state = resource.namespace, resource.state
        self.resource_totals[namespace] = self.resource_totals.get(namespace, 0) + 1
        self.resource_counts[namespace, state] = self.resource_counts.get((namespace, state), 0) + 1
        if state is not ResourceState.LIVE:
            self._schedule(resource)

    def index_resources(self, resources: Sequence[Resource]) -> None:
        """As many times `index_resource`."""
        for (namespace, state), count in Counter(map(_namespace_and_state, resources)).items():
            self.resource_totals[namespace] = self.resource_totals.get(namespace, 0) + count
            self.resource_counts[namespace, state] = self.resource_counts.get((namespace, state), 0) + count
        for each in resources:
            if each.state is not ResourceState.LIVE:
                self._schedule(each)

    def replace_resource(self, resource: Resource, old: Resource) -> None:
        key = (resource.namespace, resource.name)
        self.resources.put(key, resource)
        if resource.state is not old.state:
            self._count(old, -1)
            self._count(resource, 1)
        if resource.cleanup is not None and old.cleanup is None:
            self.targets.take(resource.cleanup.target, resource.generation)
        if resource.state is not old.state or resource.due_ms != old.due_ms or resource.holds != old.holds:
            self._unready(old)
            self._schedule(resource)

    def drop_resource(self, resource: Resource) -> None:
        key = (resource.namespace, resource.name)
        self.resources.pop(key)
        self.resource_totals[resource.namespace] -= 1
        self._count(resource, -1)
        self._unready(resource)
        if resource.cleanup is not None:
            self.targets.free(resource.cleanup.target)

    def bury(self, tombstone: Tombstone) -> None:
        self.tombstones.put((tombstone.namespace, tombstone.name), tombstone)
        self.tombstones.trim(self.bounds.tombstones_max)

    def make_ready(self, resource: Resource) -> None:
        if not resource.holds:
            assert resource.cleanup is not None, "what is due has a cleanup"
            self.ready.add(resource.namespace, resource.cleanup.handler, resource.name)

    def order_ready(self) -> None:
        """After a restore: in the order in which they fell due, as `make_ready` keeps it."""
        self.ready.sort(lambda key: self.resources[key].due_ms)

    def _unready(self, resource: Resource) -> None:
        if resource.cleanup is not None:
            self.ready.discard(resource.namespace, resource.cleanup.handler, resource.name)

    def _count(self, resource: Resource, change: int) -> None:
        key = (resource.namespace, resource.state)
        self.resource_counts[key] = self.resource_counts.get(key, 0) + change

    def _schedule(self, resource: Resource) -> None:
        key = (resource.namespace, resource.name)
        if resource.state is ResourceState.CLAIMED:
            assert resource.claim is not None, "a claimed resource has its claim"
            self.timers.schedule(resource.claim.deadline_ms + 1, TimerKind.CLAIM, key)
        elif resource.state in (ResourceState.ORPHANED, ResourceState.DUE) and resource.cleanup is not None:
            if resource.state is ResourceState.DUE and resource.due_ms <= self.clock_ms:
                self.make_ready(resource)
            else:
                self.timers.schedule(resource.due_ms, TimerKind.CLEANUP_DUE, key)

    # -- timers -----------------------------------------------------------------------------------------------

    def deadline_of(self, kind: TimerKind, key: TimerKey) -> int | None:
        """The first stamp at which a timer's thing is due, None when nothing waits for it any more.

        A lease, session or claim is over once the clock has *passed* its deadline, see `State.passed_ms`.
        """
        if isinstance(key, str):
            if kind is TimerKind.LEASE:
                lease = self.leases.get(key)
                return lease.deadline_ms + 1 if lease is not None and not lease.session_id else None
            session = self.sessions.get(key)
            return session.deadline_ms + 1 if session is not None else None
        resource = self.resources.get(key)
        if resource is None:
            return None
        if kind is TimerKind.CLAIM:
            return resource.claim.deadline_ms + 1 if resource.claim is not None else None
        if resource.state is ResourceState.ORPHANED and resource.cleanup is not None:
            return resource.due_ms
        if resource.state is ResourceState.DUE and resource.due_ms > 0 and not self.is_ready(resource):
            return resource.due_ms
        return None

    def is_ready(self, resource: Resource) -> bool:
        """Whether its waiting is over; a hold keeps a due resource off the ready list without a timer."""
        assert resource.cleanup is not None, "what is due has a cleanup"
        return bool(resource.holds) or self.ready.has(resource.namespace, resource.cleanup.handler, resource.name)
