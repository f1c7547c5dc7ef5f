"""Linearizability of acquire, release and read, resource by resource.

Duty: make of a history each resource's calls, as `search` takes them, and tell what no order explains. Linearizability is
local (Herlihy and Wing 1990): a history is linearizable if each of its resources is.
Invariants: calls of unknown outcome stay open for ever: their effect may come at any moment after they were sent, or never. Where
a search gives up it says so; that is no pass.
Must not know: objects, nodes, faults.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from garbagetruck.chaos.checkers.promises import Promise, Promises, promises_of
from garbagetruck.chaos.checkers.search import STEPS_MAX, Act, Call, Calls, Found, Verdict, search
from garbagetruck.chaos.history import NEVER_NS, NS_PER_MS, Attempt, History, Outcome, Verb

OVER_REASONS = frozenset({"ended", "LEASE_ENDED", "LEASE_NOT_FOUND"})
NOBODY_REASONS = {Verb.ACQUIRE: "RESOURCE_BEING_CLEANED", Verb.LOOK: "RESOURCE_NOT_FOUND"}
"""Refusals that say of a resource that it has no lease."""
EFFECTIVE = frozenset({Outcome.OK, Outcome.UNKNOWN})
GIVING_UP = frozenset({Verb.RELEASE, Verb.KEEP})


def linearizable(history: History, *, steps_max: int = STEPS_MAX) -> Iterator[str]:
    """Every resource's answers can be put in one order, each within its call."""
    for key, found in _searched(history, steps_max):
        if found.verdict is Verdict.UNEXPLAINED:
            yield f"not linearizable: no order of the calls to {key} explains {found.stuck}"


def undecided(history: History, *, steps_max: int = STEPS_MAX) -> Iterator[str]:
    """The resources of which nobody knows."""
    for key, found in _searched(history, steps_max):
        if found.verdict is Verdict.UNDECIDED:
            yield f"whether the calls to {key} are linearizable: the search ended after {found.steps} steps"


def shared_looks(history: History) -> int:
    """How many looks saw two leases or more: how much `linearizable` says."""
    return sum(len(each.seen) > 1 for each in history.of(Attempt))


def _searched(history: History, steps_max: int) -> Iterator[tuple[str, Found]]:
    for key, calls in sorted(calls_of(history).items()):
        if any(each.act is not Act.STARTS for each in calls.answered):
            yield key, search(calls, steps_max=steps_max)


@dataclass(slots=True)
class _Resource:
    """What is gathered of one, before it is looked at."""

    answered: list[Call] = field(default_factory=list)
    may_start_ns: dict[str, int] = field(default_factory=dict)
    may_end_ns: dict[str, int] = field(default_factory=dict)

    def made(self) -> Calls:
        return Calls(answered=self.answered, may_start_ns=self.may_start_ns, may_end_ns=self.may_end_ns)


def calls_of(history: History) -> dict[str, Calls]:
    """Each resource's calls, by its key."""
    promises = promises_of(history)
    resources: dict[str, _Resource] = defaultdict(_Resource)
    _acquires(promises, resources)
    _endings(history, promises, resources)
    of_session: dict[str, list[Promise]] = defaultdict(list)
    for promise in promises.by_lease.values():
        of_session[promise.session_id].append(promise)
    for attempt in history.of(Attempt):
        for key, call in _answers(attempt, promises, of_session):
            resources[key].answered.append(call)
    return {key: resource.made() for key, resource in resources.items()}


def _acquires(promises: Promises, resources: dict[str, _Resource]) -> None:
    """All attempts at one request are one call: its effect came after the first was sent, and before the first answer."""
    for promise in promises.by_lease.values():
        resource = resources[promise.key]
        resource.may_end_ns[promise.request_id] = promise.until_ns
        resource.answered.append(
            Call(
                act=Act.STARTS,
                sent_ns=promise.first_sent_ns,
                ended_ns=promise.acked_ns,
                leases=frozenset({promise.request_id}),
                token=promise.token,
                told=f"the lease {promise.lease_id} of {promise.client} with token {promise.token}",
            )
        )
    known = {promise.request_id for promise in promises.by_lease.values()}
    for attempt in promises.possible:
        if attempt.request_id in known:
            continue
        resource = resources[attempt.key]
        since_ns = min(attempt.sent_ns, resource.may_start_ns.get(attempt.request_id, NEVER_NS))
        resource.may_start_ns[attempt.request_id] = since_ns
        # With a session nobody knows for how long.
        resource.may_end_ns[attempt.request_id] = since_ns + (0 if attempt.session_id else attempt.ttl_ms * NS_PER_MS)


def _endings(history: History, promises: Promises, resources: dict[str, _Resource]) -> None:
    """From when on a lease may be over, because its holder may have given it up."""
    closed_ns: dict[str, int] = {}
    for attempt in history.of(Attempt):
        if attempt.outcome not in EFFECTIVE:
            continue
        if attempt.verb is Verb.CLOSE_SESSION:
            closed_ns[attempt.session_id] = min(attempt.sent_ns, closed_ns.get(attempt.session_id, NEVER_NS))
        promise = promises.by_lease.get(attempt.lease_id)
        if promise is not None and attempt.verb in GIVING_UP:
            ends_ns = resources[promise.key].may_end_ns
            ends_ns[promise.request_id] = min(ends_ns[promise.request_id], attempt.sent_ns)
    for promise in promises.by_lease.values():
        ends_ns = resources[promise.key].may_end_ns
        ends_ns[promise.request_id] = min(ends_ns[promise.request_id], closed_ns.get(promise.session_id, NEVER_NS))


def _answers(
    attempt: Attempt, promises: Promises, of_session: Mapping[str, Sequence[Promise]]
) -> Iterable[tuple[str, Call]]:
    """What an attempt's answer shows, of which resource. Acquires that were granted are not among them."""
    if attempt.verb is Verb.LOOK and attempt.ok:
        yield attempt.key, _call(attempt, Act.HOLDS, frozenset(attempt.seen))
    elif attempt.outcome is Outcome.REFUSED and NOBODY_REASONS.get(attempt.verb) == attempt.reason:
        yield attempt.key, _call(attempt, Act.HOLDS, frozenset())
    elif attempt.verb is Verb.CLOSE_SESSION and attempt.ok:
        for each in of_session.get(attempt.session_id, ()):
            yield each.key, _call(attempt, Act.ENDS, frozenset({each.request_id}))
    promise = promises.by_lease.get(attempt.lease_id)
    if promise is None:
        return
    lease = frozenset({promise.request_id})
    if attempt.verb in GIVING_UP and attempt.ok:
        yield promise.key, _call(attempt, Act.ENDS, lease)
    elif attempt.verb in {Verb.READ, Verb.RENEW} and attempt.ok:
        yield promise.key, _call(attempt, Act.IS_LIVE, lease)
    elif attempt.outcome is Outcome.REFUSED and attempt.reason in OVER_REASONS:
        yield promise.key, _call(attempt, Act.IS_OVER, lease)


def _call(attempt: Attempt, act: Act, leases: frozenset[str]) -> Call:
    answer = attempt.reason or (
        f"with the leases of {', '.join(sorted(leases)) or 'nobody'}" if not attempt.lease_id else ""
    )
    told = f"{attempt.verb} by {attempt.client} at {attempt.node}"
    return Call(
        act=act,
        sent_ns=attempt.sent_ns,
        ended_ns=attempt.ended_ns,
        leases=leases,
        told=f"{told} of {attempt.lease_id}: {answer or 'ok'}" if attempt.lease_id else f"{told}: {answer}",
    )
