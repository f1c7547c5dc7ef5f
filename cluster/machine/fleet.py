"""The fleet's brake: when heartbeats cease all over the cluster, it is probably us, or the network.

A namespace's own brake (`brake`) sees holders that have lost leases, in that namespace. This one sees what it cannot: losses
that are few in each of many namespaces; and holders that have lost nothing yet but are not heard any more, while those with
the shortest TTLs lose theirs. It stops the cleanups of all namespaces that have a brake.

Laws:
- It is judged whenever a lease ends by expiry, and whenever an orphan's grace is over, so before any claim of that orphan.
- A session is silent when less than a third of its TTL is left: a client that renews three times in a TTL has missed twice.
- Namespaces whose own brake is switched off neither count nor are they held. Those whose own brake is engaged do not
  count: what they lost is held already.
- Of more than `SESSIONS_SAMPLED_MAX` sessions so many are looked at, and stand for all. Which ones follows from the clock: the
  same on every node, another lot at each look.
"""

from itertools import chain, islice

import xxhash
from msgspec.structs import replace

from garbagetruck.cluster.machine import brake
from garbagetruck.cluster.machine.brake_operations import SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetBrake
from garbagetruck.cluster.machine.model import EventType, HolderKey, Namespace
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.machine.state import State

SESSIONS_SAMPLED_MAX = 256
CHECK_MS = 1_000
"""How often an engaged brake is judged anew, in cluster time."""
SILENT_SHARE = 3
"""A session is silent when less than one part of so many is left of its TTL."""


def set_brake(state: State, operation: SetFleetBrake) -> Acknowledged:
    """The first time it makes the brake, with its defaults where nothing else is given."""
    present = state.fleet
    fleet = FleetBrake() if present is None else present
    given = {name: getattr(operation.settings, name) for name in operation.given}
    if present is not None and not given:
        return Acknowledged(present.revision)
    revision = 1 if present is None else present.revision + 1
    state.fleet = replace(fleet, settings=replace(fleet.settings, **given), revision=revision)
    state.emit(EventType.FLEET_BRAKE_SET, holder=operation.actor, detail=f"revision {revision}")
    if state.fleet.engaged and not state.fleet.settings.enabled:
        release(state, f"switched off by {operation.actor or 'an operator'}")
    return Acknowledged(revision)


def holds(state: State, namespace: Namespace) -> bool:
    """Whether it keeps a namespace's cleanups from being claimed now."""
    fleet = state.fleet
    if fleet is None or not namespace.brake.enabled:
        return False
    return fleet.engaged or fleet.cleanups_not_before_ms > state.clock_ms


def judge(state: State, *, alarmed: bool) -> None:
    """Engage or release it. Once a sweep; `alarmed`: it ended leases by expiry, or an orphan's grace."""
    fleet = state.fleet
    if fleet is None or not fleet.settings.enabled:
        return
    if fleet.engaged:
        if state.clock_ms >= fleet.checked_ms + CHECK_MS:
            _judge_engaged(state, fleet)
    elif alarmed and state.expired_holders:
        _judge_released(state, fleet)


def release(state: State, reason: str) -> None:
    """Let cleanups go on, after giving the holders that came back time to take up what is theirs."""
    fleet = state.fleet
    assert fleet is not None, "only a brake that is there is released"
    counted = _counted(state)
    for namespace in counted:
        state.expired_holders.pop(namespace.name, None)
    grace_ms = max((each.cleanup.grace_ms_min for each in counted), default=0)
    state.fleet_missing.clear()
    state.fleet = replace(
        fleet,
        engaged=False,
        since_ms=0,
        reason="",
        known_holders=0,
        checked_ms=0,
        cleanups_not_before_ms=state.passed_ms(grace_ms),
    )
    state.emit(EventType.FLEET_BRAKE_RELEASED, detail=reason)


def _judge_released(state: State, fleet: FleetBrake) -> None:
    counted = _counted(state)
    for namespace in counted:
        brake.forget_old(state, namespace)
    recent = [(each.name, state.expired_holders.get(each.name, {})) for each in counted]
    lost = sum(len(holders) for _, holders in recent)
    if not lost:
        return
    with_leases = sum(state.holders.get(each.name, 0) for each in counted)
    silent = _silent(state)
    if not _too_many(fleet, lost + silent, max(lost, with_leases)):
        return  # not even if all who lost a lease have another one: spares the count of those who do
    lessees = sum((name, holder) in state.leases_by_holder for name, holders in recent for holder in holders)
    known = lost + with_leases - lessees
    if not _too_many(fleet, lost + silent, known):
        return
    reason = f"of {known} holders in all namespaces {lost} lost leases by expiry, and {silent} more are not heard"
    state.fleet_missing = {(name, holder): None for name, holders in recent for holder in holders}
    state.fleet = replace(
        fleet,
        engaged=True,
        since_ms=state.clock_ms,
        reason=reason,
        known_holders=known,
        checked_ms=state.clock_ms,
    )
    state.emit(EventType.FLEET_BRAKE_ENGAGED, detail=reason)


def _judge_engaged(state: State, fleet: FleetBrake) -> None:
    missing, silent = len(state.fleet_missing), _silent(state)
    if _too_many(fleet, missing + silent, fleet.known_holders):
        state.fleet = replace(fleet, checked_ms=state.clock_ms)
    else:
        release(state, f"holders came back; {missing} of {fleet.known_holders} still missing, {silent} not heard")


def _too_many(fleet: FleetBrake, missing: int, known: int) -> bool:
    return missing >= fleet.settings.holders_min and missing > fleet.settings.share * known


def _counted(state: State) -> list[Namespace]:
    return [each for each in state.namespaces.values() if each.brake.enabled and not each.brake_engaged]


def _silent(state: State) -> int:
    """How many holders with leases are not heard any more, and have lost none; of many sessions, as some of them tell."""
    sessions = state.sessions
    sampled = min(len(sessions), SESSIONS_SAMPLED_MAX)
    if not sampled:
        return 0
    start = xxhash.xxh3_64_intdigest(state.clock_ms.to_bytes(8, "big")) % (sessions.last() + 1)
    if sampled == len(sessions):
        start = 0
    heard: dict[HolderKey, bool] = {}
    for _, session_id in islice(chain(sessions.after(start), sessions.after(0)), sampled):
        session = sessions[session_id]
        key = (session.namespace, session.holder)
        namespace = state.namespaces[session.namespace]
        if not namespace.brake.enabled or namespace.brake_engaged or key not in state.leases_by_holder:
            continue
        if session.holder in state.expired_holders.get(session.namespace, ()) or key in state.fleet_missing:
            continue
        left_ms = session.deadline_ms - state.clock_ms
        heard[key] = heard.get(key, False) or SILENT_SHARE * left_ms >= session.ttl_ms
    silent = sum(not each for each in heard.values())
    return silent * len(sessions) // sampled
