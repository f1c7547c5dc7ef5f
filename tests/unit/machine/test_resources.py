"""Resources: adoption, one cleanup each, one owner for each target, holds."""

import pytest

from garbagetruck.cluster.machine.model import (
    Bounds,
    CleanupSettings,
    CleanupSpec,
    EventType,
    NamespaceLimits,
    ReportResult,
    ResourceState,
)
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason, ResourceChanged
from tests.unit.machine.scribe import AT_ONCE, Scribe, accepted, file, refused


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


# -- adoption -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ResourceState.ORPHANED, ResourceState.DUE])
def test_an_acquire_before_the_claim_saves_an_orphan(log: Scribe, state: ResourceState) -> None:
    log.settings(cleanup=CleanupSettings(grace_ms_min=500))
    lease = log.lease("r", "ann", cleanup=file("a"))
    log.release(lease.id)
    if state is ResourceState.DUE:
        log.outlast(500)
    assert log.resource("r").state is state
    adopted = log.lease("r", "bob")
    resource = log.resource("r")
    assert (resource.state, resource.due_ms, resource.orphaned_ms) == (ResourceState.LIVE, 0, 0)
    assert resource.generation == lease.fencing_token, "the same life"
    assert resource.fencing_token == adopted.fencing_token
    assert resource.cleanup == file("a")
    assert [each.lease_id for each in log.events(EventType.RESOURCE_ADOPTED)] == [adopted.id]
    assert log.machine.ready(10) == []
    log.outlast(60_000)
    log.outlast(500)
    assert log.resource("r").state is ResourceState.DUE, "and in the end it is cleaned all the same"


def test_from_the_claim_on_a_generation_is_never_adopted(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("a")).id)
    claim = log.claim("r", duration_ms=5_000)
    log.at_ms += 1_000
    during = refused(log.one(log.acquiring("r")), Reason.RESOURCE_BEING_CLEANED)
    assert during.retry_after_ms == claim.deadline_ms - log.at_ms == 4_000
    log.outlast(4_000)
    assert log.resource("r").state is ResourceState.DUE, "the claim lapsed, but its attempt may still land"
    waiting = refused(log.one(log.acquiring("r")), Reason.RESOURCE_BEING_CLEANED)
    assert waiting.retry_after_ms == log.resource("r").due_ms - log.at_ms > 0


@pytest.mark.parametrize("state", ["claimed", "waits for another attempt", "due"])
def test_whoever_waits_for_a_cleanup_is_told_when_to_come_back_and_never_at_once(log: Scribe, state: str) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    log.lease("first to go", ttl_ms=1_000)
    log.release(log.lease("r", cleanup=file("a")).id)
    claim = log.claim("r", duration_ms=1_000)
    log.at_ms += 1_001  # of what is over by now, one is swept, and it is not the claim
    if state == "waits for another attempt":
        log.one(log.reporting(claim.token, ReportResult.FAILED))
    if state == "due":
        log.outlast(0)
        log.outlast(10_000)
    acquired, held = log.many(log.acquiring("r"), log.holding("r"))
    assert refused(acquired, Reason.RESOURCE_BEING_CLEANED).retry_after_ms >= 100
    if state == "claimed":
        assert refused(held, Reason.HOLD_CONFLICT).retry_after_ms >= 100


def test_once_cleaned_the_name_begins_a_new_generation_under_a_higher_token(log: Scribe) -> None:
    first = log.lease("r", cleanup=file("a"))
    log.release(first.id)
    claim = log.claim("r")
    log.one(log.reporting(claim.token))
    again = log.lease("r", cleanup=file("b"))
    resource = log.resource("r")
    assert resource.generation == again.fencing_token > claim.token > first.fencing_token
    assert (resource.claims, resource.failures, resource.cleanup) == (0, 0, file("b"))


# -- one cleanup, one target --------------------------------------------------------------------------------------


