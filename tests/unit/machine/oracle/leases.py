"""Leases: acquire, renew, release and end, as the oracle sees them."""

from garbagetruck.cluster.machine.model import CleanupSpec, EndReason, ResourceState
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    ForgetResource,
    ReleaseHolder,
    ReleaseLeases,
    RenewLeases,
)
from garbagetruck.cluster.machine.outcomes import (
    NO_RETRY,
    LeaseGranted,
    LeasesReleased,
    LeasesRenewed,
    Outcome,
    Reason,
    Refused,
    ResourceChanged,
)
from tests.unit.machine.oracle import brake
from tests.unit.machine.oracle.books import Books, Ended, Lease, Thing, no
from tests.unit.machine.oracle.sessions import heard_by_renewal, renew_session, split
from tests.unit.machine.oracle.views import over, refuse_lease, refuse_session, view


def acquire(books: Books, asked: AcquireLease) -> LeaseGranted | Refused:
    refusal = _may_acquire(books, asked) or _may_have(books, asked)
    if refusal is not None:
        return refusal
    session = books.sessions.get(asked.session_id)
    if session is not None:
        renew_session(books, session)
    holder = session.holder if session is not None else asked.holder
    ttl_ms = session.ttl_ms if session is not None else asked.ttl_ms
    deadline_ms = 0 if session is not None else books.clock + asked.ttl_ms
    token = books.token()
    books.leases[asked.lease_id] = Lease(
        asked.namespace, asked.resource, holder, token, ttl_ms, deadline_ms, asked.session_id
    )
    key = (asked.namespace, asked.resource)
    thing = books.things.get(key)
    if thing is None:
        books.buried.pop(key, None)
        grace_ms = max(asked.grace_ms, books.spaces[asked.namespace].cleanup.grace_ms_min)
        books.things[key] = Thing(token, asked.cleanup, grace_ms, token, leases=[asked.lease_id])
    else:
        thing.state, thing.due_ms = ResourceState.LIVE, 0
        thing.leases.append(asked.lease_id)
        thing.cleanup = thing.cleanup or asked.cleanup
        thing.grace_ms = max(thing.grace_ms, asked.grace_ms)
        thing.fencing_token = token
        thing.touch()
    brake.heard(books, asked.namespace, holder)
    seen = view(books, asked.lease_id)
    assert seen is not None
    return LeaseGranted(seen)


def _may_acquire(books: Books, asked: AcquireLease) -> Refused | None:
    limits = books.spaces[asked.namespace].limits
    if asked.lease_id in books.leases or asked.lease_id in books.ended:
        return no(Reason.LEASE_ID_TAKEN, "lease_id", 0)
    holder = asked.holder
    if asked.session_id:
        session = books.sessions.get(asked.session_id)
        if session is None or session.namespace != asked.namespace:
            return refuse_session(books, asked.session_id, asked.namespace)
        if session.holder != (holder or session.holder):
            return no(Reason.HOLDER_MISMATCH, "holder")
        holder = session.holder
    if sum(each.namespace == asked.namespace for each in books.leases.values()) >= limits.leases_max:
        return no(Reason.QUOTA_EXCEEDED)
    if len(books.leases_of(asked.namespace, holder)) >= limits.leases_per_holder_max:
        return no(Reason.QUOTA_EXCEEDED)
    return None


def _may_have(books: Books, asked: AcquireLease) -> Refused | None:
    thing = books.things.get((asked.namespace, asked.resource))
    if thing is None:
        there = sum(namespace == asked.namespace for namespace, _ in books.things)
        full = there >= books.spaces[asked.namespace].limits.resources_max
        return no(Reason.QUOTA_EXCEEDED) if full else _may_touch(books, asked.cleanup)
    if thing.claims:
        until_ms = thing.claim_deadline_ms if thing.state is ResourceState.CLAIMED else thing.due_ms
        dead = thing.state is ResourceState.DEAD_LETTER
        return no(Reason.RESOURCE_BEING_CLEANED, "resource", NO_RETRY if dead else max(100, until_ms - books.clock))
    if len(thing.leases) >= books.bounds.leases_per_resource_max:
        return no(Reason.QUOTA_EXCEEDED)
    if asked.cleanup is None or asked.cleanup == thing.cleanup:
        return None
    if thing.cleanup is not None:
        return no(Reason.CLEANUP_CONFLICT, "cleanup")
    return _may_touch(books, asked.cleanup)


def _may_touch(books: Books, cleanup: CleanupSpec | None) -> Refused | None:
    if cleanup is None:
        return None
    taken = [other.cleanup.target for other in books.things.values() if other.cleanup is not None]
    if cleanup.target in taken:
        return no(Reason.TARGET_IN_USE, "cleanup")
    wanted = cleanup.target.split("/")
    for theirs in (each.split("/") for each in taken):
        shorter = min(len(wanted), len(theirs))
        if wanted[:shorter] == theirs[:shorter]:
            return no(Reason.TARGET_OVERLAPS, "cleanup")
    return None


