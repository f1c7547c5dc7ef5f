"""The brake: when most holders of a namespace seem to die at once, it is probably us, or the network.

Holders are counted, not leases, and only an *expiry* counts: one crashed service with ten thousand leases does not
trip it, a network cut does. An engaged brake waits for the holders to come back, or for an operator.
"""

from msgspec.structs import replace

from garbagetruck.cluster.machine.model import EventType, Namespace
from garbagetruck.cluster.machine.state import State


def note_expiry(state: State, namespace_name: str, holder: str) -> None:
    """A holder lost a lease by expiry just now. `judge` follows once the sweep is done."""
    recent = state.expired_holders.setdefault(namespace_name, {})
    recent.pop(holder, None)
    recent[holder] = state.clock_ms
    missing = state.brake_missing.get(namespace_name)
    if missing is not None:
        missing[holder] = None
    if state.fleet is not None and state.fleet.engaged and state.namespaces[namespace_name].brake.enabled:
        state.fleet_missing[namespace_name, holder] = None


def judge(state: State, namespace_name: str) -> None:
    """Engage the brake if too many holders lost leases within the window. Once a sweep: it counts all of them."""
    namespace = state.namespaces[namespace_name]
    recent = state.expired_holders.get(namespace_name, {})
    forget_old(state, namespace)
    settings = namespace.brake
    lost, with_leases = len(recent), state.holders.get(namespace_name, 0)
    if not settings.enabled or namespace.brake_engaged or lost < settings.holders_min:
        return
    if lost <= settings.share * max(lost, with_leases):
        return  # not even if all who lost a lease have another one: spares the count of those who do
    untouched = with_leases - sum(1 for holder in recent if (namespace_name, holder) in state.leases_by_holder)
    known = lost + untouched
    if lost > settings.share * known:
        reason = f"{lost} of {known} holders lost leases by expiry within {settings.window_ms} ms"
        state.brake_missing[namespace_name] = dict.fromkeys(recent)
        state.namespaces.put(
            namespace_name,
            replace(
                namespace,
                brake_engaged=True,
                brake_since_ms=state.clock_ms,
                brake_reason=reason,
                brake_known_holders=known,
            ),
        )
        state.emit(EventType.BRAKE_ENGAGED, namespace_name, detail=reason)


def note_return(state: State, namespace_name: str, holder: str) -> None:
    """A holder was heard: it acquired, renewed or opened a session."""
    recent = state.expired_holders.get(namespace_name)
    if recent:
        recent.pop(holder, None)
    if state.fleet_missing:
        state.fleet_missing.pop((namespace_name, holder), None)
    missing = state.brake_missing.get(namespace_name)
    if missing is None or holder not in missing:
        return
    del missing[holder]
    namespace = state.namespaces[namespace_name]
    known = namespace.brake_known_holders
    if len(missing) < namespace.brake.holders_min or len(missing) <= namespace.brake.share * known:
        release(state, namespace, f"holders came back; {len(missing)} of {known} still missing")


def release(state: State, namespace: Namespace, reason: str) -> None:
    """Let cleanups go on, after giving the holders that came back time to take up what is theirs."""
    state.brake_missing.pop(namespace.name, None)
    state.expired_holders.pop(namespace.name, None)
    state.namespaces.put(
        namespace.name,
        replace(
            namespace,
            brake_engaged=False,
            brake_since_ms=0,
            brake_reason="",
            brake_known_holders=0,
            cleanups_not_before_ms=state.passed_ms(namespace.cleanup.grace_ms_min),
        ),
    )
    state.emit(EventType.BRAKE_RELEASED, namespace.name, detail=reason)


def forget_old(state: State, namespace: Namespace) -> None:
    """Forget what is longer ago than the namespace's window."""
    recent = state.expired_holders.get(namespace.name, {})
    oldest_ms = state.clock_ms - namespace.brake.window_ms
    stale = []
    for holder, lost_ms in recent.items():
        if lost_ms > oldest_ms:
            break
        stale.append(holder)
    for holder in stale:
        del recent[holder]
