"""EventService.Watch: resumable, bounded, alive, and ended by a drain."""

import asyncio
from typing import Any

import grpc

from garbagetruck.cluster.api.door import DoorLimits
from garbagetruck.cluster.machine.model import Bounds, EventType
from garbagetruck.cluster.machine.operations import SetBounds
from garbagetruck.v1 import event_pb2, lease_pb2, namespace_pb2
from tests.unit.api.stand import Stand, refusal, stand

ACQUIRED = event_pb2.EVENT_TYPE_LEASE_ACQUIRED


async def acquire(api: Stand, resource: str, namespace: str = "") -> None:
    await api.leases.Acquire(
        lease_pb2.AcquireRequest(namespace=namespace, resource=resource, holder="h", ttl_ms=60_000)
    )


async def until(call: Any, resource: str) -> list[event_pb2.Event]:
    """Everything that a watch tells, up to the event of a resource."""
    events: list[event_pb2.Event] = []
    while not events or events[-1].resource != resource:
        response = await call.read()
        events.extend(response.events)
    return events


def test_every_type_of_event_has_its_number() -> None:
    numbers = {event_pb2.EventType.Value(f"EVENT_TYPE_{each.name}") for each in EventType}
    assert numbers == set(event_pb2.EventType.values()) - {event_pb2.EVENT_TYPE_UNSPECIFIED}


async def test_a_watch_begins_at_once_and_tells_what_happens_from_then_on(api: Stand) -> None:
    await acquire(api, "before")
    call = api.events.Watch(event_pb2.WatchRequest())
    first = await call.read()
    assert isinstance(first, event_pb2.WatchResponse)
    assert not first.events
    await acquire(api, "after")
    (event,) = await until(call, "after")
    assert (event.type, event.holder, event.index) == (ACQUIRED, "h", first.next_index)
    call.cancel()


async def test_a_watch_resumes_where_it_was_told_to(api: Stand) -> None:
    call = api.events.Watch(event_pb2.WatchRequest(types=[ACQUIRED]))
    await call.read()
    await acquire(api, "a")
    response = await call.read()
    assert isinstance(response, event_pb2.WatchResponse)
    call.cancel()
    await acquire(api, "b")
    await acquire(api, "c")
    call = api.events.Watch(event_pb2.WatchRequest(types=[ACQUIRED], from_index=response.next_index))
    assert [event.resource for event in await until(call, "c")] == ["b", "c"]
    call.cancel()
    call = api.events.Watch(event_pb2.WatchRequest(all_namespaces=True, from_index=1))
    indexes = [event.index for event in await until(call, "c")]
    assert indexes == list(range(1, len(indexes) + 1))
    call.cancel()


async def test_a_watch_may_wait_for_an_index_that_is_yet_to_come(api: Stand) -> None:
    index = api.gateway.machine.event_index
    call = api.events.Watch(event_pb2.WatchRequest(from_index=index + 2))
    await call.read()
    await acquire(api, "a")
    await acquire(api, "b")
    assert [event.resource for event in await until(call, "b")] == ["b"]
    call.cancel()


async def test_a_watch_lets_through_what_its_filters_want(api: Stand) -> None:
    await api.namespaces.Set(namespace_pb2.NamespaceServiceSetRequest(namespace="team"))
    start = api.gateway.machine.event_index + 1
    for namespace, resource in (("", "a"), ("team", "a"), ("", "b"), ("team", "b"), ("", "end"), ("team", "end")):
        await acquire(api, resource, namespace)
    call = api.events.Watch(event_pb2.WatchRequest(from_index=start))
    assert {event.namespace for event in await until(call, "end")} == {"default"}
    call.cancel()
    call = api.events.Watch(event_pb2.WatchRequest(from_index=start, namespace="team", resource="b"))
    assert [(event.namespace, event.resource) for event in await until(call, "b")] == [("team", "b")]
    call.cancel()


async def test_a_watch_from_before_the_ring_is_told_the_oldest_index(api: Stand) -> None:
    api.gateway.apply(SetBounds(Bounds(events_max=5)))
    for number in range(10):
        await acquire(api, f"r{number}")
    told = await refusal(api.events.Watch(event_pb2.WatchRequest(from_index=1)))
    assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "EVENT_INDEX_TOO_OLD")
    oldest = int(told.info.metadata["oldest_index"])
    assert oldest == api.gateway.machine.event_index - 4
    call = api.events.Watch(event_pb2.WatchRequest(from_index=oldest))
    assert len(await until(call, "r9")) == 5
    call.cancel()


async def test_more_events_than_fit_one_response_come_in_several(api: Stand) -> None:
    start = api.gateway.machine.event_index + 1
    items = [lease_pb2.AcquireItem(resource=f"r{number}", holder="h", ttl_ms=60_000) for number in range(700)]
    for _ in range(2):
        await api.leases.BatchAcquire(lease_pb2.BatchAcquireRequest(items=items))
    call = api.events.Watch(event_pb2.WatchRequest(from_index=start, types=[ACQUIRED]))
    sizes: list[int] = []
    while sum(sizes) < 1_400:
        response = await call.read()
        assert isinstance(response, event_pb2.WatchResponse)
        sizes.append(len(response.events))
    assert max(sizes) <= 1_000
    call.cancel()


async def test_a_quiet_watch_shows_a_sign_of_life() -> None:
    async with stand(DoorLimits(watch_idle_ms_max=20)) as api:
        call = api.events.Watch(event_pb2.WatchRequest(from_index=10_000))
        for _ in range(3):
            response = await asyncio.wait_for(call.read(), 20)
            assert isinstance(response, event_pb2.WatchResponse)
            assert not response.events
        call.cancel()


async def test_what_a_filter_holds_back_makes_no_noise(api: Stand) -> None:
    call = api.events.Watch(event_pb2.WatchRequest(resource="wanted"))
    first = await call.read()
    assert isinstance(first, event_pb2.WatchResponse)
    for number in range(20):
        await acquire(api, f"r{number}")
    await acquire(api, "wanted")
    response = await call.read()
    assert isinstance(response, event_pb2.WatchResponse)
    assert [event.resource for event in response.events] == ["wanted"]
    call.cancel()


async def test_a_drain_ends_a_watch_so_that_it_resumes_elsewhere(api: Stand) -> None:
    call = api.events.Watch(event_pb2.WatchRequest())
    await call.read()
    await api.server.drain()
    told = await refusal(call)
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert told.retry is not None