def renew(books: Books, asked: RenewLeases) -> LeasesRenewed:
    answers = [_renew_one(books, lease_id, asked) for lease_id in asked.lease_ids]
    return LeasesRenewed(*split(answers))


def _renew_one(books: Books, lease_id: str, asked: RenewLeases) -> int | Refused:
    lease = books.leases.get(lease_id)
    if lease is None or lease.namespace != asked.namespace or over(books, lease_id):
        return refuse_lease(books, lease_id, asked.namespace)
    if lease.session:
        return renew_session(books, books.sessions[lease.session])
    lease.ttl_ms = asked.ttl_ms or lease.ttl_ms
    lease.deadline_ms = books.clock + lease.ttl_ms
    heard_by_renewal(books, lease.namespace, lease.holder)
    return lease.ttl_ms


def release(books: Books, asked: ReleaseLeases) -> LeasesReleased:
    answers = [_release_one(books, lease_id, asked) for lease_id in asked.lease_ids]
    refusals = tuple((place, each) for place, each in enumerate(answers) if each is not None)
    return LeasesReleased(len(answers) - len(refusals), refusals)


def _release_one(books: Books, lease_id: str, asked: ReleaseLeases) -> Refused | None:
    ended = over(books, lease_id)
    if ended is not None and ended.namespace == asked.namespace and ended.why == EndReason.RELEASED:
        key = (ended.namespace, ended.resource)
        thing = books.things.get(key)
        life = thing.generation if thing is not None else books.buried.get(key)
        if asked.keep_resource and life is not None and life <= ended.token:
            return no(Reason.LEASE_ENDED, "lease_id")
        return None
    lease = books.leases.get(lease_id)
    if lease is None or lease.namespace != asked.namespace or ended is not None:
        return refuse_lease(books, lease_id, asked.namespace)
    if asked.keep_resource:
        thing = books.things[lease.namespace, lease.resource]
        if len(thing.leases) > 1:
            return no(Reason.RESOURCE_HAS_OTHER_HOLDERS, "keep_resource")
        if thing.holds:
            return no(Reason.HOLD_CONFLICT, "keep_resource")
    end(books, lease_id, EndReason.RELEASED, keep=asked.keep_resource)
    return None


def release_holder(books: Books, asked: ReleaseHolder) -> LeasesReleased:
    most = min(asked.limit, books.bounds.expirations_per_batch_max)
    released = 0
    for lease_id in books.leases_of(asked.namespace, asked.holder)[:most]:
        ended = over(books, lease_id)
        if ended is None:
            end(books, lease_id, EndReason.RELEASED)
            released += 1
        else:
            end(books, lease_id, EndReason(ended.why), ended_ms=ended.ended_ms)
    return LeasesReleased(released, (), len(books.leases_of(asked.namespace, asked.holder)))


def forget(books: Books, asked: ForgetResource) -> Outcome:
    key = (asked.namespace, asked.resource)
    thing = books.things.get(key)
    if thing is None:
        return no(Reason.RESOURCE_NOT_FOUND, "resource")
    if asked.generation not in (0, thing.generation):
        return no(Reason.RESOURCE_NOT_FOUND, "generation")
    if thing.state is ResourceState.CLAIMED:
        return no(Reason.RESOURCE_BEING_CLEANED, "resource", max(100, thing.claim_deadline_ms - books.clock))
    if thing.holds:
        return no(Reason.HOLD_CONFLICT, "resource")
    if thing.leases and not asked.force:
        return no(Reason.RESOURCE_IN_USE, "force")
    for lease_id in thing.leases:
        ended = over(books, lease_id)
        if ended is None:
            _close(books, lease_id, EndReason.RESOURCE_FORGOTTEN)
        else:
            _close(books, lease_id, EndReason(ended.why), ended_ms=ended.ended_ms)
    del books.things[key]
    return ResourceChanged(thing.revision + 1, thing.state)


def end(books: Books, lease_id: str, why: EndReason, *, keep: bool = False, ended_ms: int | None = None) -> None:
    lease = _close(books, lease_id, why, ended_ms=ended_ms)
    key = (lease.namespace, lease.resource)
    thing = books.things[key]
    thing.leases.remove(lease_id)
    thing.touch()
    if not thing.leases:
        if keep or (thing.cleanup is None and not thing.holds):
            del books.things[key]
        else:
            thing.state = ResourceState.ORPHANED
            thing.due_ms = books.after(thing.grace_ms)
            if thing.cleanup is not None and not thing.grace_ms:
                thing.state = ResourceState.DUE
                thing.touch()
    if why in (EndReason.EXPIRED, EndReason.SESSION_EXPIRED):
        brake.lost(books, lease.namespace, lease.holder)


def _close(books: Books, lease_id: str, why: EndReason, *, ended_ms: int | None = None) -> Lease:
    lease = books.leases.pop(lease_id)
    books.ended[lease_id] = Ended(
        lease.namespace,
        lease.resource,
        lease.holder,
        lease.token,
        lease.ttl_ms,
        lease.session,
        books.clock if ended_ms is None else ended_ms,
        why.value,
    )
    books.forget_oldest()
    return lease
