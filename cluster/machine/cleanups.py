"""Cleanups: due, claimed, reported, retried, parked.

Law: a claim is committed only for an orphan that is due, unheld, unpaused and exactly as the leader saw it; only the
claim's own token reports its end; and before its deadline has passed nobody else claims. (Invariants I1, I4, I5.)
"""

import xxhash
from msgspec.structs import replace

from garbagetruck.cluster.machine import breakers, fleet, quarantine, resources
from garbagetruck.cluster.machine.model import (
    Claim,
    EventType,
    Namespace,
    ReportResult,
    Resource,
    ResourceState,
    Tombstone,
)
from garbagetruck.cluster.machine.operations import ClaimCleanup, DiscardCleanup, ReportCleanup, RetryCleanup
from garbagetruck.cluster.machine.outcomes import (
    CleanupClaimed,
    CleanupReported,
    Reason,
    Refused,
    ResourceChanged,
)
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.validation import ERROR_BYTES_MAX


def claim(state: State, operation: ClaimCleanup, *, sweep_behind: bool) -> CleanupClaimed | Refused:
    resource = state.resources.get((operation.namespace, operation.resource))
    refusal = _may_claim(state, operation, resource, sweep_behind=sweep_behind)
    if refusal is not None:
        return refusal
    assert resource is not None, "checked above"
    assert resource.cleanup is not None, "checked above"
    made = Claim(
        state.next_token(),
        resource.claims + 1,
        state.epoch,
        operation.executor,
        state.clock_ms + operation.duration_ms,
        operation.identity,
    )
    state.replace_resource(
        replace(
            resource,
            state=ResourceState.CLAIMED,
            revision=resource.revision + 1,
            claims=resource.claims + 1,
            claim=made,
        ),
        resource,
    )
    breakers.claimed(state, resource.cleanup.handler, made.token)
    state.emit(
        EventType.CLEANUP_CLAIMED,
        resource.namespace,
        resource.name,
        token=made.token,
        detail=f"attempt {made.attempt} by {made.executor}",
    )
    return CleanupClaimed(made.token, made.attempt, made.deadline_ms)


def _may_claim(
    state: State, operation: ClaimCleanup, resource: Resource | None, *, sweep_behind: bool
) -> Refused | None:
    if resource is None:
        return resources.not_found(operation.namespace, operation.resource)
    if resource.generation != operation.generation or resource.revision != operation.revision:
        return Refused(Reason.CLEANUP_NOT_DUE, f"resource {resource.name!r} changed since the claim was proposed")
    if resource.state is not ResourceState.DUE or resource.due_ms > state.clock_ms:
        return Refused(Reason.CLEANUP_NOT_DUE, f"resource {resource.name!r} is {resource.state}, not due")
    assert not resource.leases, "what is due has no lease"
    assert resource.cleanup is not None, "what is due has a cleanup"
    if resource.holds:
        return Refused(Reason.HOLD_CONFLICT, f"resource {resource.name!r} is held: {resource.holds[0].reason}")
    refusal = _kept_back(state, state.namespaces[operation.namespace])
    if refusal is not None:
        return refusal
    if sweep_behind:
        # The brake has not seen all expiries yet, so nobody knows whether this orphan is one of very many.
        return Refused(Reason.SWEEP_BEHIND, "expiries are still being swept", retry_after_ms=0)
    if not 0 < operation.duration_ms <= state.bounds.claim_ms_max:
        return Refused(Reason.INVALID_ARGUMENT, f"duration_ms: must be from 1 to {state.bounds.claim_ms_max}")
    return breakers.refusal(state, resource.cleanup.handler)


