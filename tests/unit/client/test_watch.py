"""Events are followed through broken streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from garbagetruck.client.errors import EventsLost, InvalidArgument, Unavailable
from garbagetruck.v1 import event_pb2
from tests.unit.client.fake_cluster import FakeClock, Node, refusal, truck_of, unavailable


def event(index: int) -> event_pb2.Event:
    return event_pb2.Event(index=index, at_ms=index * 10, type=event_pb2.EVENT_TYPE_LEASE_EXPIRED, resource="a")


def streaming(*responses: event_pb2.WatchResponse, then: str = "end") -> Any:
    async def stream(request: Any, context: Any) -> AsyncIterator[event_pb2.WatchResponse]:
        for response in responses:
            yield response
        if then == "wait":
            await asyncio.Event().wait()
        if then == "fail":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    return stream


def response(*indexes: int, next_index: int) -> event_pb2.WatchResponse:
    return event_pb2.WatchResponse(events=map(event, indexes), next_index=next_index)


async def test_a_watch_goes_on_where_it_broke_off(three: list[Node], clock: FakeClock) -> None:
    three[0].answer("Watch", streaming(response(5, 6, next_index=7), response(next_index=9), then="fail"))
    three[1].answer("Watch", streaming(response(9, next_index=10)))
    three[2].answer("Watch", streaming(response(12, next_index=13), then="wait"))
    seen = []
    async with truck_of(three, clock) as truck, aclosing(truck.watch(from_index=5)) as events:
        async for found in events:
            seen.append(found.index)
            if found.index == 12:
                break
    assert seen == [5, 6, 9, 12]
    assert [node.requests("Watch")[0].from_index for node in three] == [5, 9, 10]


async def test_a_watch_asks_for_what_was_wanted(node: Node, clock: FakeClock) -> None:
    node.answer("Watch", streaming(response(1, next_index=2), then="wait"))
    async with truck_of([node], clock, namespace="media") as truck:
        async with aclosing(truck.watch(resource="a", types=("lease_expired",))) as events:
            found = await anext(events)
        async with aclosing(truck.watch(all_namespaces=True)) as events:
            await anext(events)
    assert (found.type, found.resource, found.at_ms) == ("lease_expired", "a", 10)
    narrow, wide = node.requests("Watch")
    assert (narrow.namespace, narrow.all_namespaces, narrow.resource) == ("media", False, "a")
    assert list(narrow.types) == [event_pb2.EVENT_TYPE_LEASE_EXPIRED]
    assert (wide.namespace, wide.all_namespaces) == ("", True)


async def test_events_that_are_gone_are_not_passed_over(node: Node, clock: FakeClock) -> None:
    node.answer("Watch", refusal(grpc.StatusCode.OUT_OF_RANGE, "EVENT_INDEX_TOO_OLD", metadata={"oldest_index": "900"}))
    async with truck_of([node], clock) as truck:
        with pytest.raises(EventsLost) as caught:
            await anext(truck.watch(from_index=3))
    assert caught.value.metadata["oldest_index"] == "900"


async def test_a_watch_gives_up_after_its_patience(node: Node, clock: FakeClock) -> None:
    node.answer("Watch", unavailable("DRAINING"))
    async with truck_of([node], clock) as truck, asyncio.timeout(10.0):
        with pytest.raises(Unavailable):
            await anext(truck.watch(patience=0.3))
    assert len(node.calls) > 1


async def test_a_type_that_does_not_exist_is_refused_at_once(node: Node, clock: FakeClock) -> None:
    async with truck_of([node], clock) as truck:
        with pytest.raises(InvalidArgument, match="lease_acquired"):
            await anext(truck.watch(types=("lease_forgotten",)))
    assert not node.calls


async def test_leaving_a_watch_ends_its_stream(node: Node, clock: FakeClock) -> None:
    ended = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[event_pb2.WatchResponse]:
        try:
            yield response(1, next_index=2)
            await asyncio.Event().wait()
        finally:
            ended.set()

    node.answer("Watch", stream)
    async with truck_of([node], clock) as truck:
        async with aclosing(truck.watch()) as events:
            await anext(events)
        async with asyncio.timeout(20.0):
            await ended.wait()
