"""`garbagetruck member ...`: the nodes that the cluster consists of, and how they come and go."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.flags import MUTATION, duration
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, note, print_done, print_list
from garbagetruck.client import DeadlineExceeded, Member, MemberRole, Truck, Unavailable, connect

app = typer.Typer(
    help="See the nodes that the cluster consists of; let others in, send some away.", no_args_is_help=True
)

POLL_S = 0.3
"""How often the members are looked at by one who waits for a change."""
COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("ROLE", lambda row: row["role"]),
    Column("API", lambda row: row["api"]),
    Column("HTTP", lambda row: row["http"]),
    Column("RAFT", lambda row: row["raft"]),
    Column("PEER", lambda row: row["peer"]),
    Column("VERSION", lambda row: row["version"]),
    Column("LEVEL", lambda row: row["feature_level"]),
    Column("DISK", lambda row: row["disk_id"], wide=True),
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The node's id.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done, and tell what it waits for.")]
Patience = Annotated[int, duration("--wait-timeout", help="How long to wait at most. The cluster goes on without.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="member")


@command(app, "list", examples=["garbagetruck member list", "garbagetruck member list -o json"])
def list_(invocation: Invocation) -> None:
    """List the members of the cluster. `status` tells how they are."""
    members = call(invocation, lambda truck: truck.members())
    print_list(invocation.output, "members", [shapes.member(each) for each in members], COLUMNS, "id", "")


def _address(what: str) -> object:
    return typer.Option(metavar="HOST:PORT", help=f"{what} As others reach it.")


@command(
    app,
    "add",
    flags=[MUTATION],
    examples=[
        "garbagetruck member add n4 --api 10.0.0.4:7101 --http 10.0.0.4:7201 --raft 10.0.0.4:7301 --peer 10.0.0.4:7401",
    ],
)
def add(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    member_id: Id,
    api: Annotated[str, _address("Where its gRPC API listens.")],
    http: Annotated[str, _address("Where its metrics and health listen.")],
    raft: Annotated[str, _address("Where its Raft listens.")],
    peer: Annotated[str, _address("Where the other nodes bring what is for the leader.")],
    disk_id: Annotated[
        str, typer.Option(metavar="ID", help="The only data folder to take; of one that leaves, takes it back.")
    ] = "",
    wait: Wait = True,
    wait_timeout: Patience = "10m",  # type: ignore[assignment]  # typer parses defaults, too
) -> None:
    """Let a node in. Start it with `serve --join`; when it has caught up with the log, it gets a vote."""

    async def work(truck: Truck) -> Member:
        added = await truck.add_member(member_id, api=api, http=http, raft=raft, peer=peer, disk_id=disk_id)
        back = bool(added.version)  # one that was there already has told it
        note(f"{member_id} is " + ("taken back" if back else "let in; start it with `garbagetruck serve --join`"))
        if wait:
            await _wait(truck, member_id, wait_timeout, "joins", "has no vote yet", _votes)
            # It may be gone again between two looks; then this is how it was.
            added = next((each for each in await truck.members() if each.id == member_id), added)
        return added

    record = call(invocation, work)
    print_done(invocation.output, shapes.member(record), "id", f"{member_id} is a {record.role}")


@command(
    app,
    "remove",
    flags=[MUTATION],
    examples=["garbagetruck member remove n3", "garbagetruck member remove n3 --no-wait"],
)
def remove(
    invocation: Invocation,
    member_id: Id,
    wait: Wait = True,
    wait_timeout: Patience = "10m",  # type: ignore[assignment]  # typer parses defaults, too
) -> None:
    """Send a node away; it ends when it hears of it. Refused while the others that answer would be no majority."""

    async def work(truck: Truck) -> Member:
        others = [each.api for each in await truck.members() if each.id != member_id] if wait else []
        removed = await truck.remove_member(member_id)
        if wait:
            async with _client_of_the_rest(invocation, others) as rest:
                await _wait(rest, member_id, wait_timeout, "leaves", "is a member still", lambda found: found is None)
        return removed

    record = call(invocation, work)
    done = f"{member_id} is gone" if wait else f"{member_id} leaves"
    now = {**shapes.member(record), "role": "gone" if wait else "leaving"}
    print_done(invocation.output, now, "id", done)


def _client_of_the_rest(invocation: Invocation, others: Iterable[str]) -> Truck:
    """A client that asks `others`, too: whom the command was given may be the very one that goes, and answer no more."""
    try:
        return connect(",".join([invocation.endpoints, *others]), timeout=invocation.timeout_s)
    except ValueError:  # too many, or records that are of no use here
        return connect(invocation.endpoints, timeout=invocation.timeout_s)


def _votes(member: Member | None) -> bool:
    if member is None:
        note("It was removed again meanwhile.")
        raise typer.Exit(Exit.REFUSED)
    return member.role is MemberRole.VOTER


async def _wait(
    truck: Truck,
    member_id: str,
    patience_ms: int,
    doing: str,
    undone: str,
    done: Callable[[Member | None], bool],
) -> None:
    """Return when the member's record is as it shall be; tell what keeps it, whenever that changes.

    Ends the process when patience does.
    """
    told, reached = "", False
    try:
        async with asyncio.timeout(patience_ms / 1_000):
            while True:
                try:
                    members, status = await truck.members(), await truck.status()
                except (Unavailable, DeadlineExceeded) as error:
                    keeps = str(error)  # a leader may be on its way out: the next one goes on
                    reached = False
                else:
                    reached = True
                    if done(next((each for each in members if each.id == member_id), None)):
                        return
                    begins = f"{member_id} {doing}: "
                    keeps = next((each for each in status.warnings if each.startswith(begins)), told)
                if keeps != told:
                    told = keeps
                    note(keeps)
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        ends = f"{member_id} {undone}" if reached else f"Nobody answers: it is not known whether {member_id} {undone}"
        note(f"{ends}. The cluster goes on with it; `member list` and `status` tell how far it is.")
        raise typer.Exit(Exit.UNKNOWN) from error
