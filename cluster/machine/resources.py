"""Resources: one cleanup each, one owner for each target, one life after another.

Law: from the first committed claim on, a generation is never adopted, for an attempt that seemed to fail may still
land. The name is free again once the resource is cleaned, or an operator settled it; then a new generation begins,
under a higher token.
"""

from msgspec.structs import replace

from garbagetruck.cluster.machine.model import (
    EndedLease,
    EventType,
    Hold,
    Lease,
    Resource,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import AcquireLease, PlaceHold, RemoveHold
from garbagetruck.cluster.machine.outcomes import NO_RETRY, Reason, Refused, ResourceChanged
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.targets import Overlap

BEING_CLEANED_RETRY_MS_MIN = 100
"""How soon at the earliest whoever waits for the end of a cleanup is told to come back, also when that is overdue."""


def may_acquire(state: State, operation: AcquireLease) -> Refused | None:
    """Why a lease on this resource cannot be had now, or None."""
    key = (operation.namespace, operation.resource)
    resource = state.resources.get(key)
    if resource is None:
        limit = state.namespaces[operation.namespace].limits.resources_max
        if state.resource_totals.get(operation.namespace, 0) >= limit:
            return Refused(
                Reason.QUOTA_EXCEEDED,
                f"namespace {operation.namespace!r} has reached resources_max = {limit}; raise it with `namespace set`",
                metadata=(("limit", "resources_max"), ("value", str(limit))),
            )
        return _may_take_target(state, operation)
    if resource.claims:
        return _being_cleaned(state, resource)
    if len(resource.leases) >= state.bounds.leases_per_resource_max:
        most = state.bounds.leases_per_resource_max
        return Refused(
            Reason.QUOTA_EXCEEDED,
            f"resource {resource.name!r} has {most} leases, the most one resource may have",
            metadata=(("limit", "leases_per_resource_max"), ("value", str(most))),
        )
    if operation.cleanup is None or operation.cleanup == resource.cleanup:
        return None
    if resource.cleanup is not None:
        return Refused(
            Reason.CLEANUP_CONFLICT,
            f"resource {resource.name!r} already has the cleanup {resource.cleanup.handler!r} on "
            f"{resource.cleanup.target!r}; name the same one, or none",
            "cleanup",
        )
    return _may_take_target(state, operation)


def _may_take_target(state: State, operation: AcquireLease) -> Refused | None:
    if operation.cleanup is None:
        return None
    target = operation.cleanup.target
    generation = state.targets.owner(target)
    if generation is not None:
        owner = state.resources.of_generation(generation)
        return Refused(
            Reason.TARGET_IN_USE,
            f"the cleanup's target {target!r} belongs to resource {owner.name!r} (namespace {owner.namespace!r}); "
            "one target has one resource: lease that one",
            "cleanup",
            metadata=(("target", target), ("owner", owner.name), ("owner_namespace", owner.namespace)),
        )
    overlap = state.targets.overlap(target)
    return None if overlap is None else _overlapping(state, target, overlap)


def _overlapping(state: State, target: str, overlap: Overlap) -> Refused:
    metadata = [("target", target)]
    if overlap.owner is None:
        what = f"{overlap.within} target(s) that other resources own lie within it"
        metadata.append(("within", str(overlap.within)))
    else:
        owner = state.resources.of_generation(overlap.owner)
        what = f"it lies within {overlap.container!r} of resource {owner.name!r} (namespace {owner.namespace!r})"
        metadata += [("container", overlap.container), ("owner", owner.name), ("owner_namespace", owner.namespace)]
    return Refused(
        Reason.TARGET_OVERLAPS,
        f"the cleanup's target {target!r} overlaps another resource's: {what}",
        "cleanup",
        metadata=tuple(metadata),
    )


def _being_cleaned(state: State, resource: Resource) -> Refused:
    if resource.state is ResourceState.DEAD_LETTER:
        return Refused(
            Reason.RESOURCE_BEING_CLEANED,
            f"the cleanup of resource {resource.name!r} used up its attempts ({resource.last_error}); an operator must "
            "retry or discard it before the name can be used again",
            "resource",
            metadata=(("state", resource.state.value),),
        )
    until_ms = resource.claim.deadline_ms if resource.claim is not None else resource.due_ms
    retry_after_ms = max(BEING_CLEANED_RETRY_MS_MIN, until_ms - state.clock_ms)
    return Refused(
        Reason.RESOURCE_BEING_CLEANED,
        f"resource {resource.name!r} is being cleaned (attempt {resource.claims}); acquire it again afterwards",
        "resource",
        retry_after_ms,
        metadata=(("state", resource.state.value),),
    )


def attach(state: State, operation: AcquireLease, lease: Lease) -> None:
    """Put a new lease on its resource: begin a life, adopt an orphan, or join the other holders."""
    key = (lease.namespace, lease.resource)
    resource = state.resources.get(key)
    if resource is None:
        grace_ms = max(operation.grace_ms, state.namespaces[lease.namespace].cleanup.grace_ms_min)
        state.add_resource(
            Resource(
                lease.namespace,
                lease.resource,
                lease.token,
                ResourceState.LIVE,
                1,
                operation.cleanup,
                grace_ms,
                operation.labels,
                (lease.id,),
                (),
                lease.token,
                state.clock_ms,
                0,
                0,
                0,
                0,
                None,
                "",
            )
        )
        return
    adopted = resource.state is not ResourceState.LIVE
    state.replace_resource(
        replace(
            resource,
            state=ResourceState.LIVE,
            revision=resource.revision + 1,
            cleanup=resource.cleanup or operation.cleanup,
            grace_ms=max(resource.grace_ms, operation.grace_ms),
            leases=(*resource.leases, lease.id),
            fencing_token=lease.token,
            orphaned_ms=0,
            due_ms=0,
        ),
        resource,
    )
    if adopted:
        state.chronicle(
            state.emit(
                EventType.RESOURCE_ADOPTED,
                lease.namespace,
                lease.resource,
                lease_id=lease.id,
                holder=lease.holder,
                token=lease.token,
            )
        )


def detach(state: State, lease: Lease, *, keep: bool) -> None:
    """Take an ended lease off its resource; without any left the resource is an orphan, or off the books."""
    key = (lease.namespace, lease.resource)
    resource = state.resources[key]
    if resource.leases != (lease.id,):
        left = tuple(each for each in resource.leases if each != lease.id)
        assert len(left) + 1 == len(resource.leases), "a lease stands once on its resource"
        assert not keep, "a resource is kept by its last holder only"
        state.replace_resource(replace(resource, revision=resource.revision + 1, leases=left), resource)
    elif keep:
        forget(state, resource, f"kept by {lease.holder}")
    elif resource.cleanup is None and not resource.holds:
        forget(state, resource, "no cleanup is registered")
    else:
        _orphan(state, resource)


def _orphan(state: State, resource: Resource) -> None:
    orphan = replace(
        resource,
        state=ResourceState.ORPHANED,
        revision=resource.revision + 1,
        leases=(),
        orphaned_ms=state.clock_ms,
        due_ms=state.passed_ms(resource.grace_ms),
    )
    state.replace_resource(orphan, resource)
    state.emit(EventType.RESOURCE_ORPHANED, orphan.namespace, orphan.name, detail=f"due_ms={orphan.due_ms}")
    if orphan.cleanup is not None and orphan.due_ms <= state.clock_ms:
        fall_due(state, orphan)  # left to the next sweep, it would make every batch that releases look behind


def fall_due(state: State, orphan: Resource) -> None:
    """An orphan's grace is over."""
    state.replace_resource(replace(orphan, state=ResourceState.DUE, revision=orphan.revision + 1), orphan)
    state.emit(EventType.CLEANUP_DUE, orphan.namespace, orphan.name)


def forget(state: State, resource: Resource, why: str, *, actor: str = "") -> None:
    """Take a resource off the books without cleaning it."""
    state.drop_resource(resource)
    told = state.emit(EventType.RESOURCE_FORGOTTEN, resource.namespace, resource.name, holder=actor, detail=why)
    if resource.cleanup is not None:  # else it had nothing to be forgotten, and most such resources come and go
        state.chronicle(told)


def may_keep(state: State, lease: Lease) -> Refused | None:
    resource = state.resources[(lease.namespace, lease.resource)]
    others = len(resource.leases) - 1
    if others:
        return Refused(
            Reason.RESOURCE_HAS_OTHER_HOLDERS,
            f"resource {resource.name!r} has {others} other lease(s); only the last one may keep it",
            "keep_resource",
        )
    if resource.holds:
        return Refused(
            Reason.HOLD_CONFLICT,
            f"resource {resource.name!r} is held ({resource.holds[0].id!r}); remove the hold before taking it off the "
            "books",
            "keep_resource",
        )
    return None


def may_repeat_release(state: State, ended: EndedLease, *, keep: bool) -> Refused | None:
    """A repeated release is idempotent; one that asks to keep what is an orphan, or cleaned, by now comes too late."""
    key = (ended.namespace, ended.resource)
    life = state.resources.get(key) or state.tombstones.get(key)
    if not keep or life is None or life.generation > ended.token:
        return None
    return Refused(
        Reason.LEASE_ENDED,
        f"lease {ended.id!r} was released before, without keep_resource; acquire {ended.resource!r} again to keep it",
        "lease_id",
        metadata=(("ended_ms", str(ended.ended_ms)), ("end_reason", ended.reason.value), ("resource", ended.resource)),
    )


def place_hold(state: State, operation: PlaceHold) -> ResourceChanged | Refused:
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None:
        return not_found(operation.namespace, operation.resource)
    placed = next((hold for hold in resource.holds if hold.id == operation.hold_id), None)
    if placed is not None:
        if placed.reason == operation.reason:
            return ResourceChanged(resource.revision, resource.state)  # placing a hold twice is placing it once
        return Refused(
            Reason.HOLD_CONFLICT, f"hold {placed.id!r} is there for another reason: {placed.reason}", "hold_id"
        )
    if resource.state is ResourceState.CLAIMED:
        assert resource.claim is not None, "a claimed resource has its claim"
        return Refused(
            Reason.HOLD_CONFLICT,
            f"resource {resource.name!r} is being cleaned already; a hold cannot call that back",
            "resource",
            max(BEING_CLEANED_RETRY_MS_MIN, resource.claim.deadline_ms - state.clock_ms),
        )
    if len(resource.holds) >= state.bounds.holds_per_resource_max:
        most = state.bounds.holds_per_resource_max
        return Refused(
            Reason.QUOTA_EXCEEDED,
            f"resource {resource.name!r} has {most} holds, the most one resource may have",
            metadata=(("limit", "holds_per_resource_max"), ("value", str(most))),
        )
    hold = Hold(operation.hold_id, operation.reason, operation.actor, state.clock_ms)
    changed = replace(resource, revision=resource.revision + 1, holds=(*resource.holds, hold))
    state.replace_resource(changed, resource)
    state.chronicle(
        state.emit(
            EventType.HOLD_PLACED,
            resource.namespace,
            resource.name,
            holder=operation.actor,
            detail=f"{hold.id}: {hold.reason}",
        )
    )
    return ResourceChanged(changed.revision, changed.state)


def remove_hold(state: State, operation: RemoveHold) -> ResourceChanged | Refused:
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None:
        return not_found(operation.namespace, operation.resource)
    left = tuple(hold for hold in resource.holds if hold.id != operation.hold_id)
    if len(left) == len(resource.holds):
        return Refused(
            Reason.HOLD_NOT_FOUND, f"resource {resource.name!r} has no hold {operation.hold_id!r}", "hold_id"
        )
    changed = replace(resource, revision=resource.revision + 1, holds=left)
    state.replace_resource(changed, resource)
    state.chronicle(
        state.emit(
            EventType.HOLD_REMOVED, resource.namespace, resource.name, holder=operation.actor, detail=operation.hold_id
        )
    )
    if not left and changed.state is ResourceState.ORPHANED and changed.cleanup is None:
        forget(state, changed, "the last hold is gone and no cleanup is registered")
    return ResourceChanged(changed.revision, changed.state)


def not_found(namespace: str, resource: str) -> Refused:
    return Refused(
        Reason.RESOURCE_NOT_FOUND,
        f"no resource {resource!r} in namespace {namespace!r}",
        "resource",
        NO_RETRY,
    )
