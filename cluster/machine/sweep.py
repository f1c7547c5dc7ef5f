"""What time does: a bounded part of what is due, in one order on every node.

The budget counts only what changes a record, never the upkeep of timers: timers are derived, and differ between a
node that lived through the history and one that restored a snapshot.
"""

from garbagetruck.cluster.machine import brake, cleanups, leases, sessions
from garbagetruck.cluster.machine.model import EndReason
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.timers import TimerKind


def sweep(state: State) -> None:
    """End and advance what the clock has reached, at most `expirations_per_batch_max` records of it."""
    budget = state.bounds.expirations_per_batch_max
    touched: set[str] = set()
    budget = _drain_sessions(state, budget, touched)
    while budget > 0:
        due = state.timers.next_due(state.clock_ms, state.deadline_of)
        if due is None:
            break
        kind, key = due
        if isinstance(key, str):
            if kind is TimerKind.LEASE:
                lease = state.leases[key]
                touched.add(lease.namespace)
                leases.end(state, lease, EndReason.EXPIRED)
                budget -= 1
            else:
                sessions.end(state, state.sessions[key], EndReason.EXPIRED)
                budget = _drain_sessions(state, budget - 1, touched)
            continue
        resource = state.resources[key]
        if kind is TimerKind.CLAIM:
            cleanups.lapse(state, resource)
            budget -= 1
        elif cleanups.fall_due(state, resource):
            budget -= 1
    for namespace in sorted(touched):
        brake.judge(state, namespace)


def behind(state: State) -> bool:
    """Whether something that is due still waits to be swept."""
    if len(state.draining):
        return True
    earliest_ms = state.timers.earliest_ms()
    if earliest_ms is None or earliest_ms > state.clock_ms:
        return False
    return state.timers.peek_due(state.clock_ms, state.deadline_of)


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
