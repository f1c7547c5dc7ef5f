"""`garbagetruck resource ...`: look at resources, forbid their cleanup, and take them off the books."""

from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.explain import print_story
from garbagetruck.cli.flags import CONFIRMATION, MUTATION, PAGING, SELECTION
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, Fields, print_done, print_list, print_one
from garbagetruck.client import Resource, ResourceState, Truck
from garbagetruck.durations import format_duration

app = typer.Typer(help="Look at resources, forbid or allow their cleanup, forget them.", no_args_is_help=True)

STATES = [state.value for state in ResourceState if state is not ResourceState.UNKNOWN]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    from garbagetruck.cli import resource_import  # which is imported with this group only

    resource_import.register(app)
    root.add_typer(app, name="resource")


def _handler(row: Fields) -> object:
    return None if row["cleanup"] is None else row["cleanup"]["handler"]


COLUMNS = (
    Column("RESOURCE", lambda row: row["resource"]),
    Column("STATE", lambda row: row["state"]),
    Column("LEASES", lambda row: row["lease_count"]),
    Column("HOLDS", lambda row: ",".join(each["id"] for each in row["holds"])),
    Column("CLEANUP", _handler),
    Column("ATTEMPTS", lambda row: row["attempts"]),
    Column("TOKEN", lambda row: row["fencing_token"], wide=True),
    Column("GRACE", lambda row: format_duration(row["grace_ms"]), wide=True),
    Column("TARGET", lambda row: row["target"], wide=True),
    Column("LABELS", lambda row: row["labels"], wide=True),
    Column("LAST ERROR", lambda row: row["last_error"], wide=True),
)
Name = Annotated[str, typer.Argument(metavar="RESOURCE", help="Name of the resource.")]


@command(
    app,
    "list",
    flags=[SELECTION, PAGING],
    examples=[
        "garbagetruck resource list",
        "garbagetruck resource list --state orphaned --state due --prefix uploads/",
        "garbagetruck resource list -l team=billing --all -o name",
    ],
)
def list_(
    invocation: Invocation,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help=f"Only in this state; may be repeated: {', '.join(STATES)}."),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Only resources whose names begin so.")] = "",
) -> None:
    """List resources, those that were cleaned a short while ago included."""
    states = read_states(state, STATES)

    async def work(truck: Truck) -> tuple[list[Resource], str]:
        return await collect(
            invocation,
            lambda size: truck.resources.list(
                states=states, name_prefix=prefix, labels=invocation.labels, page_size=size
            ),
        )

    rows, more = call(invocation, work)
    print_list(invocation.output, "resources", [shapes.resource(each) for each in rows], COLUMNS, "resource", more)


@command(app, "get", examples=["garbagetruck resource get uploads/42 -o yaml"])
def get(invocation: Invocation, resource: Name) -> None:
    """Look at one resource, with its leases and holds in JSON and YAML."""
    record = call(invocation, lambda truck: truck.resources.get(resource))
    print_one(invocation.output, shapes.resource(record), COLUMNS, "resource")


@command(
    app,
    "hold",
    flags=[MUTATION],
    examples=[
        'garbagetruck resource hold uploads/42 --reason "evidence, case 17"',
        "garbagetruck resource hold uploads/42 --reason audit --hold-id audit-2031",
    ],
)
def hold(
    invocation: Invocation,
    resource: Name,
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it.")],
    hold_id: Annotated[str, typer.Option(metavar="ID", help="Its id. Default: made by the cluster.")] = "",
) -> None:
    """Forbid the cleanup of a resource, whatever its leases say, until `unhold`. Prints the hold's id."""
    made = call(invocation, lambda truck: truck.resources.hold(resource, reason=reason, hold_id=hold_id))
    fields = {"resource": resource, "hold_id": made, "reason": reason}
    print_done(
        invocation.output, fields, "hold_id", f"held {resource}; undo: garbagetruck resource unhold {resource} {made}"
    )


@command(
    app,
    "unhold",
    flags=[MUTATION, CONFIRMATION],
    examples=["garbagetruck resource unhold uploads/42 audit-2031 --yes"],
)
def unhold(
    invocation: Invocation,
    resource: Name,
    hold_id: Annotated[str, typer.Argument(metavar="HOLD_ID", help="The hold; resource get shows them.")],
) -> None:
    """Take a hold away. A resource that nobody holds any more is cleaned as if there had been none."""
    invocation.confirm(f"Without hold {hold_id} the cleanup of {resource} may begin at once.")
    call(invocation, lambda truck: truck.resources.unhold(resource, hold_id))
    print_done(
        invocation.output, {"resource": resource, "hold_id": hold_id}, "hold_id", f"took {hold_id} off {resource}"
    )


@command(
    app,
    "explain",
    examples=["garbagetruck resource explain uploads/42", "garbagetruck resource explain uploads/42 -o json"],
)
def explain(invocation: Invocation, resource: Name) -> None:
    """Tell why a resource was, was not, or will be cleaned: leases, obstacles, attempts with errors, who intervened."""
    story = call(invocation, lambda truck: truck.resources.explain(resource))
    print_story(invocation.output, resource, story)


@command(
    app,
    "forget",
    flags=[MUTATION, CONFIRMATION],
    examples=[
        'garbagetruck resource forget uploads/42 --reason "kept by hand" --yes',
        'garbagetruck resource forget uploads/42 --force --reason "its holder is gone for good" --yes',
    ],
)
def forget(
    invocation: Invocation,
    resource: Name,
    reason: Annotated[str, typer.Option(help="Why, for whoever asks later.")],
    generation: Annotated[int, typer.Option(min=0, help="Only this life of it. 0: whichever is present.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also while it is leased: the leases end.")] = False,
) -> None:
    """Take a resource off the books. Nothing is cleaned, now or ever: what it names is yours from then on."""
    invocation.confirm(f"The cluster forgets {resource}, and nobody will ever clean it.")
    call(
        invocation,
        lambda truck: truck.resources.forget(resource, reason=reason, generation=generation, force=force),
    )
    print_done(invocation.output, {"resource": resource}, "resource", f"forgot {resource}")


def read_states(texts: list[str] | None, known: list[str]) -> list[ResourceState]:
    """The states that a repeated flag names; a usage error for a word that is none of `known`."""
    for text in texts or ():
        if text not in known:
            raise typer.BadParameter(f"{text!r} is no state; choose from {', '.join(known)}", param_hint="--state")
    return [ResourceState(text) for text in texts or ()]
