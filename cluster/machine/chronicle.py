"""What is remembered of a resource's life beside its record: what went wrong with it, and who intervened.

Duty: keep, for the names to which something worth telling happened, the last such events, so that `explain` can still
tell them when the ring of events has moved on. A resource that is leased and released without more costs nothing here:
the rest of its story is in its record, in its claim, and in what is remembered of ended leases.
Invariants: what is kept follows from the log alone, and nothing is before the log says that everybody can read it (I3);
it is bounded for each resource and in all. A new life of a name begins with an empty page.
It must not know: how a story is told (`story`).
"""

from garbagetruck.cluster.machine.model import Event, Record, ResourceKey
from garbagetruck.cluster.machine.tables import QueueTable

CHRONICLE_LEVEL = 4
"""The feature level that a state with chronicles needs."""
EVENTS_PER_CHRONICLE_MAX = 24
"""Of one resource; the oldest go first."""


class Chronicle(Record, frozen=True):
    """Of one life of a name, the latest."""

    namespace: str
    name: str
    events: tuple[Event, ...]
    """By rising index."""


class ChronicleTable(QueueTable[ResourceKey, Chronicle]):
    """The chronicles, in the order in which they were begun."""

    __slots__ = ()

    def add(self, event: Event, most: int) -> None:
        """Keep an event, and chronicles of `most` resources at most, the latest."""
        key = (event.namespace, event.resource)
        known = self.get(key)
        events = (*known.events, event) if known is not None else (event,)
        self.put(key, Chronicle(*key, events[-EVENTS_PER_CHRONICLE_MAX:]))
        self.trim(most)
