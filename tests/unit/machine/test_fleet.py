"""The fleet's brake: it sees what no namespace's brake can, before a claim, and lets go when holders are heard again."""

from random import Random

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import features, fleet
from garbagetruck.cluster.machine.brake_operations import OpenBreaker, SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetBrake, FleetSettings
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import BrakeSettings, CleanupSettings, EventType, ReportResult, ResourceState
from garbagetruck.cluster.machine.operations import RegisterMember
from garbagetruck.cluster.machine.outcomes import Acknowledged, CleanupClaimed, Reason
from tests.unit.machine import integrity
from tests.unit.machine.scribe import MEMBER, NO_BRAKE, Scribe, accepted, file, refused

BRAKE = BrakeSettings()
TTL_MS = 9_000
BEAT_MS = TTL_MS // 3


class Fleet:
    """Services with a session and one lease each, spread over namespaces, that renew three times in a TTL."""

    def __init__(self, services: int, *, namespaces: int = 1, grace_ms: int = 0, brake: BrakeSettings = BRAKE) -> None:
        self.log = log = Scribe().begin(brake=brake)
        accepted(log.one(RegisterMember(replace(MEMBER, feature_level=4))), Acknowledged)
        self.settle_on()
        self.places = ["default", *(f"team-{number}" for number in range(1, namespaces))]
        for place in self.places:
            log.settings(place, cleanup=CleanupSettings(grace_ms_min=grace_ms), brake=brake)
        self.sessions: dict[int, tuple[str, str]] = {}
        for number in range(services):
            self.join(number)

    def join(self, number: int, ttl_ms: int = TTL_MS) -> None:
        log = self.log
        log.namespace = self.places[number % len(self.places)]
        session = log.session(f"service-{number}", ttl_ms)
        log.lease(f"r{number}", f"service-{number}", session=session.id, cleanup=file(f"f{number}"))
        self.sessions[number] = (log.namespace, session.id)

    def settle_on(self, **settings: float) -> None:
        operation = SetFleetBrake(self.log.at_ms, "", "ann", FleetSettings(**settings), tuple(settings))  # type: ignore[arg-type]
        accepted(self.log.one(operation), Acknowledged)

    def beat(self, *numbers: int) -> None:
        for number in numbers:
            self.log.namespace, session_id = self.sessions[number]
            self.log.one(self.log.heartbeat(session_id))

    def live(self, span_ms: int, *numbers: int) -> None:
        """Let time pass, in which only these are heard."""
        for _ in range(0, span_ms, BEAT_MS):
            self.log.advance(BEAT_MS)
            self.beat(*numbers)

    def seen(self) -> FleetBrake:
        seen = self.log.machine.fleet_brake
        assert seen is not None
        return seen

    def ready(self) -> set[str]:
        return {each.name for each in self.log.machine.ready(1_000)}


# -- when it engages ----------------------------------------------------------------------------------------------


def test_i1_losses_that_are_few_in_each_of_many_namespaces_engage_it() -> None:
    fleet = Fleet(10, namespaces=10)
    fleet.log.outlast(TTL_MS)
    assert fleet.log.machine.summary().braked == (), "no namespace has holders enough"
    assert fleet.seen().engaged
    assert fleet.ready() == set()
    fleet.log.namespace = "default"
    refused(fleet.log.one(fleet.log.claiming("r0")), Reason.CLEANUPS_PAUSED)
    (told,) = fleet.log.events(EventType.FLEET_BRAKE_ENGAGED)
    assert told.detail == "of 10 holders in all namespaces 10 lost leases by expiry, and 0 more are not heard"


def test_i1_when_heartbeats_cease_the_shortest_ttls_are_not_taken_for_crashes() -> None:
    """Three of twenty have short TTLs. When the network is cut they lose their leases while the others still have theirs."""
    fleet = Fleet(17, grace_ms=2_000)
    for number in range(17, 20):
        fleet.join(number, ttl_ms=3_000)
    fleet.live(3 * BEAT_MS, *range(20))
    fleet.log.advance(3_001)
    assert fleet.log.resource("r17").state is ResourceState.ORPHANED
    fleet.log.advance(3_001)
    assert fleet.log.resource("r17").state is ResourceState.DUE
    assert fleet.seen().engaged, "3 are lost and 17 are not heard any more"
    assert fleet.ready() == set()
    assert not fleet.log.machine.summary().braked


def test_i4_one_crashed_service_among_twenty_is_cleaned_without_an_operator() -> None:
    fleet = Fleet(20, grace_ms=2_000)
    fleet.live(2 * TTL_MS, *range(1, 20))
    assert fleet.ready() == {"r0"}
    assert not fleet.seen().engaged
    fleet.log.namespace = "default"
    accepted(fleet.log.one(fleet.log.claiming("r0")), CleanupClaimed)


