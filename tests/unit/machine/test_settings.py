"""What every node applies by is replicated: bounds, namespaces, members, the cluster's own name."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import validation
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Bounds, BrakeSettings, CleanupSettings, EventType, NamespaceLimits
from garbagetruck.cluster.machine.operations import CreateCluster, RegisterMember, SetBounds
from garbagetruck.cluster.machine.outcomes import Acknowledged, LeaseGranted, Reason
from tests.unit.machine.scribe import AT_ONCE, MEMBER, NO_BRAKE, Scribe, accepted, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


# -- bounds -------------------------------------------------------------------------------------------------------


def test_bounds_are_what_an_operation_made_them_on_every_node(log: Scribe) -> None:
    narrow = Bounds(ttl_ms_min=1_000, ttl_ms_max=2_000)
    log.bounds(narrow)
    refused(log.one(log.acquiring(ttl_ms=999)), Reason.INVALID_ARGUMENT)
    refused(log.one(log.acquiring(ttl_ms=2_001)), Reason.INVALID_ARGUMENT)
    lease = accepted(log.one(log.acquiring(ttl_ms=2_000)), LeaseGranted).lease
    refused(log.one(log.renewing(lease.id, ttl_ms=2_001)), Reason.INVALID_ARGUMENT)
    other = Machine()
    for payload in log.payloads:
        other.apply(payload)
    assert other.bounds == narrow
    assert other.digest() == log.machine.digest()


def test_bounds_count_from_the_operation_after_them(log: Scribe) -> None:
    outcomes = log.many(
        log.acquiring("r1", ttl_ms=100), SetBounds(Bounds(ttl_ms_min=1_000)), log.acquiring("r2", "h", 100)
    )
    accepted(outcomes[0], LeaseGranted)
    refused(outcomes[2], Reason.INVALID_ARGUMENT)


@pytest.mark.parametrize("value", [0, -1, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("name", Bounds.__struct_fields__)
def test_a_bound_is_itself_bounded(log: Scribe, name: str, value: int) -> None:
    digest = log.machine.digest()
    why = refused(log.one(SetBounds(replace(Bounds(), **{name: value}))), Reason.INVALID_ARGUMENT)
    assert name in why.message
    assert log.machine.digest() == digest


def test_the_shortest_ttl_is_no_longer_than_the_longest(log: Scribe) -> None:
    refused(log.one(SetBounds(Bounds(ttl_ms_min=10, ttl_ms_max=9))), Reason.INVALID_ARGUMENT)


def test_the_default_bounds_are_settable(log: Scribe) -> None:
    log.bounds(Bounds())


# -- namespaces ---------------------------------------------------------------------------------------------------


def test_a_namespace_is_made_by_setting_it_and_changed_by_revision(log: Scribe) -> None:
    assert log.one(log.setting("team")) == Acknowledged(1)
    assert log.one(log.setting("team", limits=NamespaceLimits(leases_max=5))) == Acknowledged(2)
    changed = refused(log.one(log.setting("team", revision=1)), Reason.NAMESPACE_CHANGED)
    assert dict(changed.metadata) == {"namespace": "team", "revision": "2"}
    assert log.one(log.setting("team", revision=2)) == Acknowledged(3)
    missing = refused(log.one(log.setting("other", revision=1)), Reason.NAMESPACE_NOT_FOUND)
    assert dict(missing.metadata) == {"namespace": "other"}
    seen = log.machine.namespace("team")
    assert seen is not None
    assert seen.limits == NamespaceLimits()
    assert len(log.events(EventType.NAMESPACE_CHANGED)) == 1 + 3


def test_namespaces_are_bounded(log: Scribe) -> None:
    log.bounds(Bounds(namespaces_max=2))
    log.settings("one")
    refused(log.one(log.setting("two")), Reason.QUOTA_EXCEEDED)
    log.settings("one")


def test_lower_limits_leave_what_is_there_and_stop_what_is_new(log: Scribe) -> None:
    leases = [log.lease(f"r{number}") for number in range(3)]
    log.settings(limits=NamespaceLimits(leases_max=1, leases_per_holder_max=1, resources_max=1))
    refused(log.one(log.acquiring("r0", "other")), Reason.QUOTA_EXCEEDED)
    assert log.renew(*(each.id for each in leases)).refusals == ()
    log.release(*(each.id for each in leases))
    log.lease("r0", "other")


def test_pausing_twice_is_no_error_and_resuming_twice_is(log: Scribe) -> None:
    for where in ("", "default"):
        for _ in range(2):
            accepted(log.one(log.pausing(where)), Acknowledged)
        accepted(log.one(log.resuming(where)), Acknowledged)
        refused(log.one(log.resuming(where)), Reason.NOT_PAUSED)
    refused(log.one(log.pausing("nowhere")), Reason.NAMESPACE_NOT_FOUND)
    refused(log.one(log.resuming("nowhere")), Reason.NAMESPACE_NOT_FOUND)
    assert log.machine.cleanups_pause_reason == ""


def test_the_clusters_pause_says_why(log: Scribe) -> None:
    log.one(log.pausing())
    assert (log.machine.cleanups_paused, log.machine.cleanups_pause_reason) == (True, "look first")
    assert log.machine.summary().paused


# -- the cluster and its members ----------------------------------------------------------------------------------


def test_a_cluster_is_made_once(log: Scribe) -> None:
    refused(log.one(CreateCluster("another", 2, (MEMBER,))), Reason.CLUSTER_EXISTS)
    assert (log.machine.cluster_id, log.machine.incarnation) == ("cluster-1", 1)


@pytest.mark.parametrize(
    "operation",
    [
        CreateCluster("", 1, (MEMBER,)),
        CreateCluster("c", 0, (MEMBER,)),
        CreateCluster("c", -1, (MEMBER,)),
        CreateCluster("c", 1 << 13, (MEMBER,)),
        CreateCluster("c", 1, ()),
        CreateCluster("c", 1, (MEMBER, replace(MEMBER, disk_id="2"))),
        CreateCluster("c", 1, (replace(MEMBER, id=""),)),
        CreateCluster("c", 1, tuple(replace(MEMBER, id=f"n{number}") for number in range(16))),
    ],
)
def test_a_cluster_needs_a_name_and_members_and_a_sane_incarnation(operation: CreateCluster) -> None:
    log = Scribe()
    refused(log.one(operation), Reason.INVALID_ARGUMENT)
    assert log.machine.cluster_id == ""
    assert log.machine.members() == ()


def test_a_member_states_its_addresses_under_its_own_disk_only(log: Scribe) -> None:
    moved = replace(MEMBER, api="10.0.0.1:7101", version="1.1.0")
    accepted(log.one(RegisterMember(moved)), Acknowledged)
    assert log.machine.members() == (moved,)
    accepted(log.one(RegisterMember(moved)), Acknowledged)
    assert len(log.events(EventType.MEMBER_CHANGED)) == 1
    refused(log.one(RegisterMember(replace(moved, disk_id="wiped"))), Reason.MEMBER_UNKNOWN)
    refused(log.one(RegisterMember(replace(moved, disk_id=""))), Reason.MEMBER_UNKNOWN)
    refused(log.one(RegisterMember(replace(moved, id="n9"))), Reason.MEMBER_UNKNOWN)
    assert log.machine.members() == (moved,)


def test_a_member_without_a_disk_yet_takes_the_first_that_reports() -> None:
    log = Scribe()
    log.one(CreateCluster("c", 1, (replace(MEMBER, disk_id=""),)))
    accepted(log.one(RegisterMember(MEMBER)), Acknowledged)
    refused(log.one(RegisterMember(replace(MEMBER, disk_id="other"))), Reason.MEMBER_UNKNOWN)


def test_a_fresh_machine_has_the_default_namespace_and_nothing_else() -> None:
    machine = Machine()
    assert [each.name for each in machine.namespaces()] == ["default"]
    assert machine.digest() == Machine().digest()
    assert (machine.clock_ms, machine.epoch, machine.event_index) == (0, 0, 0)
    assert AT_ONCE.grace_ms_min < machine.namespaces()[0].cleanup.grace_ms_min
    assert machine.namespaces()[0].brake.enabled
    assert not NO_BRAKE.enabled


# -- only what is given -------------------------------------------------------------------------------------------


def test_settings_that_are_not_given_stay_whatever_the_operation_carries_in_their_places(log: Scribe) -> None:
    before = log.machine.namespaces()[0]
    limits, cleanup = NamespaceLimits(leases_max=7, sessions_max=8), CleanupSettings(attempts_max=99)
    log.one(log.setting(limits=limits, cleanup=cleanup, given=("limits.leases_max",)))
    seen = log.machine.namespaces()[0]
    assert seen.limits == replace(before.limits, leases_max=7)
    assert (seen.cleanup, seen.brake) == (before.cleanup, before.brake)
    assert seen.revision == before.revision + 1


def test_i6_two_that_set_different_things_at_once_both_have_what_they_set(log: Scribe) -> None:
    ann = log.setting(limits=NamespaceLimits(leases_max=7), given=("limits.leases_max",), request_id="ann")
    bob = log.setting(cleanup=CleanupSettings(attempts_max=9), given=("cleanup.attempts_max",), request_id="bob")
    first, second = log.many(ann, bob)
    seen = log.machine.namespaces()[0]
    assert (seen.limits.leases_max, seen.cleanup.attempts_max) == (7, 9)
    assert log.many(ann, bob) == (first, second), "and a repetition is the same request, though things have changed"
    assert log.machine.namespaces()[0] == seen


def test_i11_settings_are_judged_together_with_those_that_stay(log: Scribe) -> None:
    log.settings(cleanup=CleanupSettings(retry_delay_ms_min=1_000, retry_delay_ms_max=8_000))
    digest = log.machine.digest()
    slower = CleanupSettings(retry_delay_ms_min=9_000, retry_delay_ms_max=99_000)
    why = refused(log.one(log.setting(cleanup=slower, given=("cleanup.retry_delay_ms_min",))), Reason.INVALID_ARGUMENT)
    assert why.field == "cleanup.retry_delay_ms_max"
    assert log.machine.digest() == digest
    accepted(log.one(log.setting(cleanup=slower)), Acknowledged)


def test_what_is_given_must_be_a_setting(log: Scribe) -> None:
    refused(log.one(log.setting(given=("limits.leases_min",))), Reason.INVALID_ARGUMENT)


def test_every_setting_has_its_bounds() -> None:
    sections = {"limits": NamespaceLimits, "cleanup": CleanupSettings, "brake": BrakeSettings}
    names = {f"{section}.{field}" for section, kind in sections.items() for field in kind.__struct_fields__}
    assert names == validation.SETTINGS
