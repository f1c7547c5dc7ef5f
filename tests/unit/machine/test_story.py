"""Why a resource is where it is: stories are kept once everybody can read them, bounded, and tell what is in the way (I3)."""

import pytest

from garbagetruck.cluster.machine import capture, chronicle, snapshot
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    EventType,
    ReportResult,
    Tombstone,
)
from garbagetruck.cluster.machine.operations import KeepChronicles
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.machine.story import Story
from tests.unit.machine import integrity
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import NO_BRAKE, Scribe, accepted, file

SETTINGS = CleanupSettings(grace_ms_min=1_000, attempts_max=2, retry_delay_ms_min=1_000, retry_delay_ms_max=8_000)


@pytest.fixture
def log() -> Scribe:
    log = Scribe().begin(cleanup=SETTINGS)
    log.upgrade()
    accepted(log.one(KeepChronicles()), Acknowledged)
    return log


def story(log: Scribe, name: str = "r") -> Story:
    found = log.machine.story(log.namespace, name, log.at_ms)
    assert found is not None
    return found


def kinds(log: Scribe) -> list[str]:
    return [each.kind for each in story(log).obstacles]


def told(log: Scribe, name: str = "r") -> list[EventType]:
    return [each.type for each in story(log, name).events]


def forget_the_ring(log: Scribe) -> None:
    """Let so much happen that only chronicles remember."""
    log.bounds(Bounds(events_max=3))
    for _ in range(3):
        log.release(log.lease("other").id)


def orphan(log: Scribe, name: str = "r") -> None:
    log.release(log.lease(name, cleanup=file(name)).id)
    log.outlast(1_000)


def cleaned(log: Scribe, name: str = "r") -> None:
    orphan(log, name)
    log.one(log.reporting(log.claim(name).token, name=name))


class TestObstacles:
    def test_each_state_names_what_is_in_the_way(self, log: Scribe) -> None:
        lease = log.lease("r", "ann", 10_000, cleanup=file("a"))
        (obstacle,) = story(log).obstacles
        assert (obstacle.kind, obstacle.until_ms) == ("lease", log.at_ms + 10_000)
        log.release(lease.id)
        assert kinds(log) == ["grace"]
        assert story(log).obstacles[0].until_ms == log.resource("r").due_ms
        log.outlast(1_000)
        assert kinds(log) == []
        claim = log.claim("r", 5_000)
        assert kinds(log) == ["claim"]
        log.one(log.reporting(claim.token, ReportResult.FAILED, error="no such bucket"))
        (obstacle,) = story(log).obstacles
        assert (obstacle.kind, obstacle.until_ms) == ("backoff", log.resource("r").due_ms)
        assert "no such bucket" in obstacle.description
        log.advance(log.resource("r").due_ms - log.at_ms)
        log.one(log.reporting(log.claim("r").token, ReportResult.FAILED))
        assert kinds(log) == ["dead_letter"]

    def test_everything_that_is_in_the_way_is_named(self, log: Scribe) -> None:
        orphan(log)
        log.one(log.holding("r"))
        log.one(log.pausing("default"))
        log.one(log.pausing())
        assert kinds(log) == ["hold", "paused", "paused"]

    def test_a_brake_is_named(self, log: Scribe) -> None:
        log.settings(cleanup=SETTINGS, brake=BrakeSettings(holders_min=3))
        orphan(log)
        for number in range(3):
            log.lease(f"other-{number}", f"other-{number}", 100)
        log.outlast(100)
        assert kinds(log) == ["brake"]

    def test_what_has_no_cleanup_says_so(self, log: Scribe) -> None:
        log.lease("r")
        assert kinds(log) == ["no_cleanup", "lease"]


