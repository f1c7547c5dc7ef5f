"""`garbagetruck leader ...`: who leads the cluster."""

from typing import Annotated

import typer

from garbagetruck.cli.calling import call
from garbagetruck.cli.flags import MUTATION
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import print_done

app = typer.Typer(help="Say who leads the cluster.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="leader")


@app.callback()
def _group() -> None:
    """Keep `transfer` a command of its own, though it is the only one."""


@command(
    app,
    "transfer",
    flags=[MUTATION],
    examples=["garbagetruck leader transfer", "garbagetruck leader transfer --to n2"],
)
def transfer(
    invocation: Invocation,
    to: Annotated[
        str, typer.Option("--to", metavar="NODE", help="Who shall lead. Default: whoever is most up to date.")
    ] = "",
) -> None:
    """Hand leadership to another node, and say who leads then. Nothing that was acknowledged is lost by it."""
    leader_id = call(invocation, lambda truck: truck.transfer_leadership(to))
    print_done(invocation.output, {"leader": leader_id}, "leader", f"{leader_id} leads")