def test_the_first_acquire_that_names_a_cleanup_sets_it(log: Scribe) -> None:
    log.lease("r", "ann")
    assert log.resource("r").cleanup is None
    log.lease("r", "bob", cleanup=file("a"))
    assert log.resource("r").cleanup == file("a")
    log.lease("r", "cid")
    log.lease("r", "dot", cleanup=file("a"))
    refused(log.one(log.acquiring("r", "eve", cleanup=file("b"))), Reason.CLEANUP_CONFLICT)
    other_parameters = CleanupSpec("file", (("path", "a"), ("soft", "yes")), "file:/a")
    refused(log.one(log.acquiring("r", "eve", cleanup=other_parameters)), Reason.CLEANUP_CONFLICT)
    assert len(log.resource("r").leases) == 4


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("data/a", Reason.TARGET_IN_USE),
        ("data", Reason.TARGET_OVERLAPS),
        ("data/a/x", Reason.TARGET_OVERLAPS),
        ("data/a/x/y/z", Reason.TARGET_OVERLAPS),
        ("data/ab", None),
        ("data/b", None),
        ("dat", None),
        ("data/a b", None),
    ],
)
def test_a_target_in_use_above_or_below_it_is_refused(log: Scribe, wanted: str, reason: Reason | None) -> None:
    log.lease("r", cleanup=file("data/a"))
    outcome = log.one(log.acquiring("other", cleanup=file(wanted)))
    if reason is None:
        accepted(outcome, LeaseGranted)
    else:
        told = dict(refused(outcome, reason).metadata)
        assert told["target"] == f"file:/{wanted}"
        if "data/a".startswith(f"{wanted}/"):
            assert told["within"] == "1"
        else:
            assert (told["owner"], told["owner_namespace"]) == ("r", "default")
        assert log.machine.resource("default", "other") is None


def test_targets_are_the_clusters_not_a_namespaces(log: Scribe) -> None:
    log.lease("r", cleanup=file("a"))
    log.settings("team")
    log.namespace = "team"
    why = refused(log.one(log.acquiring("mine", cleanup=file("a"))), Reason.TARGET_IN_USE)
    assert dict(why.metadata)["owner_namespace"] == "default"


def test_a_target_of_another_scheme_is_another_thing(log: Scribe) -> None:
    log.lease("r", cleanup=file("a"))
    log.lease("other", cleanup=CleanupSpec("http", (), "http:/a"))


@pytest.mark.parametrize("state", ["live", "orphaned", "due", "claimed", "dead letter"])
def test_i1_a_target_stays_owned_until_its_resource_is_settled(log: Scribe, state: str) -> None:
    log.settings(cleanup=CleanupSettings(grace_ms_min=500, attempts_max=1))
    lease = log.lease("r", cleanup=file("a"))
    if state != "live":
        log.release(lease.id)
    if state not in ("live", "orphaned"):
        log.outlast(500)
    if state in ("claimed", "dead letter"):
        log.claim("r", duration_ms=1_000)
    if state == "dead letter":
        log.outlast(1_000)
    assert log.resource("r").state.value == state.replace(" ", "_")
    refused(log.one(log.acquiring("other", cleanup=file("a"))), Reason.TARGET_IN_USE)
    refused(log.one(log.acquiring("other", cleanup=file("a/b"))), Reason.TARGET_OVERLAPS)


def test_a_cleaned_or_discarded_resources_target_is_free_again(log: Scribe) -> None:
    log.settings(cleanup=CleanupSettings(grace_ms_min=0, attempts_max=1))
    for name in ("r1", "r2"):
        log.release(log.lease(name, cleanup=file("a")).id)
        claim = log.claim(name, 1_000)
        if name == "r1":
            log.one(log.reporting(claim.token, name=name))
        else:
            log.outlast(1_000)
            log.one(log.discarding(name))
    log.lease("r3", cleanup=file("a/b"))


# -- holds --------------------------------------------------------------------------------------------------------


