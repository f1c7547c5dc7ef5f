"""Namespaces and the switches on cleanups: settings, pauses, the brake's release by an operator."""

from typing import TypeVar

from msgspec.structs import replace

from garbagetruck.cluster.machine import brake, digests, fleet, quarantine
from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings, EventType, Namespace, NamespaceLimits
from garbagetruck.cluster.machine.operations import PauseCleanups, ResumeCleanups, SetNamespace
from garbagetruck.cluster.machine.outcomes import Acknowledged, Reason, Refused
from garbagetruck.cluster.machine.state import State

S = TypeVar("S", NamespaceLimits, CleanupSettings, BrakeSettings)


def missing(state: State, name: str) -> Refused | None:
    return None if name in state.namespaces else unknown(name)


def unknown(name: str) -> Refused:
    return Refused(
        Reason.NAMESPACE_NOT_FOUND,
        f"no namespace {name!r}; create it with `namespace set`",
        "namespace",
        metadata=(("namespace", name),),
    )


def set_namespace(state: State, operation: SetNamespace) -> Acknowledged | Refused:
    namespace = state.namespaces.get(operation.namespace)
    if namespace is None:
        if len(state.namespaces) >= state.bounds.namespaces_max:
            most = state.bounds.namespaces_max
            return Refused(
                Reason.QUOTA_EXCEEDED,
                f"there are {most} namespaces, the most there may be",
                metadata=(("limit", "namespaces_max"), ("value", str(most))),
            )
        if operation.revision:
            return unknown(operation.namespace)
        namespace = Namespace(operation.namespace, 0)
    elif operation.revision and operation.revision != namespace.revision:
        return Refused(
            Reason.NAMESPACE_CHANGED,
            f"namespace {namespace.name!r} is at revision {namespace.revision}, not {operation.revision}: read it again",
            "revision",
            metadata=(("namespace", namespace.name), ("revision", str(namespace.revision))),
        )
    changed = _with_settings(namespace, operation)
    if changed.cleanup.retry_delay_ms_min > changed.cleanup.retry_delay_ms_max:
        delays = changed.cleanup
        return Refused(
            Reason.INVALID_ARGUMENT,
            f"cleanup.retry_delay_ms_max: would be {delays.retry_delay_ms_max}, less than retry_delay_ms_min, which "
            f"would be {delays.retry_delay_ms_min}",
            "cleanup.retry_delay_ms_max",
        )
    state.namespaces.put(changed.name, changed)
    state.emit(EventType.NAMESPACE_CHANGED, changed.name, holder=operation.actor, detail=f"revision {changed.revision}")
    if changed.brake_engaged and not changed.brake.enabled:
        brake.release(state, changed, f"switched off by {operation.actor or 'an operator'}")
    return Acknowledged(changed.revision)


def _with_settings(namespace: Namespace, operation: SetNamespace) -> Namespace:
    """The namespace at its next revision, with the settings that are given put in their places."""
    return replace(
        namespace,
        revision=namespace.revision + 1,
        limits=_overlay(namespace.limits, operation.limits, "limits.", operation.given),
        cleanup=_overlay(namespace.cleanup, operation.cleanup, "cleanup.", operation.given),
        brake=_overlay(namespace.brake, operation.brake, "brake.", operation.given),
    )


def _overlay(settings: S, wanted: S, prefix: str, given: tuple[str, ...] | None) -> S:
    if given is None:
        return wanted
    names = [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    return replace(settings, **{name: getattr(wanted, name) for name in names})


def pause(state: State, operation: PauseCleanups) -> Acknowledged | Refused:
    if not operation.namespace:
        state.cleanups_paused = True
        state.cleanups_pause_reason = operation.reason
        state.emit(EventType.CLEANUPS_PAUSED, holder=operation.actor, detail=operation.reason)
        return Acknowledged()
    namespace = state.namespaces.get(operation.namespace)
    if namespace is None:
        return unknown(operation.namespace)
    changed = replace(namespace, revision=namespace.revision + 1, paused=True, pause_reason=operation.reason)
    state.namespaces.put(changed.name, changed)
    state.emit(EventType.CLEANUPS_PAUSED, changed.name, holder=operation.actor, detail=operation.reason)
    return Acknowledged(changed.revision)


def _resume_cluster(state: State, operation: ResumeCleanups) -> Acknowledged | Refused:
    fleet_held = state.fleet is not None and state.fleet.engaged
    braked = operation.release_brake and fleet_held
    if not state.cleanups_paused and not braked:
        advice = "; the fleet's brake is engaged: approve with release_brake" if fleet_held else ""
        return Refused(Reason.NOT_PAUSED, f"cleanups of the cluster are not paused{advice}", "namespace")
    if state.cleanups_paused:
        state.cleanups_paused = False
        state.cleanups_pause_reason = ""
        quarantine.resumed(state)
        digests.settle(state)
        state.emit(EventType.CLEANUPS_RESUMED, holder=operation.actor, detail=operation.reason)
    if braked:
        fleet.release(state, f"approved by {operation.actor or 'an operator'}: {operation.reason}")
    return Acknowledged()


def resume(state: State, operation: ResumeCleanups) -> Acknowledged | Refused:
    """Lift a pause; with `release_brake` also approve what the brake held back."""
    if not operation.namespace:
        return _resume_cluster(state, operation)
    namespace = state.namespaces.get(operation.namespace)
    if namespace is None:
        return unknown(operation.namespace)
    braked = operation.release_brake and namespace.brake_engaged
    if not namespace.paused and not braked:
        advice = "; its brake is engaged: approve with release_brake" if namespace.brake_engaged else ""
        return Refused(
            Reason.NOT_PAUSED, f"cleanups of namespace {namespace.name!r} are not paused{advice}", "namespace"
        )
    changed = replace(namespace, revision=namespace.revision + 1, paused=False, pause_reason="")
    state.namespaces.put(changed.name, changed)
    if namespace.paused:
        state.emit(EventType.CLEANUPS_RESUMED, changed.name, holder=operation.actor, detail=operation.reason)
    if braked:
        brake.release(state, changed, f"approved by {operation.actor or 'an operator'}: {operation.reason}")
    return Acknowledged(changed.revision)
