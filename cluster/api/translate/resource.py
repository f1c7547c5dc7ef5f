"""Resources, their claims and holds, and their cleanups, on the wire."""

from collections.abc import Iterable, Mapping

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.machine.model import Claim, CleanupSpec, Hold, Labels, Resource, ResourceState, Tombstone
from garbagetruck.v1 import cleanup_pb2, cleanup_spec_pb2, lease_pb2, resource_pb2

STATES: Mapping[ResourceState, resource_pb2.ResourceState.ValueType] = {
    ResourceState.LIVE: resource_pb2.RESOURCE_STATE_LIVE,
    ResourceState.ORPHANED: resource_pb2.RESOURCE_STATE_ORPHANED,
    ResourceState.DUE: resource_pb2.RESOURCE_STATE_DUE,
    ResourceState.CLAIMED: resource_pb2.RESOURCE_STATE_CLAIMED,
    ResourceState.CLEANED: resource_pb2.RESOURCE_STATE_CLEANED,
    ResourceState.DEAD_LETTER: resource_pb2.RESOURCE_STATE_DEAD_LETTER,
}
STATES_BY_NUMBER: Mapping[int, ResourceState] = {number: state for state, number in STATES.items()}


def resource_message(resource: Resource | Tombstone, leases: Iterable[lease_pb2.Lease] = ()) -> resource_pb2.Resource:
    if isinstance(resource, Tombstone):
        return resource_pb2.Resource(
            namespace=resource.namespace,
            name=resource.name,
            generation=resource.generation,
            state=resource_pb2.RESOURCE_STATE_CLEANED,
            cleanup=cleanup_spec(resource.cleanup),
            target=resource.cleanup.target,
            fencing_token=max(resource.fencing_token, resource.claim_token),
            labels=_map(resource.labels),
            cleaned_ms=resource.cleaned_ms,
            attempts=resource.attempts,
        )
    return resource_pb2.Resource(
        namespace=resource.namespace,
        name=resource.name,
        generation=resource.generation,
        state=STATES[resource.state],
        cleanup=cleanup_spec(resource.cleanup),
        target=resource.cleanup.target if resource.cleanup is not None else "",
        fencing_token=max(resource.fencing_token, resource.claim.token if resource.claim is not None else 0),
        grace_ms=resource.grace_ms,
        labels=_map(resource.labels),
        leases=leases,
        lease_count=len(resource.leases),
        holds=[hold_message(hold) for hold in resource.holds],
        created_ms=resource.created_ms,
        orphaned_ms=resource.orphaned_ms,
        due_ms=resource.due_ms,
        attempts=resource.claims,
        last_error=resource.last_error,
        revision=resource.revision,
        claim=claim_message(resource.claim),
    )


def cleanup_message(resource: Resource, blocked_by: str) -> cleanup_pb2.Cleanup:
    """The cleanup of an orphan. `blocked_by`: what keeps it from being claimed, empty for nothing."""
    return cleanup_pb2.Cleanup(
        namespace=resource.namespace,
        resource=resource.name,
        generation=resource.generation,
        state=STATES[resource.state],
        spec=cleanup_spec(resource.cleanup),
        target=resource.cleanup.target if resource.cleanup is not None else "",
        orphaned_ms=resource.orphaned_ms,
        due_ms=resource.due_ms,
        attempts=resource.claims,
        last_error=resource.last_error,
        claim=claim_message(resource.claim),
        blocked_by=blocked_by,
    )


def cleanup_spec(spec: CleanupSpec | None) -> cleanup_spec_pb2.CleanupSpec | None:
    if spec is None:
        return None
    return cleanup_spec_pb2.CleanupSpec(handler=spec.handler, parameters=_map(spec.parameters))


def claim_message(claim: Claim | None) -> resource_pb2.Claim | None:
    if claim is None:
        return None
    return resource_pb2.Claim(
        token=claim.token, deadline_ms=claim.deadline_ms, attempt=claim.attempt, executor=claim.executor
    )


def hold_message(hold: Hold) -> resource_pb2.Hold:
    return resource_pb2.Hold(id=hold.id, reason=hold.reason, actor=hold.actor, created_ms=hold.created_ms)


def states(numbers: Iterable[int], allowed: frozenset[ResourceState]) -> frozenset[ResourceState]:
    """The states that a list is filtered by; empty for none given."""
    wanted = set()
    for position, number in enumerate(numbers):
        state = STATES_BY_NUMBER.get(number)
        if state is None or state not in allowed:
            names = ", ".join(sorted(each.name for each in allowed))
            raise invalid(f"states[{position}]", f"is {number}; it must be one of {names}")
        wanted.add(state)
    return frozenset(wanted)


def _map(pairs: Labels) -> dict[str, str] | None:
    return dict(pairs) if pairs else None