def _kept_back(state: State, namespace: Namespace) -> Refused | None:
    """Why none of a namespace's cleanups may be claimed now; None when they may."""
    if state.cleanups_paused or namespace.paused or namespace.brake_engaged or fleet.holds(state, namespace):
        return Refused(Reason.CLEANUPS_PAUSED, f"cleanups of namespace {namespace.name!r} are paused or braked")
    if (left_ms := quarantine.left_ms(state)) is not None:
        return Refused(
            Reason.CLEANUPS_PAUSED,
            f"the cluster was restored: for {left_ms} ms more it waits for holders that it may not know of any more",
            retry_after_ms=left_ms,
        )
    if namespace.cleanups_not_before_ms > state.clock_ms:
        return Refused(
            Reason.CLEANUPS_PAUSED,
            f"namespace {namespace.name!r} waits for holders that may still come back",
            retry_after_ms=namespace.cleanups_not_before_ms - state.clock_ms,
        )
    return None


def report(state: State, operation: ReportCleanup) -> CleanupReported | Refused:
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None or resource.claim is None or resource.claim.token != operation.token:
        return Refused(
            Reason.CLAIM_NOT_CURRENT,
            f"claim {operation.token} on {operation.resource!r} is over; its report changes nothing",
        )
    assert resource.cleanup is not None, "what is claimed has a cleanup"
    breakers.ended(state, resource.cleanup.handler, resource.claim.token, operation.result)
    if operation.result is ReportResult.DONE:
        _bury(state, resource, resource.claim)
        return CleanupReported(ResourceState.CLEANED, 0)
    error = operation.error.encode()[:ERROR_BYTES_MAX].decode("utf-8", "ignore")
    if operation.result is ReportResult.NOT_ATTEMPTED:
        changed = _wait_again(state, resource, resource.claim, error, failed=False)
    elif operation.result is ReportResult.FAILED_FOR_GOOD:
        changed = _park(state, resource, error, resource.failures + 1)
    else:
        changed = _fail(state, resource, resource.claim, error)
    return CleanupReported(changed.state, changed.due_ms)


def lapse(state: State, resource: Resource) -> None:
    """A claim's deadline passed without a report: whoever had it is silent, and must have stopped by now."""
    made = resource.claim
    assert made is not None, "only a claim lapses"
    # It counts, whoever leads by now: a handler that takes its node down each time must end as a dead letter, too.
    left = "" if made.epoch == state.epoch else ", and no longer leads"
    error = f"attempt {made.attempt} by {made.executor} did not report before its deadline{left}"
    assert resource.cleanup is not None, "what is claimed has a cleanup"
    breakers.ended(state, resource.cleanup.handler, made.token, ReportResult.FAILED)
    _fail(state, resource, made, error)


def void(state: State, resource: Resource) -> None:
    """A restore ends a claim: its executor belongs to an earlier incarnation, and may go on until the deadline.

    It counts like one that lapsed, and nobody else claims before the deadline has passed.
    """
    made = resource.claim
    assert made is not None, "only a claim is voided"
    error = f"attempt {made.attempt} by {made.executor} was under way when the cluster was restored"
    assert resource.cleanup is not None, "what is claimed has a cleanup"
    breakers.ended(state, resource.cleanup.handler, made.token, ReportResult.NOT_ATTEMPTED)
    _fail(state, resource, made, error, not_before_ms=made.deadline_ms + 1)


def _bury(state: State, resource: Resource, made: Claim) -> None:
    assert resource.cleanup is not None, "what was cleaned has a cleanup"
    state.drop_resource(resource)
    state.bury(
        Tombstone(
            resource.namespace,
            resource.name,
            resource.generation,
            resource.cleanup,
            resource.labels,
            resource.fencing_token,
            made.token,
            made.attempt,
            state.clock_ms,
        )
    )
    state.chronicle(
        state.emit(
            EventType.CLEANUP_DONE,
            resource.namespace,
            resource.name,
            token=made.token,
            detail=f"attempt {made.attempt} by {made.executor}",
        )
    )


def _fail(state: State, resource: Resource, made: Claim, error: str, *, not_before_ms: int = 0) -> Resource:
    failures = resource.failures + 1
    if failures >= state.namespaces[resource.namespace].cleanup.attempts_max:
        return _park(state, resource, error, failures)
    return _wait_again(state, resource, made, error, failed=True, not_before_ms=not_before_ms)


