"""`garbagetruck lease ...`: take, renew, give back and look at leases."""

from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.arguments import default_holder, read_cleanup, read_labels
from garbagetruck.cli.calling import call
from garbagetruck.cli.invocation import Invocation, command, duration_ms
from garbagetruck.cli.render import Column, note, print_list, print_one
from garbagetruck.client import Truck
from garbagetruck.durations import format_duration

app = typer.Typer(help="Take, renew, give back and look at leases.", no_args_is_help=True)

COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("RESOURCE", lambda row: row["resource"]),
    Column("HOLDER", lambda row: row["holder"]),
    Column("STATE", lambda row: row["state"]),
    Column("REMAINING", lambda row: format_duration(row["remaining_ms"])),
    Column("TTL", lambda row: format_duration(row["ttl_ms"])),
    Column("TOKEN", lambda row: row["fencing_token"], wide=True),
    Column("SESSION", lambda row: row["session"], wide=True),
    Column("LABELS", lambda row: row["labels"], wide=True),
)
LIST_LIMIT_DEFAULT = 100


@command(app, "acquire")
def acquire(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    resource: Annotated[str, typer.Argument(help="Name of the resource.")],
    ttl: Annotated[str, typer.Option(help="How long the lease lives without a renewal, as in 30s.")],
    holder: Annotated[str, typer.Option(help="Who holds it. Default: user@host.")] = "",
    cleanup: Annotated[str | None, typer.Option(help="HANDLER:key=value, or JSON.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key=value; may be repeated.")] = None,
    grace: Annotated[str | None, typer.Option(help="Time between the last lease and the cleanup.")] = None,
    request_id: Annotated[str, typer.Option(help="Repeat a request under its id to have one effect.")] = "",
) -> None:
    """Take a lease.

    Example: garbagetruck lease acquire uploads/42 --ttl 30s --cleanup file:path=uploads/42
    """
    spec, labels, ttl_s = read_cleanup(cleanup), read_labels(label), duration_ms(ttl) / 1_000
    grace_s = None if grace is None else duration_ms(grace) / 1_000

    async def work(truck: Truck) -> shapes.Fields:
        lease = await truck.acquire(
            resource,
            holder=holder or default_holder(),
            ttl=ttl_s,
            cleanup=spec,
            grace=grace_s,
            labels=labels,
            request_id=request_id,
        )
        return shapes.lease(lease)

    print_one(invocation.output, call(invocation, work), COLUMNS, "id")


@command(app, "renew")
def renew(
    invocation: Invocation, lease_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Leases to renew.")]
) -> None:
    """Begin the time of leases anew. Example: garbagetruck lease renew ID"""

    async def work(truck: Truck) -> None:
        for lease_id in lease_ids:
            remaining_s = await truck.renew(lease_id)
            note(f"renewed {lease_id}: {format_duration(int(remaining_s * 1_000))} left")

    call(invocation, work)


@command(app, "release")
def release(
    invocation: Invocation,
    lease_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Leases to give back.")] = None,
    holder: Annotated[str, typer.Option(help="Give back all leases of this holder instead.")] = "",
    keep_resource: Annotated[bool, typer.Option("--keep-resource", help="Take the resource off the books.")] = False,
) -> None:
    """Give leases back. Example: garbagetruck lease release ID --keep-resource"""
    if bool(lease_ids) == bool(holder):
        raise typer.BadParameter("name lease ids, or --holder, and not both")
    if holder and keep_resource:
        raise typer.BadParameter("--keep-resource goes with lease ids, not with --holder")

    async def work(truck: Truck) -> None:
        if holder:
            note(f"released {await truck.release_holder(holder)} leases of {holder}")
            return
        for lease_id in lease_ids or ():
            await truck.release(lease_id, keep_resource=keep_resource)
            note(f"released {lease_id}")

    call(invocation, work)


@command(app, "get")
def get(invocation: Invocation, lease_id: Annotated[str, typer.Argument(metavar="ID", help="The lease.")]) -> None:
    """Look at one lease, also some time after its end. Example: garbagetruck lease get ID -o json"""

    async def work(truck: Truck) -> shapes.Fields:
        return shapes.lease(await truck.get_lease(lease_id))

    print_one(invocation.output, call(invocation, work), COLUMNS, "id")


@command(app, "list")
def list_(
    invocation: Invocation,
    resource: Annotated[str, typer.Option(help="Only leases on this resource.")] = "",
    holder: Annotated[str, typer.Option(help="Only leases of this holder.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Only leases with key=value.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = LIST_LIMIT_DEFAULT,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
) -> None:
    """List active leases. Example: garbagetruck lease list --holder resizer-7"""
    labels = read_labels(label)

    async def work(truck: Truck) -> tuple[list[shapes.Fields], str]:
        listing = truck.list_leases(resource=resource, holder=holder, labels=labels, page_size=min(limit, 1_000))
        rows: list[shapes.Fields] = []
        token = ""
        while True:
            page = await listing.page(token)
            rows += [shapes.lease(each) for each in page.items]
            token = page.next_page_token
            if not token or (not everything and len(rows) >= limit):
                return rows, token

    rows, more = call(invocation, work)
    print_list(invocation.output, "leases", rows, COLUMNS, "id", more)
