"""`garbagetruck cleanup ...`: see what is to be deleted, settle what could not be, and stop and go."""

from collections import Counter
from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.flags import CONFIRMATION, MUTATION, PAGING, duration
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, note, print_done, print_list, print_one
from garbagetruck.cli.resource import read_states
from garbagetruck.client import PendingCleanup, Truck
from garbagetruck.durations import format_duration

app = typer.Typer(help="See and settle cleanups; pause and resume them.", no_args_is_help=True)

WITHIN_DEFAULT = "1h"
STATES = ["orphaned", "due", "claimed", "dead_letter"]
COLUMNS = (
    Column("RESOURCE", lambda row: row["resource"]),
    Column("STATE", lambda row: row["state"]),
    Column("HANDLER", lambda row: row["handler"]),
    Column("ATTEMPTS", lambda row: row["attempts"]),
    Column("BLOCKED BY", lambda row: row["blocked_by"]),
    Column("LAST ERROR", lambda row: row["last_error"]),
    Column("DUE AT", lambda row: row["due_ms"], wide=True),
    Column("TARGET", lambda row: row["target"], wide=True),
    Column("EXECUTOR", lambda row: row["claim"] and row["claim"]["executor"], wide=True),
)
Name = Annotated[str, typer.Argument(metavar="RESOURCE", help="Name of the resource: cleanups have none of their own.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever asks later.")]
EveryNamespace = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In the whole cluster.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="cleanup")


@command(
    app,
    "list",
    flags=[PAGING],
    examples=["garbagetruck cleanup list", "garbagetruck cleanup list --state dead_letter --all -o name"],
)
def list_(
    invocation: Invocation,
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            help=f"Only in this state; may be repeated: {', '.join(STATES)}. Default: all but orphaned.",
        ),
    ] = None,
    handler: Annotated[str, typer.Option(help="Only cleanups by this handler.")] = "",
) -> None:
    """List what is to be cleaned, is being cleaned, or could not be."""
    states = read_states(state, STATES)

    async def work(truck: Truck) -> tuple[list[PendingCleanup], str]:
        return await collect(
            invocation, lambda size: truck.cleanups.list(states=states, handler=handler, page_size=size)
        )

    rows, more = call(invocation, work)
    print_list(invocation.output, "cleanups", [shapes.cleanup(each) for each in rows], COLUMNS, "resource", more)


@command(app, "get", examples=["garbagetruck cleanup get uploads/42 -o json"])
def get(invocation: Invocation, resource: Name) -> None:
    """Look at the cleanup of one orphan."""
    record = call(invocation, lambda truck: truck.cleanups.get(resource))
    print_one(invocation.output, shapes.cleanup(record), COLUMNS, "resource")


@command(
    app,
    "preview",
    flags=[PAGING],
    examples=["garbagetruck cleanup preview", "garbagetruck cleanup preview --within 24h --all -o json"],
)
def preview(
    invocation: Invocation,
    within: Annotated[int, duration("--within", help="How far to look ahead.")] = WITHIN_DEFAULT,  # type: ignore[assignment]
) -> None:
    """Tell what would be cleaned within a time if nothing changed, and what is held back, and by what."""

    async def work(truck: Truck) -> tuple[list[PendingCleanup], str]:
        return await collect(invocation, lambda size: truck.cleanups.preview(within=within / 1_000, page_size=size))

    rows, more = call(invocation, work)
    rows.sort(key=lambda each: each.due_ms)
    print_list(invocation.output, "cleanups", [shapes.cleanup(each) for each in rows], COLUMNS, "resource", more)
    held = Counter(each.blocked_by for each in rows if each.blocked_by)
    told = "".join(f"; {count} held back: {why}" for why, count in sorted(held.items()))
    note(f"{len(rows)} to be cleaned within {format_duration(within)}{told}")


@command(app, "retry", flags=[MUTATION], examples=["garbagetruck cleanup retry uploads/42"])
def retry(invocation: Invocation, resource: Name) -> None:
    """Make a dead letter due again, with all its attempts before it."""
    call(invocation, lambda truck: truck.cleanups.retry(resource))
    print_done(invocation.output, {"resource": resource, "state": "due"}, "resource", f"{resource} is due again")


@command(
    app,
    "discard",
    flags=[MUTATION, CONFIRMATION],
    examples=['garbagetruck cleanup discard uploads/42 --reason "removed by hand" --yes'],
)
def discard(invocation: Invocation, resource: Name, reason: Reason = "") -> None:
    """Give a dead letter up: what it names stays as it is, and is forgotten."""
    invocation.confirm(f"The cluster forgets {resource}, and nobody will ever clean it.")
    call(invocation, lambda truck: truck.cleanups.discard(resource, reason=reason))
    print_done(invocation.output, {"resource": resource}, "resource", f"discarded the cleanup of {resource}")


