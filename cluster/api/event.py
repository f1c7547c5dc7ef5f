"""EventService: the watch."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from typing_extensions import override

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.gateway import Consistency, ReadView
from garbagetruck.cluster.api.translate import event as translate
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.machine.model import Event, EventType
from garbagetruck.cluster.machine.questions import EventsGone
from garbagetruck.v1 import event_pb2, event_pb2_grpc

EVENTS_PER_RESPONSE_MAX = 500
"""How many events are looked at for one response; the longest names and details of so many fit gRPC's 4 MiB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filters of a watch."""

    namespace: str | None
    """None: of every namespace, and of the cluster as a whole."""
    resource: str
    types: frozenset[EventType]

    def __contains__(self, event: Event) -> bool:
        return (
            (self.namespace is None or event.namespace == self.namespace)
            and (not self.resource or event.resource == self.resource)
            and (not self.types or event.type in self.types)
        )


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """Translates; see event.proto for what the method promises.

    A watch keeps one number between responses. Who reads too slowly falls behind the ring of events, and is told.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def Watch(self, request: event_pb2.WatchRequest, context: Context) -> AsyncIterator[event_pb2.WatchResponse]:
        door = self._door
        deadline = door.deadline_of(context)
        wanted = await self._wanted(request, deadline)
        view = await door.read(Consistency.STALE, deadline)
        index = request.from_index - 1 if request.from_index else view.machine.event_index
        loop = asyncio.get_running_loop()
        silent_until = loop.time()  # the first response comes at once, whatever there is to tell
        while True:
            view = await door.read(Consistency.STALE, door.deadline_of(context))
            response, index = self._response(view, wanted, index)
            if response.events or loop.time() >= silent_until:
                yield response
                silent_until = loop.time() + door.limits.watch_idle_ms_max / 1_000
            if index >= view.machine.event_index:
                await self._something_new(index, silent_until)

    async def _wanted(self, request: event_pb2.WatchRequest, deadline: float) -> Wanted:
        types = translate.types(request.types)
        if request.all_namespaces:
            if request.namespace:
                raise errors.invalid("namespace", "is given together with all_namespaces; give one of the two")
            return Wanted(None, request.resource, types)
        namespace = header.namespace(request.namespace)
        await self._door.require_namespace(namespace, deadline)
        return Wanted(namespace, request.resource, types)

    def _response(self, view: ReadView, wanted: Wanted, index: int) -> tuple[event_pb2.WatchResponse, int]:
        """The wanted among the next events past `index`, and how far that went."""
        try:
            events = view.machine.events_after(index, EVENTS_PER_RESPONSE_MAX)
        except EventsGone as gone:
            raise errors.of_door(
                "EVENT_INDEX_TOO_OLD",
                f"events before index {gone.oldest_index} are gone; read the state anew, then watch from there",
                field="from_index",
                oldest_index=str(gone.oldest_index),
            ) from gone
        index = events[-1].index if events else index
        response = event_pb2.WatchResponse(
            header=self._door.read_header(view),
            events=[translate.event_message(event) for event in events if event in wanted],
            next_index=index + 1,
        )
        return response, index

    async def _something_new(self, index: int, silent_until: float) -> None:
        """Wait for an event past `index`, but no longer than the watch may be silent."""
        try:
            async with asyncio.timeout_at(silent_until):
                await self._door.applied_past(index)
        except TimeoutError:
            return
