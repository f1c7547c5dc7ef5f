"""Why a resource is where it is, as the cluster tells it: plain, immutable values. See `records` for the conventions."""

from dataclasses import dataclass

from garbagetruck.client.overview import Event
from garbagetruck.client.records import LeaseSummary, Resource
from garbagetruck.client.translate import event_record, lease_summary, resource_record
from garbagetruck.v1 import resource_pb2


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that keeps a resource from being cleaned."""

    kind: str
    """"lease", "hold", "grace", "backoff", "claim", "brake", "paused", "restored", "no_cleanup", "dead_letter", "sweep";
    later versions of the cluster may have other words.
    """
    description: str
    until_ms: int
    """When it falls away by itself; 0: not by itself."""


@dataclass(frozen=True, slots=True)
class Story:
    """Of the latest life of a resource's name."""

    resource: Resource | None
    """None: it is off the books, and `history` tells why."""
    summary: str
    """One sentence for people."""
    obstacles: tuple[Obstacle, ...]
    history: tuple[Event, ...]
    """By rising index."""
    ended_leases: tuple[LeaseSummary, ...]
    """The latest last."""


def story_of(message: resource_pb2.ExplainResponse) -> Story:
    return Story(
        resource=resource_record(message.resource) if message.HasField("resource") else None,
        summary=message.summary,
        obstacles=tuple(Obstacle(each.kind, each.description, each.until_ms) for each in message.obstacles),
        history=tuple(map(event_record, message.history)),
        ended_leases=tuple(map(lease_summary, message.ended_leases)),
    )
