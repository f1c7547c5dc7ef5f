"""Taking a resource off the books by an operator's word: nothing is cleaned, and nobody will clean it.

Law: what is being used, held or cleaned is not forgotten by the way. Leases have to be ended in so many words (`force`),
for their holders are told only at the next renewal; a hold has to be removed first; and a claim is waited for, since its
attempt may still land, and would land on whatever comes next under this name.
"""

from garbagetruck.cluster.machine import leases, resources
from garbagetruck.cluster.machine.model import EndReason, Resource, ResourceState
from garbagetruck.cluster.machine.operations import ForgetResource
from garbagetruck.cluster.machine.outcomes import NO_RETRY, Reason, Refused, ResourceChanged
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.views import end_of, is_over


def forget(state: State, operation: ForgetResource) -> ResourceChanged | Refused:
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None:
        return resources.not_found(operation.namespace, operation.resource)
    refusal = _may_forget(state, operation, resource)
    if refusal is not None:
        return refusal
    for lease in [state.leases[lease_id] for lease_id in resource.leases]:
        if is_over(state, lease):
            over = end_of(state, lease)
            leases.close(state, lease, over.reason, ended_ms=over.ended_ms)
        else:
            leases.close(state, lease, EndReason.RESOURCE_FORGOTTEN)
    because = f": {operation.reason}" if operation.reason else ""
    resources.forget(state, resource, f"by {operation.actor or 'an operator'}{because}", actor=operation.actor)
    return ResourceChanged(resource.revision + 1, resource.state)


def _may_forget(state: State, operation: ForgetResource, resource: Resource) -> Refused | None:
    if operation.generation not in (0, resource.generation):
        return Refused(
            Reason.RESOURCE_NOT_FOUND,
            f"resource {resource.name!r} is in generation {resource.generation}, not {operation.generation}: it began anew",
            "generation",
            NO_RETRY,
            metadata=(("generation", str(resource.generation)),),
        )
    if resource.claim is not None:
        return Refused(
            Reason.RESOURCE_BEING_CLEANED,
            f"resource {resource.name!r} is being cleaned by {resource.claim.executor} (attempt {resource.claim.attempt}); "
            "forget it when that has ended",
            "resource",
            max(resources.BEING_CLEANED_RETRY_MS_MIN, resource.claim.deadline_ms - state.clock_ms),
            metadata=(("state", ResourceState.CLAIMED.value),),
        )
    if resource.holds:
        return Refused(
            Reason.HOLD_CONFLICT,
            f"resource {resource.name!r} is held ({resource.holds[0].id!r}); remove the hold before taking it off the books",
            "resource",
        )
    if resource.leases and not operation.force:
        return Refused(
            Reason.RESOURCE_IN_USE,
            f"resource {resource.name!r} has {len(resource.leases)} lease(s); forget it with force to end them",
            "force",
            metadata=(("leases", str(len(resource.leases))),),
        )
    return None