def test_a_held_orphan_is_not_claimed_whatever_its_leases_say(log: Scribe) -> None:
    lease = log.lease("r", cleanup=file("a"))
    log.one(log.holding("r", "legal"))
    log.one(log.holding("r", "audit"))
    log.release(lease.id)
    assert log.resource("r").state is ResourceState.DUE
    assert log.machine.ready(10) == []
    refused(log.one(log.claiming("r")), Reason.HOLD_CONFLICT)
    log.one(log.unholding("r", "legal"))
    refused(log.one(log.claiming("r")), Reason.HOLD_CONFLICT)
    log.one(log.unholding("r", "audit"))
    assert [each.name for each in log.machine.ready(10)] == ["r"]
    log.claim("r")


def test_a_hold_while_a_cleanup_runs_is_refused(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("a")).id)
    log.claim("r", 5_000)
    log.at_ms += 1
    why = refused(log.one(log.holding("r")), Reason.HOLD_CONFLICT)
    assert why.retry_after_ms == 4_999


def test_a_hold_between_two_attempts_stops_the_next(log: Scribe) -> None:
    log.release(log.lease("r", cleanup=file("a")).id)
    log.claim("r", 1_000)
    log.outlast(1_000)
    accepted(log.one(log.holding("r")), ResourceChanged)
    log.outlast(60_000)
    assert log.machine.ready(10) == []
    refused(log.one(log.claiming("r")), Reason.HOLD_CONFLICT)
    log.one(log.unholding("r"))
    log.claim("r")


def test_placing_a_hold_twice_is_placing_it_once(log: Scribe) -> None:
    log.lease("r")
    first = accepted(log.one(log.holding("r")), ResourceChanged)
    assert log.one(log.holding("r")) == first
    assert len(log.resource("r").holds) == 1


def test_one_hold_cannot_have_two_reasons(log: Scribe) -> None:
    log.lease("r")
    log.one(log.holding("r"))
    refused(log.one(log.holding("r", reason="another reason")), Reason.HOLD_CONFLICT)
    assert log.resource("r").holds[0].reason == "look first"


def test_holds_are_bounded_and_must_be_there_to_be_removed(log: Scribe) -> None:
    log.bounds(Bounds(holds_per_resource_max=1))
    log.lease("r")
    log.one(log.holding("r", "one"))
    refused(log.one(log.holding("r", "two")), Reason.QUOTA_EXCEEDED)
    refused(log.one(log.unholding("r", "two")), Reason.HOLD_NOT_FOUND)
    refused(log.one(log.holding("never")), Reason.RESOURCE_NOT_FOUND)
    refused(log.one(log.unholding("never")), Reason.RESOURCE_NOT_FOUND)


def test_a_held_orphan_without_a_cleanup_stays_until_its_last_hold_goes(log: Scribe) -> None:
    lease = log.lease("r")
    log.one(log.holding("r"))
    log.release(lease.id)
    log.outlast(60_000)
    assert log.resource("r").state is ResourceState.ORPHANED
    log.one(log.unholding("r"))
    assert log.machine.resource("default", "r") is None
    assert len(log.events(EventType.RESOURCE_FORGOTTEN)) == 1


# -- bounds -------------------------------------------------------------------------------------------------------


def test_resources_and_leases_on_one_are_bounded(log: Scribe) -> None:
    log.bounds(Bounds(leases_per_resource_max=2))
    log.settings(limits=NamespaceLimits(resources_max=2))
    log.lease("r1", "ann")
    log.lease("r1", "bob")
    refused(log.one(log.acquiring("r1", "cid")), Reason.QUOTA_EXCEEDED)
    log.lease("r2")
    refused(log.one(log.acquiring("r3")), Reason.QUOTA_EXCEEDED)
    log.release_holder("h")
    log.lease("r3")


def test_tombstones_are_remembered_up_to_a_bound(log: Scribe) -> None:
    log.bounds(Bounds(tombstones_max=2))
    for number in range(3):
        log.release(log.lease(f"r{number}", cleanup=file("a")).id)
        claim = log.claim(f"r{number}")
        log.one(log.reporting(claim.token, name=f"r{number}"))
    known = [log.machine.resource("default", f"r{number}") is not None for number in range(3)]
    assert known == [False, True, True]
    assert AT_ONCE.attempts_max == 3
