"""`garbagetruck watch`: what happens, one event a line."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call
from garbagetruck.cli.flags import Output
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import print_line
from garbagetruck.client import Event, Truck

INDEX_MAX = 2**64 - 1
"""What the API can carry."""
TYPE_WIDTH = 21
"""That of the longest type, so that what follows stands in a column."""


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(
        app,
        "watch",
        examples=[
            "garbagetruck watch",
            "garbagetruck watch --from 4711 -o json",
            "garbagetruck watch --type cleanup_done --type cleanup_dead_letter --all-namespaces",
        ],
    )(watch)


def watch(  # typer reads flags from parameters
    invocation: Invocation,
    from_: Annotated[
        int,
        typer.Option(
            "--from",
            envvar="GARBAGETRUCK_WATCH_FROM",
            min=0,
            max=INDEX_MAX,
            metavar="INDEX",
            help="The first event wanted. 0: from now on.",
        ),
    ] = 0,
    resource: Annotated[str, typer.Option(help="Only events of this resource.")] = "",
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            envvar="GARBAGETRUCK_WATCH_TYPE",
            metavar="TYPE",
            help="Only events of this type; may be repeated.",
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Events of every namespace and of the cluster itself.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many. Default: never.")] = None,
) -> None:
    """Print what happens, one event a line, until Ctrl-C (exit code 130).

    Each line begins with the event's index. To go on where a watch ended, give --from the last index and one more.
    Events that are too old are gone; then the exit code is 1, and the message names the oldest that there is.
    Nodes may fail meanwhile: no event is missed and none comes twice.
    """

    async def work(truck: Truck) -> None:
        # Whether anybody is there is told within --timeout; from then on failovers are waited out.
        await truck.status()
        events = truck.watch(
            from_index=from_, all_namespaces=all_namespaces, resource=resource, types=tuple(type_ or ())
        )
        async with aclosing(events):
            async for event in _first(events, limit):
                _print(invocation.output, event)

    call(invocation, work)


async def _first(events: AsyncIterator[Event], limit: int | None) -> AsyncIterator[Event]:
    left = limit
    async for event in events:
        yield event
        if left is not None and (left := left - 1) == 0:
            return


def _print(output: Output, event: Event) -> None:
    subject = event.resource or event.session_id or event.namespace or "-"
    parts = [f"{event.index:<8}", f"{event.at_ms:>12}ms", f"{event.type:<{TYPE_WIDTH}}", subject]
    if output is Output.WIDE:
        told = {"lease": event.lease_id, "holder": event.holder, "token": event.fencing_token}
        parts += [f"{name}={value}" for name, value in told.items() if value]
    if event.detail:
        parts.append(f"({event.detail})")
    print_line(output, shapes.event(event), "  ".join(parts), "index")
