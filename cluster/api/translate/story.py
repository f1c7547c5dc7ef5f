"""A resource's story on the wire, and the sentence that sums it up for people."""

from garbagetruck.cluster.api.translate.event import event_message
from garbagetruck.cluster.api.translate.lease import lease_message
from garbagetruck.cluster.api.translate.resource import resource_message
from garbagetruck.cluster.machine.model import Resource, ResourceState, Tombstone
from garbagetruck.cluster.machine.story import Obstacle, Story
from garbagetruck.durations import format_duration
from garbagetruck.v1 import header_pb2, resource_pb2

HOLDERS_NAMED_MAX = 3
"""In the summary."""


def story_message(told: Story, header: header_pb2.ResponseHeader, clock_ms: int) -> resource_pb2.ExplainResponse:
    leases = [lease_message(each) for each in told.leases]
    return resource_pb2.ExplainResponse(
        header=header,
        resource=None if told.life is None else resource_message(told.life, leases),
        summary=summary_of(told, clock_ms),
        obstacles=[_obstacle_message(each) for each in told.obstacles],
        history=[event_message(each) for each in told.events],
        ended_leases=[lease_message(each) for each in told.ended_leases],
    )


def summary_of(told: Story, clock_ms: int) -> str:
    """One sentence."""
    match told.life:
        case None:
            last = told.events[-1]
            ago = _span(clock_ms - last.at_ms)
            return f"off the books since {ago} ago ({last.detail}): nobody will clean it"
        case Tombstone() as cleaned:
            ago = _span(clock_ms - cleaned.cleaned_ms)
            by = f"by handler {cleaned.cleanup.handler!r} under token {cleaned.claim_token}"
            return f"cleaned {ago} ago {by}, in attempt {cleaned.attempts}"
        case Resource() as resource:
            return _summary_of_life(resource, told, clock_ms)


def _summary_of_life(resource: Resource, told: Story, clock_ms: int) -> str:
    if resource.state is ResourceState.LIVE:
        names = list(dict.fromkeys(each.holder for each in told.leases))
        more = ", ..." if len(names) > HOLDERS_NAMED_MAX or len(told.leases) < len(resource.leases) else ""
        holders = ", ".join(names[:HOLDERS_NAMED_MAX]) + more
        after = f"; {_span(resource.grace_ms)} after the last one ends it is cleaned" if resource.cleanup else ""
        return f"in use: {len(resource.leases)} lease(s) of {holders}{after}"
    since = f"an orphan for {_span(clock_ms - resource.orphaned_ms)}"
    if resource.state is ResourceState.CLAIMED and resource.claim is not None:
        return f"{since}, and being cleaned by {resource.claim.executor} (attempt {resource.claim.attempt})"
    if resource.state is ResourceState.DEAD_LETTER:
        return f"{since}; {resource.failures} attempt(s) to clean it failed, and it waits for an operator"
    if not told.obstacles:
        return f"{since}; its cleanup is due and waits for its turn"
    first = told.obstacles[0]
    until = f", for {_span(first.until_ms - clock_ms)} more" if first.until_ms > clock_ms else ""
    return f"{since}; not cleaned yet because {first.description}{until}"


def _span(span_ms: int) -> str:
    return format_duration(max(0, span_ms))


def _obstacle_message(obstacle: Obstacle) -> resource_pb2.Obstacle:
    return resource_pb2.Obstacle(kind=obstacle.kind, description=obstacle.description, until_ms=obstacle.until_ms)
