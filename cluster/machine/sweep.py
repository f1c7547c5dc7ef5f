"""What time does: a bounded part of what is due, in one order on every node.

The budget counts only what changes a record, never the upkeep of timers: timers are derived, and differ between a
node that lived through the history and one that restored a snapshot.
"""

from garbagetruck.cluster.machine import brake, cleanups, fleet, leases, resources, sessions
from garbagetruck.cluster.machine.model import EndReason, Resource, ResourceState
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.timers import TimerKey, TimerKind


def sweep(state: State) -> None:
    """End and advance what the clock has reached, at most `expirations_per_batch_max` records of it."""
    touched: set[str] = set()
    fell_due = False
    budget = _drain_sessions(state, state.bounds.expirations_per_batch_max, touched)
    while (due := _next_change(state)) is not None and budget > 0:
        state.timers.take()
        budget -= 1
        kind, key = due
        if isinstance(key, tuple):
            fell_due |= kind is TimerKind.CLEANUP_DUE
            _advance(state, kind, state.resources[key])
        elif kind is TimerKind.LEASE:
            lease = state.leases[key]
            touched.add(lease.namespace)
            leases.end(state, lease, EndReason.EXPIRED)
        else:
            sessions.end(state, state.sessions[key], EndReason.EXPIRED)
            budget = _drain_sessions(state, budget, touched)
    for namespace in sorted(touched):
        brake.judge(state, namespace)
    fleet.judge(state, alarmed=bool(touched) or fell_due)
    state.timers.tidy(len(state.leases) + len(state.sessions) + len(state.resources))


def behind(state: State) -> bool:
    """Whether something that is due still waits to be swept."""
    return len(state.draining) > 0 or _next_change(state) is not None


def _next_change(state: State) -> tuple[TimerKind, TimerKey] | None:
    """What the clock has reached next and what changes a record.

    A retry whose wait is over changes none: it is noted on the way. A node that restored a snapshot noted it then, so
    neither the budget nor `behind` may depend on whether that was done already.
    """
    while (due := state.timers.next_due(state.clock_ms)) is not None:
        kind, key = due
        if kind is not TimerKind.CLEANUP_DUE or isinstance(key, str):
            return due
        resource = state.resources[key]
        if resource.state is ResourceState.ORPHANED:
            return due
        state.timers.take()
        state.make_ready(resource)
    return None


def _advance(state: State, kind: TimerKind, resource: Resource) -> None:
    if kind is TimerKind.CLAIM:
        cleanups.lapse(state, resource)
    else:
        resources.fall_due(state, resource)


def _drain_sessions(state: State, budget: int, touched: set[str]) -> int:
    """End leases of sessions that are over, oldest session first. Return what is left of the budget."""
    while budget > 0:
        first = state.draining.first()
        if first is None:
            break
        session_id, ended = first
        reason = EndReason.SESSION_EXPIRED if ended.reason is EndReason.EXPIRED else EndReason.SESSION_CLOSED
        chosen: list[str] = []
        for lease_id in state.leases_by_session.values(session_id):
            if len(chosen) == budget:
                break
            chosen.append(lease_id)
        if reason is EndReason.SESSION_EXPIRED:
            touched.add(ended.namespace)
        for lease_id in chosen:
            leases.end(state, state.leases[lease_id], reason, ended_ms=ended.ended_ms)
        budget -= len(chosen)
        if not state.leases_by_session.count(session_id):
            state.draining.pop(session_id)
            state.remember_session(ended)
    return budget
