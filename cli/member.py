"""`garbagetruck member ...`: the nodes that the cluster consists of."""

import typer

from garbagetruck.cli import shapes
from garbagetruck.cli.calling import call
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.render import Column, print_list

app = typer.Typer(help="See the nodes that the cluster consists of.", no_args_is_help=True)

COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("API", lambda row: row["api"]),
    Column("HTTP", lambda row: row["http"]),
    Column("RAFT", lambda row: row["raft"]),
    Column("DISK", lambda row: row["disk_id"], wide=True),
)


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="member")


@command(app, "list", examples=["garbagetruck member list", "garbagetruck member list -o json"])
def list_(invocation: Invocation) -> None:
    """List the members of the cluster. `status` tells how they are."""
    members = call(invocation, lambda truck: truck.members())
    print_list(invocation.output, "members", [shapes.member(each) for each in members], COLUMNS, "id", "")
