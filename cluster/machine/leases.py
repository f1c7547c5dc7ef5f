"""Leases: acquire, renew, release, end.

Law: a lease ends when it is swept, never by a renewal that arrives late. A renewal that meets an overdue lease
which was not yet swept succeeds; one that comes after the sweep is refused and told when and why the lease ended.
"""

from msgspec.structs import replace

from garbagetruck.cluster.machine import brake, requests, resources, sessions
from garbagetruck.cluster.machine.model import EndedLease, EndReason, EventType, Lease, RequestRecord
from garbagetruck.cluster.machine.operations import AcquireLease, ReleaseHolder, ReleaseLeases, RenewLeases
from garbagetruck.cluster.machine.outcomes import (
    LeaseGranted,
    LeasesReleased,
    LeasesRenewed,
    LeaseView,
    Reason,
    Refused,
)
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.views import (
    end_of,
    find_lease,
    is_over,
    refuse_ended_lease,
    refuse_ended_session,
    view_ended_lease,
    view_lease,
)

EXPIRY = (EndReason.EXPIRED, EndReason.SESSION_EXPIRED)


def acquire(state: State, operation: AcquireLease) -> LeaseGranted | Refused:
    key: RequestKey = (operation.namespace, operation.holder or operation.session_id, operation.request_id)
    payload = 0
    if operation.request_id:
        payload = requests.payload_hash(operation, "lease_id")
        first = requests.recall(state, key, payload, requests.LEASE)
        if isinstance(first, Refused):
            return first
        if first is not None:
            return LeaseGranted(_first_answer(state, operation, first))
    refusal = _may_acquire(state, operation) or resources.may_acquire(state, operation)
    if refusal is not None:
        return refusal
    session = state.sessions.get(operation.session_id) if operation.session_id else None
    if session is not None:
        session = sessions.renew(state, session)
    namespace = state.namespaces[operation.namespace].name  # what leases have in common is kept once
    holder = session.holder if session is not None else state.known_holder(namespace, operation.holder)
    lease = Lease(
        operation.lease_id,
        namespace,
        operation.resource,
        holder,
        state.next_token(),
        session.ttl_ms if session is not None else operation.ttl_ms,
        0 if session is not None else state.clock_ms + operation.ttl_ms,
        session.id if session is not None else "",
        state.clock_ms,
        operation.labels,
    )
    resources.attach(state, operation, lease)
    state.add_lease(lease)
    if operation.request_id:
        requests.remember(state, key, payload, requests.LEASE + lease.id)
    state.emit(
        EventType.LEASE_ACQUIRED,
        lease.namespace,
        lease.resource,
        lease_id=lease.id,
        session_id=lease.session_id,
        holder=lease.holder,
        token=lease.token,
    )
    brake.note_return(state, lease.namespace, lease.holder)
    return LeaseGranted(view_lease(state, lease, state.clock_ms))


def _may_acquire(state: State, operation: AcquireLease) -> Refused | None:
    namespace = state.namespaces[operation.namespace]
    if operation.lease_id in state.leases or operation.lease_id in state.ended_leases:
        return Refused(Reason.LEASE_ID_TAKEN, "the drawn lease id exists already; try again", "lease_id", 0)
    holder = operation.holder
    if operation.session_id:
        session = state.sessions.get(operation.session_id)
        if session is None or session.namespace != operation.namespace:
            return refuse_ended_session(state, operation.session_id, operation.namespace)
        if operation.holder and session.holder != operation.holder:
            return Refused(
                Reason.HOLDER_MISMATCH,
                f"session {session.id!r} belongs to {session.holder!r}, not to {operation.holder!r}",
                "holder",
            )
        holder = session.holder
    if state.lease_counts.get(operation.namespace, 0) >= namespace.limits.leases_max:
        return _quota("leases_max", namespace.limits.leases_max, f"namespace {namespace.name!r}")
    if state.leases_by_holder.count((operation.namespace, holder)) >= namespace.limits.leases_per_holder_max:
        return _quota("leases_per_holder_max", namespace.limits.leases_per_holder_max, f"holder {holder!r}")
    return None


def _quota(limit: str, value: int, who: str) -> Refused:
    return Refused(
        Reason.QUOTA_EXCEEDED,
        f"{who} has reached {limit} = {value}; release leases, or raise the limit with `namespace set`",
        metadata=(("limit", limit), ("value", str(value))),
    )


def _first_answer(state: State, operation: AcquireLease, first: RequestRecord) -> LeaseView:
    """The lease that the first attempt made, with what remains of it *now*: a client counts from its latest send."""
    lease_id = first.subject.removeprefix(requests.LEASE)
    view = find_lease(state, lease_id, state.clock_ms)
    if view is not None:
        return view
    ended = EndedLease(
        lease_id,
        operation.namespace,
        operation.resource,
        operation.holder,
        0,
        operation.ttl_ms,
        operation.session_id,
        first.recorded_ms,
        EndReason.RELEASED,
        operation.labels,
    )
    return view_ended_lease(ended)


