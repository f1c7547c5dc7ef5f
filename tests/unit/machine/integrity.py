"""What must be true of any state, whatever the history: the derived equals what the tables give.

Duty: rebuild digest and indexes from the tables by themselves and compare. Looks behind the machine's curtain.
It must not know: what operations mean.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from garbagetruck.cluster.machine import capture, snapshot, sweep, targets
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import TOKEN_COUNTER_BITS, ResourceKey, ResourceState
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.tables import DigestSum
from garbagetruck.cluster.machine.timers import TimerKey, TimerKind

TABLES = (
    "members",
    "namespaces",
    "leases",
    "sessions",
    "resources",
    "ended_leases",
    "ended_sessions",
    "tombstones",
    "requests",
    "draining",
    "digest_notes",
    "chronicles",
)
SALTS = {name: salt for salt, name in enumerate(TABLES, 1)} | {"breakers": 20}


def state_of(machine: Machine) -> State:
    return machine._state


def check(machine: Machine) -> None:
    """Fail with what differs."""
    state = state_of(machine)
    check_digest(state)
    check_records(state)
    check_lease_indexes(state)
    check_resource_indexes(state)
    check_timers(state)
    check_bounds(state)


def check_digest(state: State) -> None:
    total = DigestSum()
    for name, salt in SALTS.items():
        table = getattr(state, name)
        copy = type(table)(total, salt)
        for key, record in table.items():
            copy.put(key, record)
    assert total.value == state.digest.value, "the digest does not follow the tables"


def check_records(state: State) -> None:
    by_resource: dict[ResourceKey, list[str]] = {}
    for lease_id, lease in state.leases.items():
        assert lease_id == lease.id
        assert lease_id not in state.ended_leases
        by_resource.setdefault((lease.namespace, lease.resource), []).append(lease_id)
        if lease.session_id:
            session = state.sessions.get(lease.session_id) or state.draining.get(lease.session_id)
            assert session is not None, "a lease's session is there or draining"
            assert (session.namespace, session.holder) == (lease.namespace, lease.holder)
    targets: Counter[str] = Counter()
    for key, resource in state.resources.items():
        assert key == (resource.namespace, resource.name)
        assert key not in state.tombstones
        assert list(resource.leases) == by_resource.pop(key, [])
        live = resource.state is ResourceState.LIVE
        assert live == bool(resource.leases)
        assert not (live and resource.claims), "a claimed generation is never adopted"
        assert (resource.state is ResourceState.CLAIMED) == (resource.claim is not None)
        assert live or resource.cleanup is not None or resource.holds, "nothing keeps it"
        assert live or resource.orphaned_ms <= state.clock_ms
        if resource.cleanup is not None:
            targets[resource.cleanup.target] += 1
    assert not by_resource, "a lease without its resource"
    assert all(count == 1 for count in targets.values())
    for target in targets:
        assert not any(other.startswith(target + "/") for other in targets), "targets overlap"
    highest = (state.incarnation << TOKEN_COUNTER_BITS) + state.token_counter
    assert all(lease.token <= highest for lease in state.leases.values())


def check_lease_indexes(state: State) -> None:
    holders: dict[tuple[str, str], list[str]] = {}
    sessions: dict[str, list[str]] = {}
    for lease_id, lease in state.leases.items():
        holders.setdefault((lease.namespace, lease.holder), []).append(lease_id)
        if lease.session_id:
            sessions.setdefault(lease.session_id, []).append(lease_id)
    assert {key: list(state.leases_by_holder.values(key)) for key in holders} == holders
    assert len(state.leases_by_holder) == len(holders)
    assert {key: list(state.leases_by_session.values(key)) for key in sessions} == sessions
    assert len(state.leases_by_session) == len(sessions)
    assert _counted(state.holders) == Counter(namespace for namespace, _ in holders)
    assert _counted(state.lease_counts) == Counter(lease.namespace for lease in state.leases.values())
    assert _counted(state.session_counts) == Counter(session.namespace for session in state.sessions.values())
    assert list(state.leases.after(0)) == [(lease.token, lease.id) for lease in state.leases.values()]
    assert list(state.sessions.after(0)) == [(each.token, each.id) for each in state.sessions.values()]


def check_resource_indexes(state: State) -> None:
    counts = Counter((each.namespace, each.state) for each in state.resources.values())
    assert _counted(state.resource_counts) == counts
    assert _counted(state.resource_totals) == Counter(namespace for namespace, _ in state.resources)
    assert list(state.resources.after(0)) == [
        (each.generation, state.resources[key]) for key, each in state.resources.items()
    ]
    assert len(state.resources) == len(list(state.resources))
    owners = {each.cleanup.target: each.generation for each in state.resources.values() if each.cleanup is not None}
    assert dict(state.targets._owners.items()) == {targets._hash(target): owner for target, owner in owners.items()}
    below: Counter[str] = Counter()
    for target in owners:
        parts = target.split("/")
        below.update("/".join(parts[:length]) for length in range(1, len(parts)))
    assert _counted(state.targets._below) == {targets._hash(container): count for container, count in below.items()}
    lists = {
        (namespace, handler): names
        for namespace in state.ready.namespaces()
        for handler, names in state.ready.handlers(namespace).items()
    }
    assert all(lists.values())
    ready = {(namespace, name) for (namespace, _), names in lists.items() for name in names}
    assert Counter(handler for (_, handler), names in lists.items() for _ in names) == state.ready.counts()
    claimable = {
        key
        for key, each in state.resources.items()
        if each.state is ResourceState.DUE and each.due_ms <= state.clock_ms and not each.holds
    }
    assert ready <= claimable
    if not sweep.behind(state):
        assert ready == claimable


def check_timers(state: State) -> None:
    """Whatever has a deadline has an entry that surfaces no later."""
    entries: dict[tuple[int, TimerKey], int] = {}
    for scheduled_ms, kind, key in state.timers.entries():
        entries[kind, key] = min(scheduled_ms, entries.get((kind, key), scheduled_ms))
    things: list[tuple[TimerKind, TimerKey]] = []
    things += [(TimerKind.LEASE, key) for key in state.leases]
    things += [(TimerKind.SESSION, key) for key in state.sessions]
    things += [(kind, key) for key in state.resources for kind in (TimerKind.CLEANUP_DUE, TimerKind.CLAIM)]
    for kind, key in things:
        deadline_ms = state.deadline_of(kind, key)
        if deadline_ms is not None:
            assert entries.get((kind, key), deadline_ms + 1) <= deadline_ms, f"no timer for {kind.name} {key}"


def check_bounds(state: State) -> None:
    bounds = state.bounds
    assert len(state.events) <= bounds.events_max
    assert [each.index for each in state.events] == list(
        range(state.event_index - len(state.events) + 1, state.event_index + 1)
    )
    for holders in state.expired_holders.values():
        assert list(holders.values()) == sorted(holders.values()), "the brake's memory is in order of time"
    for name, missing in state.brake_missing.items():
        assert missing, "an engaged brake waits for somebody"
        assert state.namespaces[name].brake_engaged
    engaged = {each.name for each in state.namespaces.values() if each.brake_engaged}
    assert engaged == set(state.brake_missing)


def _counted(counts: Mapping[Any, int]) -> Counter[Any]:
    return Counter({key: count for key, count in counts.items() if count})


def restored(machine: Machine) -> Machine:
    """A machine that came to know the other's state from a snapshot."""
    _, state = snapshot.read(list(capture.write(state_of(machine), applied_index=1, term=1)))
    return Machine(state)
