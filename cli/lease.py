"""`garbagetruck lease ...`: take, renew, give back and look at leases."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.arguments import default_holder, read_cleanup
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.failures import exit_code
from garbagetruck.cli.flags import MUTATION, PAGING, SELECTION, Output, duration
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.labels import read_labels
from garbagetruck.cli.render import Column, note, print_done, print_list, print_one
from garbagetruck.cli.wording import words
from garbagetruck.client import Lease, Truck
from garbagetruck.client.errors import GarbageTruckError
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

Resource = Annotated[str, typer.Argument(metavar="RESOURCE", help="Name of the resource.")]
Ttl = Annotated[int, duration(help="How long the lease lives without a renewal, as in 30s.")]
Holder = Annotated[str, typer.Option(help="Who holds it. Default: user@host.")]
CleanupText = Annotated[
    str | None,
    typer.Option(metavar="HANDLER:KEY=VALUE|JSON", help="What to do once nobody holds the resource any more."),
]
Labels = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; may be repeated.")]
Grace = Annotated[int | None, duration(help="Time between the last lease and the cleanup.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    from garbagetruck.cli import lease_exec  # which takes its flags from here

    lease_exec.register(app)
    root.add_typer(app, name="lease")


@command(
    app,
    "acquire",
    flags=[MUTATION],
    examples=[
        "garbagetruck lease acquire uploads/42 --ttl 30s --cleanup file:path=uploads/42",
        'garbagetruck lease acquire uploads/42 --ttl 5m --holder resizer-7 --cleanup \'{"handler":"file","path":"a"}\'',
        "garbagetruck lease acquire reports/7 --ttl 1h --label team=billing --grace 10m -o json",
    ],
)
def acquire(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    resource: Resource,
    ttl: Ttl,
    holder: Holder = "",
    cleanup: CleanupText = None,
    label: Labels = None,
    grace: Grace = None,
) -> None:
    """Take a lease. It ends after its TTL unless it is renewed."""
    wanted = acquisition(ttl, holder, cleanup, label, grace)

    async def work(truck: Truck) -> shapes.Fields:
        return shapes.lease(await truck.acquire(resource, request_id=invocation.request_id, **wanted))

    print_one(invocation.output, call(invocation, work), COLUMNS, "id")


def acquisition(
    ttl_ms: int, holder: str, cleanup: str | None, labels: Sequence[str] | None, grace_ms: int | None
) -> Mapping[str, Any]:
    """What the flags of `acquire` and `exec` say, as keywords of the client's `acquire`."""
    return {
        "holder": holder or default_holder(),
        "ttl": ttl_ms / 1_000,
        "cleanup": read_cleanup(cleanup),
        "labels": read_labels(labels),
        "grace": None if grace_ms is None else grace_ms / 1_000,
    }


@command(
    app,
    "renew",
    flags=[MUTATION],
    examples=[
        "garbagetruck lease renew ID",
        "garbagetruck lease list --holder resizer-7 -o name | xargs garbagetruck lease renew",
    ],
)
def renew(
    invocation: Invocation,
    lease_ids: Annotated[list[str], typer.Argument(metavar="ID", help="Leases to renew.")],
    ttl: Annotated[int | None, duration(help="Another TTL from now on. Default: each lease keeps its own.")] = None,
) -> None:
    """Begin the time of leases anew. Each is renewed or refused by itself."""

    async def work(truck: Truck) -> list[float | GarbageTruckError]:
        return await truck.renew(lease_ids, ttl=0.0 if ttl is None else ttl / 1_000)

    done, refused = [], {}
    for lease_id, result in zip(lease_ids, call(invocation, work), strict=True):
        if isinstance(result, GarbageTruckError):
            refused[lease_id] = result
        else:
            done.append({"id": lease_id, "remaining_ms": int(result * 1_000)})
    columns = (COLUMNS[0], COLUMNS[4])
    _print_each(invocation, done, refused, columns)


@command(
    app,
    "release",
    flags=[MUTATION],
    examples=[
        "garbagetruck lease release ID",
        "garbagetruck lease release ID --keep-resource",
        "garbagetruck lease release --holder resizer-7",
    ],
)
def release(
    invocation: Invocation,
    lease_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Leases to give back.")] = None,
    holder: Annotated[str, typer.Option(help="Give back all leases of this holder instead.")] = "",
    keep_resource: Annotated[
        bool, typer.Option("--keep-resource", help="Take the resource off the books: it is never cleaned.")
    ] = False,
) -> None:
    """Give leases back. Whoever held the resource last leaves it to its cleanup, unless it is kept."""
    if bool(lease_ids) == bool(holder):
        raise typer.BadParameter("name lease ids, or --holder, and not both")
    if holder and keep_resource:
        raise typer.BadParameter("--keep-resource goes with lease ids, not with --holder")
    if holder:
        released = call(invocation, lambda truck: truck.release_holder(holder))
        fields = {"holder": holder, "released": released}
        print_done(invocation.output, fields, "holder", f"released {released} leases of {holder}")
        return
    ids = lease_ids or []

    async def work(truck: Truck) -> list[GarbageTruckError | None]:
        return await truck.release(ids, keep_resource=keep_resource)

    results = list(zip(ids, call(invocation, work), strict=True))
    refused = {lease_id: error for lease_id, error in results if error is not None}
    done = [{"id": lease_id, "state": "released"} for lease_id, error in results if error is None]
    _print_each(invocation, done, refused, (COLUMNS[0], COLUMNS[3]))


@command(app, "get", examples=["garbagetruck lease get ID -o json"])
def get(invocation: Invocation, lease_id: Annotated[str, typer.Argument(metavar="ID", help="The lease.")]) -> None:
    """Look at one lease, also some time after its end."""

    async def work(truck: Truck) -> shapes.Fields:
        return shapes.lease(await truck.get_lease(lease_id))

    print_one(invocation.output, call(invocation, work), COLUMNS, "id")


@command(
    app,
    "list",
    flags=[SELECTION, PAGING],
    examples=[
        "garbagetruck lease list --holder resizer-7",
        "garbagetruck lease list -l team=billing --all -o json",
    ],
)
def list_(
    invocation: Invocation,
    resource: Annotated[str, typer.Option(help="Only leases on this resource.")] = "",
    holder: Annotated[str, typer.Option(help="Only leases of this holder.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", help="Only leases of this session.")] = "",
) -> None:
    """List active leases."""

    async def work(truck: Truck) -> tuple[list[Lease], str]:
        return await collect(
            invocation,
            lambda size: truck.list_leases(
                resource=resource, holder=holder, session_id=session, labels=invocation.labels, page_size=size
            ),
        )

    rows, more = call(invocation, work)
    print_list(invocation.output, "leases", [shapes.lease(each) for each in rows], COLUMNS, "id", more)


def _print_each(
    invocation: Invocation,
    done: Sequence[shapes.Fields],
    refused: Mapping[str, GarbageTruckError],
    columns: Sequence[Column],
) -> None:
    """What became of each of several leases. The exit code is that of the first refusal."""
    if invocation.output in {Output.JSON, Output.YAML}:
        errors = [
            {"id": lease_id, "reason": error.reason, "message": error.message} for lease_id, error in refused.items()
        ]
        print_one(invocation.output, {"leases": done, "errors": errors}, columns, "id")
    else:
        print_list(invocation.output, "leases", done, columns, "id", "") if done else None
    for error in refused.values():
        note(words(error, invocation, ""))
    if refused:
        raise typer.Exit(exit_code(next(iter(refused.values()))))
