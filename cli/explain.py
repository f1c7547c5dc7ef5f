"""How `resource explain` tells a story: to people in paragraphs, to scripts as one object."""

from garbagetruck.cli import shapes
from garbagetruck.cli.flags import Output
from garbagetruck.cli.render import print_one, printable, say
from garbagetruck.client.story import Story
from garbagetruck.durations import format_duration


def fields_of(name: str, story: Story) -> shapes.Fields:
    return {
        "name": name,
        "summary": story.summary,
        "resource": None if story.resource is None else shapes.resource(story.resource),
        "obstacles": [
            {"kind": each.kind, "description": each.description, "until_ms": each.until_ms or None}
            for each in story.obstacles
        ],
        "history": [shapes.event(each) for each in story.history],
        "ended_leases": [shapes.lease(each) for each in story.ended_leases],
    }


def print_story(output: Output, name: str, story: Story) -> None:
    if output in {Output.TABLE, Output.WIDE}:
        say("\n".join(map(printable, _lines(name, story))))
    else:
        print_one(output, fields_of(name, story), (), "name")


def _lines(name: str, story: Story) -> list[str]:
    lines = [f"{name}: {story.summary}"]
    resource = story.resource
    if resource is not None:
        cleanup = "none" if resource.cleanup is None else f"{resource.cleanup.handler} on {resource.target}"
        lines += [
            "",
            f"  cleanup   {cleanup}",
            f"  token     {resource.fencing_token} (this life began with {resource.generation})",
            f"  grace     {format_duration(resource.grace_ms)}",
            f"  attempts  {resource.attempts}" + (f", last: {resource.last_error}" if resource.last_error else ""),
        ]
    if story.obstacles:
        lines += ["", "Not cleaned, because:"]
        lines += [f"  {each.kind}: {each.description}" for each in story.obstacles]
    held = resource.leases if resource is not None else ()
    if held or story.ended_leases:
        lines += ["", "Leases:"]
        lines += [
            f"  {each.holder}  {each.id}  token {each.fencing_token}  {each.end_reason}, at {each.ended_ms}"
            for each in story.ended_leases
        ]
        lines += [
            f"  {each.holder}  {each.id}  token {each.fencing_token}  {format_duration(each.remaining_ms)} left"
            for each in held
        ]
    if story.history:
        lines += ["", "History (cluster time in ms):"]
        lines += [
            "  ".join(part for part in (f"  {each.at_ms}", each.type, each.holder, each.detail) if part)
            for each in story.history
        ]
    return lines
