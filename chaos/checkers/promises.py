"""What was promised to clients: the oracle of all checkers.

Duty: from the attempts of a history alone, for each lease, how long its holder may rely on it at least, how long the
cluster may keep it at most, and when its holder gave it up.
Invariants: it reads what clients sent and were told, by their own clock; no node's state.
Must not know: objects, faults.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from garbagetruck.chaos.history import NEVER_NS, NS_PER_MS, Attempt, History, Outcome, Verb


@dataclass(slots=True)
class Promise:
    """One acknowledged lease."""

    lease_id: str
    request_id: str
    client: str
    key: str
    token: int
    session_id: str
    first_sent_ns: int
    """When the first attempt was sent that may have made it."""
    acked_ns: int
    until_ns: int
    """It is protected before this: when the last acknowledged call was sent, plus what it answered."""
    last_until_ns: int
    """Nothing that was sent keeps it longer than this, had every call been applied just before it ended, and none failed."""
    given_up_ns: int = NEVER_NS
    """When its holder first sent a release, or the close of its session."""
    ended_ns: int = NEVER_NS
    """When that was acknowledged."""
    kept_ns: int = NEVER_NS
    """When a release with `keep_resource` was acknowledged."""
    maybe_kept: bool = False
    """Such a release has an unknown outcome."""

    def relied_on(self, at_ns: int) -> bool:
        """Whether its holder may rely on it at this moment, having been told of it before."""
        return self.acked_ns <= at_ns < min(self.until_ns, self.given_up_ns)


@dataclass(slots=True)
class Promises:
    """All of them, by lease and by key."""

    by_lease: dict[str, Promise] = field(default_factory=dict)
    by_key: dict[str, list[Promise]] = field(default_factory=lambda: defaultdict(list))
    possible: list[Attempt] = field(default_factory=list)
    """Acquires of unknown outcome: each may have made a lease that nobody was told of."""
    possible_until_ns: dict[str, int] = field(default_factory=dict)
    """By key: until when such a lease may live."""


@dataclass(slots=True)
class _Session:
    until_ns: int = 0
    last_until_ns: int = 0
    closed_ns: int = NEVER_NS
    ended_ns: int = NEVER_NS


def promises_of(history: History) -> Promises:
    """Read a whole history. What was acknowledged later counts for what happened before, too: a renewal that was
    granted says that the lease had been alive all the time.
    """
    attempts = sorted(history.of(Attempt), key=lambda each: each.ended_ns)
    promises = Promises()
    sessions: dict[str, _Session] = defaultdict(_Session)
    first_sent_ns: dict[str, int] = {}
    for attempt in sorted(attempts, key=lambda each: each.sent_ns):
        if attempt.verb is Verb.ACQUIRE and attempt.outcome is not Outcome.NOT_APPLIED:
            first_sent_ns.setdefault(attempt.request_id, attempt.sent_ns)
    for attempt in attempts:
        if attempt.verb is Verb.ACQUIRE:
            _acquired(promises, attempt, first_sent_ns)
        _prolonged(promises, sessions, attempt)
    for attempt in attempts:
        _given_up(promises, sessions, attempt)
    for promise in promises.by_lease.values():
        if promise.session_id:
            session = sessions[promise.session_id]
            promise.until_ns, promise.last_until_ns = session.until_ns, session.last_until_ns
            promise.given_up_ns = min(promise.given_up_ns, session.closed_ns)
            promise.ended_ns = min(promise.ended_ns, session.ended_ns)
        promise.last_until_ns = min(promise.last_until_ns, promise.ended_ns)
    for attempt in promises.possible:
        own_ns = attempt.ended_ns + attempt.ttl_ms * NS_PER_MS
        until_ns = sessions[attempt.session_id].last_until_ns if attempt.session_id else own_ns
        promises.possible_until_ns[attempt.key] = max(until_ns, promises.possible_until_ns.get(attempt.key, 0))
    return promises


def _acquired(promises: Promises, attempt: Attempt, first_sent_ns: dict[str, int]) -> None:
    if attempt.outcome is Outcome.UNKNOWN:
        promises.possible.append(attempt)
    if not attempt.ok or attempt.lease_id in promises.by_lease:
        return
    promise = Promise(
        lease_id=attempt.lease_id,
        request_id=attempt.request_id,
        client=attempt.client,
        key=attempt.key,
        token=attempt.token,
        session_id=attempt.session_id,
        first_sent_ns=first_sent_ns[attempt.request_id],
        acked_ns=attempt.ended_ns,
        until_ns=0,
        last_until_ns=0,
    )
    promises.by_lease[attempt.lease_id] = promise
    promises.by_key[attempt.key].append(promise)


def _prolonged(promises: Promises, sessions: dict[str, _Session], attempt: Attempt) -> None:
    """What an attempt promises if it was acknowledged, and may have done if nobody knows."""
    if attempt.verb not in {Verb.ACQUIRE, Verb.RENEW, Verb.OPEN_SESSION, Verb.RENEW_SESSION}:
        return
    held: Promise | _Session | None
    held = sessions[attempt.session_id] if attempt.session_id else promises.by_lease.get(attempt.lease_id)
    if held is None:
        return
    if attempt.ok:
        held.until_ns = max(held.until_ns, attempt.sent_ns + attempt.remaining_ms * NS_PER_MS)
    if attempt.outcome in {Outcome.OK, Outcome.UNKNOWN}:
        longest_ms = max(attempt.ttl_ms, attempt.remaining_ms)
        held.last_until_ns = max(held.last_until_ns, attempt.ended_ns + longest_ms * NS_PER_MS)


def _given_up(promises: Promises, sessions: dict[str, _Session], attempt: Attempt) -> None:
    if attempt.verb is Verb.CLOSE_SESSION:
        session = sessions[attempt.session_id]
        session.closed_ns = min(session.closed_ns, attempt.sent_ns)
        if attempt.ok:
            session.ended_ns = min(session.ended_ns, attempt.ended_ns)
    promise = promises.by_lease.get(attempt.lease_id)
    if attempt.verb not in {Verb.RELEASE, Verb.KEEP} or promise is None:
        return
    promise.given_up_ns = min(promise.given_up_ns, attempt.sent_ns)
    if attempt.ok:
        promise.ended_ns = min(promise.ended_ns, attempt.ended_ns)
    if attempt.verb is Verb.KEEP:
        promise.maybe_kept |= attempt.outcome is Outcome.UNKNOWN
        if attempt.ok:
            promise.kept_ns = min(promise.kept_ns, attempt.ended_ns)


def relied_on(promises: Iterable[Promise], at_ns: int) -> list[Promise]:
    """Of these, those whose holders may rely on them at this moment."""
    return [promise for promise in promises if promise.relied_on(at_ns)]
