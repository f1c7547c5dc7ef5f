"""`garbagetruck session ...`: look at sessions, and close those that nobody will."""

from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.flags import CONFIRMATION, MUTATION, PAGING
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, print_done, print_list, print_one
from garbagetruck.client import SessionRecord, Truck
from garbagetruck.durations import format_duration

app = typer.Typer(help="Look at sessions, the heartbeats of holders, and close them.", no_args_is_help=True)

COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("HOLDER", lambda row: row["holder"]),
    Column("STATE", lambda row: row["state"]),
    Column("REMAINING", lambda row: format_duration(row["remaining_ms"])),
    Column("TTL", lambda row: format_duration(row["ttl_ms"])),
    Column("LEASES", lambda row: row["leases"]),
    Column("END", lambda row: row["end_reason"], wide=True),
    Column("NAMESPACE", lambda row: row["namespace"], wide=True),
)
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="session")


@command(
    app,
    "list",
    flags=[PAGING],
    examples=["garbagetruck session list", "garbagetruck session list --holder resizer-7 -o json"],
)
def list_(
    invocation: Invocation, holder: Annotated[str, typer.Option(help="Only sessions of this holder.")] = ""
) -> None:
    """List active sessions."""

    async def work(truck: Truck) -> tuple[list[SessionRecord], str]:
        return await collect(invocation, lambda size: truck.sessions.list(holder=holder, page_size=size))

    rows, more = call(invocation, work)
    print_list(invocation.output, "sessions", [shapes.session(each) for each in rows], COLUMNS, "id", more)


@command(app, "get", examples=["garbagetruck session get ID -o json"])
def get(invocation: Invocation, session_id: SessionId) -> None:
    """Look at one session, also some time after its end."""
    record = call(invocation, lambda truck: truck.sessions.get(session_id))
    print_one(invocation.output, shapes.session(record), COLUMNS, "id")


@command(
    app,
    "close",
    flags=[MUTATION, CONFIRMATION],
    examples=["garbagetruck session close ID --yes"],
)
def close(invocation: Invocation, session_id: SessionId) -> None:
    """Close a session and give all its leases back. A holder that is still alive loses them."""
    invocation.confirm(f"All leases of session {session_id} end, and what nobody else holds will be cleaned.")
    released = call(invocation, lambda truck: truck.sessions.close(session_id))
    fields = {"id": session_id, "released": released}
    print_done(invocation.output, fields, "id", f"closed {session_id}; released {released} leases")
