"""Holds, claims, reports, retries and dead letters, as the oracle sees them."""

from garbagetruck.cluster.machine.model import ReportResult, ResourceState
from garbagetruck.cluster.machine.operations import (
    ClaimCleanup,
    DiscardCleanup,
    PlaceHold,
    RemoveHold,
    ReportCleanup,
    RetryCleanup,
)
from garbagetruck.cluster.machine.outcomes import (
    CleanupClaimed,
    CleanupReported,
    Outcome,
    Reason,
    Refused,
    ResourceChanged,
)
from tests.unit.machine.oracle.books import Books, Thing, ThingKey, no

NOT_FOUND = no(Reason.RESOURCE_NOT_FOUND, "resource")


def place_hold(books: Books, asked: PlaceHold) -> Outcome:
    thing = books.things.get((asked.namespace, asked.resource))
    if thing is None:
        return NOT_FOUND
    if asked.hold_id in thing.holds:
        if thing.holds[asked.hold_id] != asked.reason:
            return no(Reason.HOLD_CONFLICT, "hold_id")
    else:
        if thing.state is ResourceState.CLAIMED:
            return no(Reason.HOLD_CONFLICT, "resource", max(100, thing.claim_deadline_ms - books.clock))
        if len(thing.holds) >= books.bounds.holds_per_resource_max:
            return no(Reason.QUOTA_EXCEEDED)
        thing.holds[asked.hold_id] = asked.reason
        thing.touch()
    return ResourceChanged(thing.revision, thing.state)


def remove_hold(books: Books, asked: RemoveHold) -> Outcome:
    key = (asked.namespace, asked.resource)
    thing = books.things.get(key)
    if thing is None:
        return NOT_FOUND
    if asked.hold_id not in thing.holds:
        return no(Reason.HOLD_NOT_FOUND, "hold_id")
    del thing.holds[asked.hold_id]
    thing.touch()
    if not thing.holds and thing.cleanup is None and not thing.leases:
        del books.things[key]
    return ResourceChanged(thing.revision, thing.state)


def claim(books: Books, asked: ClaimCleanup, *, behind: bool) -> Outcome:
    thing = books.things.get((asked.namespace, asked.resource))
    refusal = _may_claim(books, asked, thing, behind=behind)
    if refusal is not None:
        return refusal
    assert thing is not None
    thing.state = ResourceState.CLAIMED
    thing.claims += 1
    thing.claim_token = books.token()
    thing.claim_epoch = books.epoch
    thing.claim_deadline_ms = books.clock + asked.duration_ms
    thing.touch()
    return CleanupClaimed(thing.claim_token, thing.claims, thing.claim_deadline_ms)


def _may_claim(books: Books, asked: ClaimCleanup, thing: Thing | None, *, behind: bool) -> Refused | None:
    space = books.spaces[asked.namespace]
    if thing is None:
        return NOT_FOUND
    if (thing.generation, thing.revision) != (asked.generation, asked.revision):
        return no(Reason.CLEANUP_NOT_DUE)
    if thing.state is not ResourceState.DUE or thing.due_ms > books.clock:
        return no(Reason.CLEANUP_NOT_DUE)
    if thing.holds:
        return no(Reason.HOLD_CONFLICT)
    if books.paused or space.paused or space.braked:
        return no(Reason.CLEANUPS_PAUSED)
    if books.waits() >= 0:
        return no(Reason.CLEANUPS_PAUSED, "", books.waits())
    if space.not_before_ms > books.clock:
        return no(Reason.CLEANUPS_PAUSED, "", space.not_before_ms - books.clock)
    if behind:
        return no(Reason.SWEEP_BEHIND, "", 0)
    if not 1 <= asked.duration_ms <= books.bounds.claim_ms_max:
        return no(Reason.INVALID_ARGUMENT)
    return None


def report(books: Books, asked: ReportCleanup) -> Outcome:
    key = (asked.namespace, asked.resource)
    thing = books.things.get(key)
    if thing is None or thing.state is not ResourceState.CLAIMED or thing.claim_token != asked.token:
        return no(Reason.CLAIM_NOT_CURRENT)
    if asked.result is ReportResult.DONE:
        books.buried.pop(key, None)
        books.buried[key] = books.things.pop(key).generation
        books.forget_oldest()
        return CleanupReported(ResourceState.CLEANED, 0)
    fail(books, key, asked.result, asked.error)
    return CleanupReported(thing.state, thing.due_ms)


def lapse(books: Books, key: ThingKey) -> None:
    """Nobody reported. It counts against the handler: it may be why nobody did."""
    fail(books, key, ReportResult.FAILED, "")


def fail(books: Books, key: ThingKey, result: ReportResult, error: str) -> None:
    thing = books.things[key]
    settings = books.spaces[key[0]].cleanup
    thing.failures += result is not ReportResult.NOT_ATTEMPTED
    thing.error = error
    thing.touch()
    enough = result is ReportResult.FAILED and thing.failures >= settings.attempts_max
    if enough or result is ReportResult.FAILED_FOR_GOOD:
        thing.state, thing.due_ms = ResourceState.DEAD_LETTER, 0
        return
    delay_ms = books.delay_of(thing.claim_token)
    whole_ms = min(settings.retry_delay_ms_max, settings.retry_delay_ms_min * 2 ** max(0, thing.failures - 1))
    assert whole_ms // 2 <= delay_ms <= whole_ms, "a retry's delay is out of its bounds"
    thing.state, thing.due_ms = ResourceState.DUE, books.clock + delay_ms


def retry(books: Books, asked: RetryCleanup) -> Outcome:
    thing = books.things.get((asked.namespace, asked.resource))
    if thing is None:
        return NOT_FOUND
    waits = thing.state is ResourceState.DUE and thing.claims > 0
    if thing.state is not ResourceState.DEAD_LETTER and not waits:
        return no(Reason.NOT_DEAD_LETTER, "resource")
    thing.state, thing.due_ms, thing.failures = ResourceState.DUE, books.clock, 0
    thing.touch()
    return ResourceChanged(thing.revision, thing.state)


def discard(books: Books, asked: DiscardCleanup) -> Outcome:
    key = (asked.namespace, asked.resource)
    thing = books.things.get(key)
    if thing is None:
        return NOT_FOUND
    if thing.state is not ResourceState.DEAD_LETTER:
        return no(Reason.NOT_DEAD_LETTER, "resource")
    del books.things[key]
    return ResourceChanged(thing.revision + 1, ResourceState.DEAD_LETTER)