def _wait_again(
    state: State, resource: Resource, made: Claim, error: str, *, failed: bool, not_before_ms: int = 0
) -> Resource:
    failures = resource.failures + (1 if failed else 0)
    delay_ms = retry_delay_ms(state, resource.namespace, max(1, failures), made.token)
    delay_ms = max(delay_ms, not_before_ms - state.clock_ms)
    changed = replace(
        resource,
        state=ResourceState.DUE,
        revision=resource.revision + 1,
        due_ms=state.clock_ms + delay_ms,
        failures=failures,
        claim=None,
        last_error=error,
    )
    state.replace_resource(changed, resource)
    state.chronicle(
        state.emit(
            EventType.CLEANUP_FAILED,
            resource.namespace,
            resource.name,
            token=made.token,
            detail=f"attempt {made.attempt}: {error}; again in {delay_ms} ms",
        )
    )
    return changed


def retry_delay_ms(state: State, namespace: str, failures: int, token: int) -> int:
    """Exponential, capped, with a jitter of half its length drawn from the token: the same on every node."""
    settings = state.namespaces[namespace].cleanup
    delay_ms = min(settings.retry_delay_ms_max, settings.retry_delay_ms_min << min(failures - 1, 40))
    spread = xxhash.xxh3_64_intdigest(token.to_bytes(8, "big")) % 1_024
    return delay_ms // 2 + (delay_ms - delay_ms // 2) * spread // 1_023


def _park(state: State, resource: Resource, error: str, failures: int) -> Resource:
    changed = replace(
        resource,
        state=ResourceState.DEAD_LETTER,
        revision=resource.revision + 1,
        due_ms=0,
        failures=failures,
        claim=None,
        last_error=error,
    )
    state.replace_resource(changed, resource)
    state.chronicle(state.emit(EventType.CLEANUP_DEAD_LETTER, resource.namespace, resource.name, detail=error))
    return changed


def retry(state: State, operation: RetryCleanup) -> ResourceChanged | Refused:
    """Give a dead letter all its attempts again, or shorten a retry's wait."""
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None:
        return resources.not_found(operation.namespace, operation.resource)
    waits = resource.state is ResourceState.DUE and resource.claims > 0
    if resource.state is not ResourceState.DEAD_LETTER and not waits:
        return _not_dead_letter(resource)
    changed = replace(
        resource, state=ResourceState.DUE, revision=resource.revision + 1, due_ms=state.clock_ms, failures=0
    )
    state.replace_resource(changed, resource)
    state.chronicle(state.emit(EventType.CLEANUP_RETRIED, resource.namespace, resource.name, holder=operation.actor))
    return ResourceChanged(changed.revision, changed.state)


def discard(state: State, operation: DiscardCleanup) -> ResourceChanged | Refused:
    """Settle a dead letter without cleaning: the operator answers for the target from here on."""
    resource = state.resources.get((operation.namespace, operation.resource))
    if resource is None:
        return resources.not_found(operation.namespace, operation.resource)
    if resource.state is not ResourceState.DEAD_LETTER:
        return _not_dead_letter(resource)
    state.chronicle(
        state.emit(
            EventType.CLEANUP_DISCARDED,
            resource.namespace,
            resource.name,
            holder=operation.actor,
            detail=operation.reason,
        )
    )
    resources.forget(state, resource, f"discarded by {operation.actor or 'an operator'}")
    return ResourceChanged(resource.revision + 1, ResourceState.DEAD_LETTER)


def _not_dead_letter(resource: Resource) -> Refused:
    return Refused(
        Reason.NOT_DEAD_LETTER,
        f"the cleanup of {resource.name!r} is {resource.state}; only a dead letter can be retried or discarded",
        "resource",
        metadata=(("state", resource.state.value),),
    )
