"""`garbagetruck namespace ...`: what a tenant may have, how it cleans, and when its brake trips."""

from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call, collect
from garbagetruck.cli.flags import CONFIRMATION, MUTATION, PAGING, duration
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, Fields, print_done, print_list, print_one
from garbagetruck.client import Brake, CleanupSettings, Limits, Namespace, Truck
from garbagetruck.durations import format_duration

app = typer.Typer(help="See and set namespaces: limits, cleanups, the brake.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="namespace")


def _used(limit: str, used: str) -> Column:
    return Column(used.upper(), lambda row: f"{row['usage'][used]}/{row['limits'][limit]}")


def _brake(row: Fields) -> object:
    if not row["brake"]["enabled"]:
        return "off"
    return "engaged" if row["brake_state"]["engaged"] else "ready"


COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    _used("leases_max", "leases"),
    _used("sessions_max", "sessions"),
    _used("resources_max", "resources"),
    Column("BRAKE", _brake),
    Column("PAUSED", lambda row: row["cleanups_paused"]),
    Column("DUE", lambda row: row["usage"]["due"]),
    Column("DEAD LETTERS", lambda row: row["usage"]["dead_letters"]),
    Column("GRACE", lambda row: format_duration(row["cleanup"]["grace_ms_min"]), wide=True),
    Column("ATTEMPTS MAX", lambda row: row["cleanup"]["attempts_max"], wide=True),
    Column("REVISION", lambda row: row["revision"], wide=True),
    Column("WHY", lambda row: row["pause_reason"] or row["brake_state"]["reason"], wide=True),
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The namespace. Default: that of --namespace.")]
Count = Annotated[int | None, typer.Option(metavar="N", help="How many at most.")]


@command(app, "list", flags=[PAGING], examples=["garbagetruck namespace list -o wide"])
def list_(invocation: Invocation) -> None:
    """List namespaces, with what they have of what they may have."""

    async def work(truck: Truck) -> tuple[list[Namespace], str]:
        return await collect(invocation, lambda size: truck.namespaces.list(page_size=size))

    rows, more = call(invocation, work)
    print_list(invocation.output, "namespaces", [shapes.namespace(each) for each in rows], COLUMNS, "namespace", more)


@command(app, "get", examples=["garbagetruck namespace get default -o yaml"])
def get(invocation: Invocation, name: Name = "") -> None:
    """Look at one namespace: its limits, settings, pause, brake and usage."""
    record = call(invocation, lambda truck: truck.namespaces.get(name))
    print_one(invocation.output, shapes.namespace(record), COLUMNS, "namespace")


@command(
    app,
    "set",
    flags=[MUTATION, CONFIRMATION],
    examples=[
        "garbagetruck namespace set tenant-7",
        "garbagetruck namespace set tenant-7 --leases-max 10000 --leases-per-holder-max 500",
        "garbagetruck namespace set tenant-7 --grace-min 1h --brake-share 0.3 --revision 4",
    ],
)
def set_(  # noqa: PLR0913, PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    name: Name = "",
    leases_max: Count = None,
    leases_per_holder_max: Count = None,
    resources_max: Count = None,
    sessions_max: Count = None,
    grace_min: Annotated[int | None, duration(help="Least time between the last lease and the cleanup.")] = None,
    attempts_max: Annotated[int | None, typer.Option(metavar="N", help="Then a cleanup is a dead letter.")] = None,
    retry_delay_min: Annotated[int | None, duration(help="Delay before the second attempt; it doubles.")] = None,
    retry_delay_max: Annotated[int | None, duration(help="Longest delay between attempts.")] = None,
    brake: Annotated[
        bool | None, typer.Option("--brake/--no-brake", help="Stop cleanups when many holders go silent at once.")
    ] = None,
    brake_holders_min: Annotated[int | None, typer.Option(metavar="N", help="It takes at least so many.")] = None,
    brake_share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="And more than this share of all holders, as in 0.5.")
    ] = None,
    brake_window: Annotated[int | None, duration(help="Within this time.")] = None,
    revision: Annotated[
        int, typer.Option(metavar="N", min=0, help="Only if the namespace is at this revision. 0: at any.")
    ] = 0,
) -> None:
    """Set what is given and leave the rest; make the namespace if there is none of this name."""
    if brake is False:
        invocation.confirm(
            f"Without its brake, {name or invocation.namespace} deletes what is in use after a network cut."
        )
    limits = Limits(
        leases_max=leases_max,
        leases_per_holder_max=leases_per_holder_max,
        resources_max=resources_max,
        sessions_max=sessions_max,
    )
    cleanup = CleanupSettings(
        grace_ms_min=grace_min,
        attempts_max=attempts_max,
        retry_delay_ms_min=retry_delay_min,
        retry_delay_ms_max=retry_delay_max,
    )
    braking = Brake(enabled=brake, holders_min=brake_holders_min, share=brake_share, window_ms=brake_window)
    now_at = call(
        invocation,
        lambda truck: truck.namespaces.set(name, limits=limits, cleanup=cleanup, brake=braking, revision=revision),
    )
    fields = {"namespace": name or invocation.namespace, "revision": now_at}
    print_done(invocation.output, fields, "namespace", f"{fields['namespace']} is at revision {now_at}")
