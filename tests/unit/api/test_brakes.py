"""The brakes of the fleet and of handlers through the API: set, shown, and released with a reason."""

from dataclasses import replace as with_

from msgspec.structs import replace

from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.operations import RegisterMember
from garbagetruck.v1 import cleanup_pb2, cluster_pb2, event_pb2
from tests.unit.api.stand import NODES, Stand, refusal
from tests.unit.api.test_services import PRECONDITION, orphan


def upgrade(api: Stand) -> None:
    for node in NODES:
        api.gateway.apply(RegisterMember(replace(node, feature_level=4)))


async def shown(api: Stand) -> cluster_pb2.CleanupStatus:
    return (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status.cleanup


async def test_an_open_breaker_is_shown_and_closed_by_an_operator(api: Stand) -> None:
    upgrade(api)
    await orphan(api)
    api.gateway.apply(OpenBreaker("file", "12 of 12 attempts failed", 5_000, 60_000))
    (breaker,) = (await shown(api)).breakers
    assert (breaker.handler, breaker.reason, breaker.trying) == ("file", "12 of 12 attempts failed", False)
    assert breaker.trial_ms > breaker.since_ms
    cleanup = (await api.cleanups.GetCleanup(cleanup_pb2.GetCleanupRequest(resource="uploads/42"))).cleanup
    assert cleanup.blocked_by == "breaker"
    await api.cleanups.CloseBreaker(cleanup_pb2.CloseBreakerRequest(handler="file", reason="the disk is back"))
    assert not (await shown(api)).breakers
    told = await refusal(api.cleanups.CloseBreaker(cleanup_pb2.CloseBreakerRequest(handler="file")))
    assert (told.code, told.reason) == (PRECONDITION, "NOT_PAUSED")


async def test_the_fleets_brake_is_set_by_what_is_given(api: Stand) -> None:
    upgrade(api)
    assert (await shown(api)).fleet_brake.revision == 0
    first = await api.cleanups.SetFleetBrake(cleanup_pb2.SetFleetBrakeRequest(holders_min=7))
    second = await api.cleanups.SetFleetBrake(cleanup_pb2.SetFleetBrakeRequest(enabled=False))
    assert (first.revision, second.revision) == (1, 2)
    brake = (await shown(api)).fleet_brake
    assert (brake.enabled, brake.holders_min, brake.share, brake.engaged) == (False, 7, 0.5, False)


async def test_i6_a_repeated_request_sets_it_once(api: Stand) -> None:
    upgrade(api)
    request = cleanup_pb2.SetFleetBrakeRequest(request_id="r", share=0.25)
    assert [(await api.cleanups.SetFleetBrake(request)).revision for _ in range(2)] == [1, 1]


async def test_releasing_the_fleets_brake_when_it_is_not_on_is_refused(api: Stand) -> None:
    upgrade(api)
    request = cleanup_pb2.ResumeRequest(all_namespaces=True, release_brake=True)
    assert (await refusal(api.cleanups.Resume(request))).reason == "NOT_PAUSED"


async def test_handlers_that_the_leader_does_not_have_are_warned_of(api: Stand) -> None:
    api.peers.statuses["n1"] = with_(api.peers.statuses["n1"], unknown_handlers=(("elsewhere", 3),))
    status = (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status
    assert [(each.handler, each.waiting) for each in status.cleanup.unknown_handlers] == [("elsewhere", 3)]
    assert not status.healthy
    (warning,) = status.warnings
    assert "3 cleanups wait for the handler 'elsewhere', which n1, the leader, does not have" in warning


def test_every_event_of_the_brakes_has_its_number() -> None:
    names = {name for name in event_pb2.EventType.DESCRIPTOR.values_by_name if "BREAKER" in name or "FLEET" in name}
    assert len(names) == 5