def test_i1_a_cut_between_all_clients_and_the_cluster_for_three_ttls_lets_nothing_be_claimed() -> None:
    for namespaces in (1, 4, 20):
        fleet = Fleet(20, namespaces=namespaces, grace_ms=2_000)
        fleet.live(TTL_MS, *range(20))
        for _ in range(3 * TTL_MS // 100):
            fleet.log.advance(100)
            assert fleet.ready() == set()


@pytest.mark.parametrize(("silent", "engages"), [(3, False), (4, True)])
def test_it_takes_a_least_number_of_holders(silent: int, engages: bool) -> None:
    fleet = Fleet(silent + 1, namespaces=silent + 1)
    fleet.log.outlast(TTL_MS)
    assert fleet.seen().engaged is engages


def test_whose_own_brake_is_off_neither_counts_nor_is_held() -> None:
    fleet = Fleet(10, namespaces=10)
    fleet.log.settings("team-1", brake=NO_BRAKE)
    fleet.log.outlast(TTL_MS)
    assert fleet.seen().engaged
    assert fleet.seen().known_holders == 9
    assert fleet.ready() == {"r1"}


def test_what_an_engaged_namespace_holds_already_does_not_count() -> None:
    fleet = Fleet(20)
    fleet.log.outlast(TTL_MS)
    assert fleet.log.machine.summary().braked == ("default",)
    assert not fleet.seen().engaged


def test_it_is_judged_when_an_orphans_grace_is_over_too() -> None:
    fleet = Fleet(9, namespaces=9, grace_ms=5_000)
    fleet.join(9, ttl_ms=3_000)
    fleet.live(BEAT_MS, *range(10))
    fleet.log.outlast(3_000)
    fleet.beat(*range(9))
    assert not fleet.seen().engaged
    fleet.log.advance(6_200)
    assert fleet.seen().engaged, (
        "the others were heard when it was lost, and are not heard now that it would be cleaned"
    )


def test_where_there_are_very_many_sessions_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SESSIONS_SAMPLED_MAX", 16)
    many = Fleet(300, namespaces=150)
    many.live(TTL_MS + BEAT_MS, *range(1, 300))
    assert many.ready() == {"r0"}
    assert not many.seen().engaged
    many.join(0)
    many.live(TTL_MS + BEAT_MS, *range(250, 300))
    assert many.seen().engaged


# -- when it lets go ----------------------------------------------------------------------------------------------


def test_it_lets_go_when_holders_are_heard_again_and_gives_them_time() -> None:
    fleet = Fleet(10, namespaces=10, grace_ms=2_000)
    fleet.log.outlast(TTL_MS)
    assert fleet.log.machine.fleet_missing_holders == 10
    for number in range(4):
        fleet.join(number)
        fleet.log.advance(1_000)
    assert fleet.seen().engaged
    fleet.join(5)
    fleet.log.advance(1_000)
    assert not fleet.seen().engaged
    (told,) = fleet.log.events(EventType.FLEET_BRAKE_RELEASED)
    assert told.detail == "holders came back; 5 of 10 still missing, 0 not heard"
    assert fleet.ready() == set()
    fleet.live(2_001, 0, 1, 2, 3, 5)
    assert fleet.ready() == {"r4", "r6", "r7", "r8", "r9"}


def test_an_operator_approves_with_a_reason_and_it_does_not_engage_for_the_same_again() -> None:
    fleet = Fleet(10, namespaces=10)
    log = fleet.log
    log.outlast(TTL_MS)
    log.namespace = "default"
    refusal = refused(log.one(log.resuming("")), Reason.NOT_PAUSED)
    assert "release_brake" in refusal.message
    accepted(log.one(log.resuming("", release_brake=True)), Acknowledged)
    assert not fleet.seen().engaged
    log.advance(5_000)
    assert len(fleet.ready()) == 10
    (told,) = log.events(EventType.FLEET_BRAKE_RELEASED)
    assert told.detail == "approved by operator: looked"
    refused(log.one(log.resuming("", release_brake=True)), Reason.NOT_PAUSED)


def test_a_pause_of_the_cluster_and_the_brake_end_together_only_when_both_are_meant() -> None:
    fleet = Fleet(10, namespaces=10)
    log = fleet.log
    log.outlast(TTL_MS)
    log.one(log.pausing())
    accepted(log.one(log.resuming("")), Acknowledged)
    assert fleet.seen().engaged
    assert fleet.ready() == set()


def test_switching_it_off_releases_it_and_settings_are_kept_apart() -> None:
    fleet = Fleet(10, namespaces=10)
    fleet.log.outlast(TTL_MS)
    fleet.settle_on(holders_min=7)
    assert fleet.seen().settings == FleetSettings(enabled=True, holders_min=7, share=0.5)
    assert fleet.seen().engaged
    fleet.settle_on(enabled=False)
    assert not fleet.seen().engaged
    assert fleet.seen().settings == FleetSettings(enabled=False, holders_min=7, share=0.5)
    assert fleet.seen().revision == 3


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"share": 0.0}, "share"), ({"share": 1.0}, "share"), ({"holders_min": 0}, "holders_min"), ({"pace": 1}, "given")],
)
def test_settings_out_of_bounds_are_refused_by_name(settings: dict[str, float], field: str) -> None:
    log = Fleet(0).log
    known = {name: value for name, value in settings.items() if name != "pace"}
    operation = SetFleetBrake(log.at_ms, "", "ann", FleetSettings(**known), tuple(settings))  # type: ignore[arg-type]
    assert refused(log.one(operation), Reason.INVALID_ARGUMENT).field == field