@command(
    app,
    "pause",
    flags=[MUTATION],
    examples=[
        'garbagetruck cleanup pause --reason "moving the bucket"',
        "garbagetruck cleanup pause --all-namespaces --reason incident-12",
    ],
)
def pause(invocation: Invocation, all_namespaces: EveryNamespace = False, reason: Reason = "") -> None:
    """Begin no more cleanups, in the namespace or in the whole cluster. Those that are running go on."""
    call(invocation, lambda truck: truck.cleanups.pause(all_namespaces=all_namespaces, reason=reason))
    where, fields = _where(invocation, all_namespaces, paused=True)
    print_done(invocation.output, fields, "namespace", f"cleanups are paused {where}")


@command(
    app,
    "resume",
    flags=[MUTATION, CONFIRMATION],
    examples=[
        "garbagetruck cleanup resume",
        "garbagetruck cleanup resume --all-namespaces --yes",
        'garbagetruck cleanup resume -n tenant-7 --release-brake --reason "they are really gone" --yes',
        'garbagetruck cleanup resume --all-namespaces --release-brake --reason "the fleet was replaced" --yes',
    ],
)
def resume(
    invocation: Invocation,
    all_namespaces: EveryNamespace = False,
    release_brake: Annotated[
        bool, typer.Option("--release-brake", help="Release the brake, too: the namespace's, or the whole fleet's.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Let cleanups begin again. Asks first for the whole cluster, and for the brake."""
    if all_namespaces and release_brake:
        invocation.confirm("Everything that the brake of the whole fleet holds back will be deleted.")
    elif release_brake:
        invocation.confirm(f"Everything that the brake of {invocation.namespace} holds back will be deleted.")
    elif all_namespaces:
        invocation.confirm("Everything that is due in any namespace will be deleted.")
    call(
        invocation,
        lambda truck: truck.cleanups.resume(all_namespaces=all_namespaces, release_brake=release_brake, reason=reason),
    )
    where, fields = _where(invocation, all_namespaces, paused=False)
    print_done(invocation.output, fields, "namespace", f"cleanups go on {where}")


@command(
    app,
    "close-breaker",
    flags=[MUTATION, CONFIRMATION],
    examples=['garbagetruck cleanup close-breaker http --reason "the service is up again" --yes'],
)
def close_breaker(
    invocation: Invocation,
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="The handler whose cleanups go on.")],
    reason: Reason = "",
) -> None:
    """Have a handler's cleanups go on in the whole cluster, before a trial has shown that it works again."""
    invocation.confirm(f"Cleanups of {handler} are tried again, all of them, and each failure counts.")
    call(invocation, lambda truck: truck.cleanups.close_breaker(handler, reason=reason))
    print_done(invocation.output, {"handler": handler}, "handler", f"cleanups of {handler} go on")


@command(
    app,
    "fleet-brake",
    flags=[MUTATION, CONFIRMATION],
    examples=["garbagetruck cleanup fleet-brake --holders-min 10 --share 0.4"],
)
def fleet_brake(
    invocation: Invocation,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Stop all cleanups when holders everywhere go silent.")
    ] = None,
    holders_min: Annotated[int | None, typer.Option(metavar="N", help="It takes at least so many.")] = None,
    share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="And more than this share of all holders, as in 0.5.")
    ] = None,
) -> None:
    """Set what is given of the brake of the whole fleet, and leave the rest. `status` shows it."""
    if enabled is None and holders_min is None and share is None:
        raise typer.BadParameter("nothing is given; set at least one of --enabled, --disabled, --holders-min, --share")
    if enabled is False:
        invocation.confirm("Without the brake of the fleet, a cut network may delete what is in use.")
    revision = call(
        invocation,
        lambda truck: truck.cleanups.set_fleet_brake(enabled=enabled, holders_min=holders_min, share=share),
    )
    print_done(invocation.output, {"revision": revision}, "revision", f"the fleet's brake is at revision {revision}")


def _where(invocation: Invocation, everywhere: bool, *, paused: bool) -> tuple[str, shapes.Fields]:
    where = "in the whole cluster" if everywhere else f"in {invocation.namespace}"
    return where, {"namespace": None if everywhere else invocation.namespace, "paused": paused}
