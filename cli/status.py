"""`garbagetruck status`: the cluster at a glance."""

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import Output
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, note, print_one, print_rows, printable, say
from garbagetruck.client import Truck

COLUMNS = (
    Column("NODE", lambda row: row["id"]),
    Column("ROLE", lambda row: row["role"]),
    Column("API", lambda row: row["api"]),
    Column("APPLIED", lambda row: row["applied_index"]),
    Column("COMMITTED", lambda row: row["commit_index"]),
    Column("VERSION", lambda row: row["version"]),
    Column("TERM", lambda row: row["term"], wide=True),
    Column("DIGEST", lambda row: row["digest"], wide=True),
)


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "status", examples=["garbagetruck status", "garbagetruck status -o json"])(status)


def status(invocation: Invocation) -> None:
    """Show the cluster at a glance. Exit code 0: healthy, 1: degraded, 3: unreachable."""

    async def work(truck: Truck) -> shapes.Fields:
        return shapes.status(await truck.status())

    shown = call(invocation, work)
    if invocation.output in {Output.JSON, Output.YAML}:
        print_one(invocation.output, shown, COLUMNS, "cluster_id")
    else:
        if invocation.output is not Output.NAME:
            say(printable(_summary(shown), keep="\n"))
        print_rows(invocation.output, shown["nodes"], COLUMNS, "id")
    for warning in shown["warnings"]:
        note(f"Warning: {warning}")
    raise typer.Exit(Exit.DONE if shown["healthy"] else Exit.REFUSED)


def _summary(shown: shapes.Fields) -> str:
    health = "healthy" if shown["healthy"] else "degraded"
    cleanup = shown["cleanup"]
    lines = [
        f"cluster {shown['cluster_id']}: {health}, leader {shown['leader'] or 'none'}, term {shown['term']}",
        f"{shown['leases']} leases, {shown['sessions']} sessions, {shown['resources']} resources",
        f"cleanups: {cleanup['due']} due, {cleanup['claimed']} claimed, {cleanup['dead_letter']} dead letters",
    ]
    if cleanup["paused"]:
        lines.append(f"cleanups are paused in the whole cluster: {cleanup['pause_reason'] or 'no reason given'}")
    if cleanup["braked"]:
        lines.append(f"the brake is on in: {', '.join(cleanup['braked'])}")
    if cleanup["fleet_brake"]["engaged"]:
        lines.append(f"the brake of the whole fleet is on: {cleanup['fleet_brake']['reason']}")
    lines.extend(
        f"the breaker of handler {breaker['handler']} is open: {breaker['reason']}" for breaker in cleanup["breakers"]
    )
    return "\n".join(lines)