def test_what_the_leader_asks_for_changes_nothing_that_is_set() -> None:
    fleet = Fleet(0)
    fleet.settle_on(share=0.25)
    asked = SetFleetBrake(fleet.log.at_ms, "", "", FleetSettings())
    assert accepted(fleet.log.one(asked), Acknowledged).revision == fleet.seen().revision
    assert fleet.seen().settings.share == 0.25


def test_below_its_level_there_is_none_and_cleanups_go_on() -> None:
    log = Scribe().begin(brake=BRAKE)
    refused(log.one(SetFleetBrake(log.at_ms, "", "", FleetSettings())), Reason.FEATURE_NOT_ENABLED)
    assert log.machine.fleet_brake is None
    assert log.machine.feature_level < features.LEVELS[SetFleetBrake]


# -- I3 -----------------------------------------------------------------------------------------------------------


def test_i3_a_machine_that_was_restored_on_the_way_judges_the_same(seed: int) -> None:
    """Services that come, beat, cease and come back, breakers and trials: every replica says the same, entry by entry."""
    random = Random(seed)
    engaged = released = 0
    for _ in range(6):
        fleet = Fleet(random.randint(4, 30), namespaces=random.choice((1, 5, 30)), grace_ms=random.choice((0, 2_000)))
        log, late = fleet.log, list[Machine]()
        for _ in range(60):
            start = len(log.payloads)
            step(random, fleet)
            for machine in late:
                for payload in log.payloads[start:]:
                    machine.apply(payload)
                assert machine.digest() == log.machine.digest()
                assert machine.fleet_brake == log.machine.fleet_brake
                assert machine.breakers() == log.machine.breakers()
                assert {each.name for each in machine.ready(500)} == fleet.ready()
            if random.random() < 0.1:
                late.append(integrity.restored(log.machine))
                integrity.check(late[-1])
        engaged += len(log.events(EventType.FLEET_BRAKE_ENGAGED))
        released += len(log.events(EventType.FLEET_BRAKE_RELEASED))
    assert engaged, f"seed {seed} never engages it"
    assert released, f"seed {seed} never releases it"


def step(random: Random, fleet: Fleet) -> None:
    log = fleet.log
    number = random.randrange(40)
    match random.randrange(9):
        case 0 | 1 | 2:
            log.advance(random.choice((1, 500, BEAT_MS, TTL_MS)))
        case 3:
            beating = [each for each in fleet.sessions if random.random() < 0.7]
            fleet.beat(*beating)
        case 4 | 5 | 6:
            for joining in range(number, number + random.choice((1, 1, 40))):
                log.namespace = fleet.places[joining % len(fleet.places)]
                session = log.session(f"service-{joining}", TTL_MS)
                fleet.sessions[joining] = (log.namespace, session.id)
                acquiring = log.acquiring(f"r{joining}", "", session=session.id, cleanup=file(f"f{joining}"))
                log.one(acquiring)  # refused where the resource is being cleaned
        case 7:
            log.one(OpenBreaker("file", "it fails", 1_000, 4_000))
        case _:
            for resource in log.machine.ready(2):
                log.namespace = resource.namespace
                outcome = log.one(log.claiming(resource.name))
                if isinstance(outcome, CleanupClaimed):
                    result = random.choice((ReportResult.DONE, ReportResult.FAILED))
                    log.one(log.reporting(outcome.token, result, resource.name))