class TestWhatIsRemembered:
    def test_a_clean_life_is_told_when_the_ring_has_moved_on(self, log: Scribe) -> None:
        cleaned(log)
        assert told(log) == [
            EventType.LEASE_ACQUIRED,
            EventType.LEASE_RELEASED,
            EventType.RESOURCE_ORPHANED,
            EventType.CLEANUP_DUE,
            EventType.CLEANUP_CLAIMED,
            EventType.CLEANUP_DONE,
        ]
        forget_the_ring(log)
        assert told(log) == [EventType.CLEANUP_DONE]
        assert isinstance(story(log).life, Tombstone)
        assert [each.end_reason for each in story(log).ended_leases] == ["released"]

    def test_failures_and_interventions_are_remembered(self, log: Scribe) -> None:
        orphan(log)
        log.one(log.holding("r"))
        log.one(log.unholding("r"))
        log.one(log.reporting(log.claim("r").token, ReportResult.FAILED_FOR_GOOD, error="disk on fire"))
        log.one(log.retrying("r"))
        forget_the_ring(log)
        assert told(log) == [
            EventType.HOLD_PLACED,
            EventType.HOLD_REMOVED,
            EventType.CLEANUP_DEAD_LETTER,
            EventType.CLEANUP_RETRIED,
        ]
        assert "disk on fire" in story(log).events[2].detail

    def test_what_is_off_the_books_is_told_of(self, log: Scribe) -> None:
        log.lease("r", cleanup=file("a"))
        log.one(log.forgetting("r", force=True))
        forget_the_ring(log)
        assert story(log).life is None
        assert story(log).events[-1].detail == "by operator: moved away"
        assert [each.end_reason for each in story(log).ended_leases] == ["resource_forgotten"]

    def test_a_new_life_begins_with_an_empty_page(self, log: Scribe) -> None:
        cleaned(log)
        log.lease("r", "bob", cleanup=file("r"))
        assert told(log) == [EventType.LEASE_ACQUIRED]
        forget_the_ring(log)
        assert told(log) == []
        assert story(log).ended_leases == ()

    def test_what_nobody_ever_had_has_no_story(self, log: Scribe) -> None:
        assert log.machine.story("default", "never", log.at_ms) is None

    def test_a_life_without_incident_costs_nothing(self, log: Scribe) -> None:
        log.release(log.lease("r").id)
        log.lease("s", cleanup=file("s"))
        assert len(state_of(log.machine).chronicles) == 0

    def test_the_last_events_of_the_last_resources_are_kept(self, log: Scribe) -> None:
        log.bounds(Bounds(tombstones_max=2))
        for name in ("a", "b", "c"):
            cleaned(log, name)
        assert [key[1] for key in state_of(log.machine).chronicles] == ["b", "c"]
        log.lease("r")
        for number in range(chronicle.EVENTS_PER_CHRONICLE_MAX):
            log.one(log.holding("r", f"hold-{number}"))
            log.one(log.unholding("r", f"hold-{number}"))
        kept = state_of(log.machine).chronicles["default", "r"].events
        assert len(kept) == chronicle.EVENTS_PER_CHRONICLE_MAX
        assert kept[-1].detail == f"hold-{chronicle.EVENTS_PER_CHRONICLE_MAX - 1}"


class TestLevels:
    def test_i3_nothing_is_kept_before_the_log_says_that_everybody_can_read_it(self) -> None:
        log = Scribe().begin(cleanup=SETTINGS)
        cleaned(log)
        assert len(state_of(log.machine).chronicles) == 0
        log.upgrade()
        cleaned(log, "s")
        assert len(state_of(log.machine).chronicles) == 0, "the level alone says nothing to whoever reads the log"
        log.one(KeepChronicles())
        assert log.machine.keeps_chronicles
        cleaned(log, "t")
        assert [key[1] for key in state_of(log.machine).chronicles] == ["t"]

    def test_i3_a_snapshot_has_the_stories(self, log: Scribe) -> None:
        cleaned(log)
        log.lease("s", cleanup=file("s"))
        log.one(log.holding("s"))
        header, state = snapshot.read(capture.write(state_of(log.machine), 7, log.epoch))
        assert header.format == chronicle.CHRONICLE_LEVEL
        copy = Machine(state)
        assert copy.digest() == log.machine.digest()
        assert copy.story("default", "r", log.at_ms) == story(log)
        assert copy.story("default", "s", log.at_ms) == story(log, "s")
        integrity.check(copy)


def test_forgetting_ends_the_leases_under_a_reason_of_their_own(log: Scribe) -> None:
    first, second = log.lease("r", "ann", cleanup=file("a")), log.lease("r", "bob")
    log.one(log.forgetting("r", force=True))
    for lease in (first, second):
        seen = log.machine.lease(lease.id, log.at_ms)
        assert seen is not None
        assert (seen.state.value, seen.end_reason) == ("released", "resource_forgotten")
    log.settings(cleanup=SETTINGS, brake=NO_BRAKE)
    log.outlast(60_000)
    assert log.machine.resource("default", "r") is None
    assert log.lease("other", cleanup=file("a")).id, "the target is free again"
    integrity.check(log.machine)


def test_only_the_life_that_was_meant_is_forgotten(log: Scribe) -> None:
    generation = log.lease("r", cleanup=file("a")).fencing_token
    outcome = log.one(log.forgetting("r", generation=generation - 1, force=True))
    assert getattr(outcome, "field", None) == "generation"
    log.one(log.forgetting("r", generation=generation, force=True))
    assert log.machine.resource("default", "r") is None