def renew(state: State, operation: RenewLeases) -> LeasesRenewed:
    """What most of all log entries are made of: a lease that stands alone costs no call of ours."""
    remaining: list[int] = []
    refusals: list[tuple[int, Refused]] = []
    prolonged: dict[str, Lease] = {}
    leases, namespace, clock_ms = state.leases, operation.namespace, state.clock_ms
    braked = namespace in state.brake_missing
    latest_ttl_ms = deadline_ms = 0
    for position, lease_id in enumerate(operation.lease_ids):
        lease = leases.get(lease_id)
        if lease is None or lease.namespace != namespace or lease.session_id:
            answer = _renew_with_session(state, lease_id, operation)
            if isinstance(answer, Refused):
                refusals.append((position, answer))
                remaining.append(-1)
            else:
                remaining.append(answer)
            continue
        ttl_ms = operation.ttl_ms or lease.ttl_ms
        if ttl_ms != latest_ttl_ms:  # so that leases renewed together keep one number
            latest_ttl_ms, deadline_ms = ttl_ms, clock_ms + ttl_ms
        remaining.append(ttl_ms)
        if deadline_ms != lease.deadline_ms or ttl_ms != lease.ttl_ms:
            prolonged[lease_id] = replace(lease, ttl_ms=ttl_ms, deadline_ms=deadline_ms)
            if deadline_ms < lease.deadline_ms:
                state.hasten_lease(prolonged[lease_id])
        if braked:
            brake.note_return(state, namespace, lease.holder)
    leases.prolong(prolonged)
    return LeasesRenewed(tuple(remaining), tuple(refusals))


def _renew_with_session(state: State, lease_id: str, operation: RenewLeases) -> int | Refused:
    """Renew a lease through its session, whose TTL holds whatever was asked for; or refuse what is no lease any more."""
    lease = state.leases.get(lease_id)
    session = state.sessions.get(lease.session_id) if lease is not None else None
    if lease is None or lease.namespace != operation.namespace or session is None:
        return refuse_ended_lease(state, lease_id, operation.namespace)
    return sessions.renew(state, session).ttl_ms


def release(state: State, operation: ReleaseLeases) -> LeasesReleased:
    released = 0
    refusals: list[tuple[int, Refused]] = []
    for position, lease_id in enumerate(operation.lease_ids):
        refusal = _release_one(state, lease_id, operation)
        if refusal is None:
            released += 1
        else:
            refusals.append((position, refusal))
    return LeasesReleased(released, tuple(refusals))


def _release_one(state: State, lease_id: str, operation: ReleaseLeases) -> Refused | None:
    lease = state.leases.get(lease_id)
    if lease is None or lease.namespace != operation.namespace or is_over(state, lease):
        ended = state.ended_leases.get(lease_id)
        if ended is not None and ended.namespace == operation.namespace and ended.reason is EndReason.RELEASED:
            # A repeated release is the same release, as long as it asks no more than the first did.
            return resources.may_repeat_release(state, ended, keep=operation.keep_resource)
        return refuse_ended_lease(state, lease_id, operation.namespace)
    if operation.keep_resource:
        refusal = resources.may_keep(state, lease)
        if refusal is not None:
            return refusal
    end(state, lease, EndReason.RELEASED, keep_resource=operation.keep_resource)
    return None


def release_holder(state: State, operation: ReleaseHolder) -> LeasesReleased:
    key = (operation.namespace, operation.holder)
    most = min(operation.limit, state.bounds.expirations_per_batch_max)
    chosen: list[str] = []
    for lease_id in state.leases_by_holder.values(key):
        if len(chosen) == most:
            break
        chosen.append(lease_id)
    released = 0
    for lease_id in chosen:
        lease = state.leases[lease_id]
        if is_over(state, lease):
            over = end_of(state, lease)  # with its session, for a reason of its own: nobody can give it back any more
            end(state, lease, over.reason, ended_ms=over.ended_ms)
        else:
            end(state, lease, EndReason.RELEASED)
            released += 1
    return LeasesReleased(released, (), state.leases_by_holder.count(key))


def end(state: State, lease: Lease, reason: EndReason, *, keep_resource: bool = False, ended_ms: int = -1) -> None:
    """End a lease, and with the last one its resource's life. `ended_ms` -1 means now."""
    close(state, lease, reason, ended_ms=ended_ms)
    resources.detach(state, lease, keep=keep_resource)
    if reason in EXPIRY:
        brake.note_expiry(state, lease.namespace, lease.holder)


def close(state: State, lease: Lease, reason: EndReason, *, ended_ms: int = -1) -> None:
    """End a lease, and leave its resource to the caller."""
    state.drop_lease(lease)
    state.remember_lease(
        EndedLease(
            lease.id,
            lease.namespace,
            lease.resource,
            lease.holder,
            lease.token,
            lease.ttl_ms,
            lease.session_id,
            state.clock_ms if ended_ms < 0 else ended_ms,
            reason,
            lease.labels,
        )
    )
    state.emit(
        EventType.LEASE_EXPIRED if reason in EXPIRY else EventType.LEASE_RELEASED,
        lease.namespace,
        lease.resource,
        lease_id=lease.id,
        session_id=lease.session_id,
        holder=lease.holder,
        token=lease.token,
        detail=reason.value,
    )
