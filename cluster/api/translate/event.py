"""Events on the wire."""

from collections.abc import Iterable, Mapping

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.machine.model import Event, EventType
from garbagetruck.v1 import event_pb2

TYPES: Mapping[EventType, event_pb2.EventType.ValueType] = {
    each: event_pb2.EventType.Value(f"EVENT_TYPE_{each.name}") for each in EventType
}
TYPES_BY_NUMBER: Mapping[int, EventType] = {number: each for each, number in TYPES.items()}


def event_message(event: Event) -> event_pb2.Event:
    return event_pb2.Event(
        index=event.index,
        at_ms=event.at_ms,
        type=TYPES[event.type],
        namespace=event.namespace,
        resource=event.resource,
        lease_id=event.lease_id,
        session_id=event.session_id,
        holder=event.holder,
        fencing_token=event.token,
        detail=event.detail,
    )


def types(numbers: Iterable[int]) -> frozenset[EventType]:
    """The types that a watch is filtered by; empty for none given. Unknown numbers are refused, not ignored."""
    wanted = set()
    for position, number in enumerate(numbers):
        if number not in TYPES_BY_NUMBER:
            raise invalid(f"types[{position}]", f"is {number}, which this version does not know")
        wanted.add(TYPES_BY_NUMBER[number])
    return frozenset(wanted)
