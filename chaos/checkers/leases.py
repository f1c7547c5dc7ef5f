"""What clients were told of their leases: nothing acknowledged was lost (I2) or ended early (I7), tokens order (I5), a
retry is one operation (I6).

Duty: compare answers with earlier answers.
Must not know: objects, nodes' own words.
"""

from collections.abc import Iterator
from itertools import pairwise

from garbagetruck.chaos.checkers.promises import Promise, promises_of
from garbagetruck.chaos.history import NS_PER_MS, Attempt, History, Outcome, Verb

GONE_REASONS = frozenset({"LEASE_NOT_FOUND", "SESSION_NOT_FOUND"})
OVER_REASONS = frozenset({"LEASE_ENDED", "SESSION_ENDED", "ended"})
LOOKS = frozenset({Verb.READ, Verb.RENEW, Verb.RENEW_SESSION})


def acknowledged_is_never_lost(history: History) -> Iterator[str]:
    """I2: the cluster never said of a lease that its holder could rely on that it knows none such."""
    for attempt, promise in _refused_while_relied_on(history, GONE_REASONS):
        yield f"I2: lease {promise.lease_id} on {promise.key} was acknowledged, and is unknown to {attempt.node}"


def nothing_ends_early(history: History) -> Iterator[str]:
    """I7: the cluster never said of a lease that its holder could rely on that it is over."""
    for attempt, promise in _refused_while_relied_on(history, OVER_REASONS):
        left_ms = (promise.until_ns - attempt.ended_ns) / NS_PER_MS
        yield f"I7: lease {promise.lease_id} on {promise.key} was over for {attempt.node} {left_ms:.0f} ms too early, or more"


def tokens_are_monotonic(history: History) -> Iterator[str]:
    """I5: a lease asked for after another was acknowledged has the higher token; no two have the same."""
    leases = sorted(promises_of(history).by_lease.values(), key=lambda each: each.token)
    for one, other in pairwise(leases):
        if one.token == other.token:
            yield f"I5: token {one.token} was issued to {one.lease_id} and to {other.lease_id}"
    # By rising token: nobody may have been asked for only after one with a higher token was acknowledged.
    earliest: Promise | None = None
    for lease in reversed(leases):
        if earliest is not None and earliest.acked_ns < lease.first_sent_ns:
            yield (
                f"I5: token {lease.token} of {lease.lease_id} is not above {earliest.token} of {earliest.lease_id},"
                " which was acknowledged before it was asked for"
            )
        if earliest is None or lease.acked_ns < earliest.acked_ns:
            earliest = lease


def a_retry_is_one_operation(history: History) -> Iterator[str]:
    """I6: every answer to a request names the same lease under the same token."""
    answers: dict[str, Attempt] = {}
    for attempt in history.of(Attempt):
        if attempt.verb is not Verb.ACQUIRE or not attempt.ok:
            continue
        first = answers.setdefault(attempt.request_id, attempt)
        if (first.lease_id, first.token) != (attempt.lease_id, attempt.token):
            yield (
                f"I6: request {attempt.request_id} was answered with {first.lease_id} (token {first.token}) and with"
                f" {attempt.lease_id} (token {attempt.token})"
            )


def _refused_while_relied_on(history: History, reasons: frozenset[str]) -> Iterator[tuple[Attempt, Promise]]:
    promises = promises_of(history)
    of_session: dict[str, list[Promise]] = {}
    for promise in promises.by_lease.values():
        of_session.setdefault(promise.session_id, []).append(promise)
    for attempt in history.of(Attempt):
        if attempt.verb not in LOOKS or attempt.outcome is not Outcome.REFUSED or attempt.reason not in reasons:
            continue
        concerned = [promises.by_lease[attempt.lease_id]] if attempt.lease_id in promises.by_lease else []
        if not attempt.lease_id and attempt.session_id:
            concerned = of_session.get(attempt.session_id, [])
        for promise in concerned:
            if promise.relied_on(attempt.ended_ns):
                yield attempt, promise
