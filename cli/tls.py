"""`garbagetruck tls ...`: certificates for the connections between a cluster's nodes."""

import datetime as dt
import re
from pathlib import Path
from typing import Annotated

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say

DAYS_MAX = 3_650
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
"""As in the configuration: a node id is part of a file's name here, and of a URI."""

app = typer.Typer(help="Make certificates for a cluster's nodes.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="tls")


@app.command(
    "init",
    epilog=examples_text(
        [
            "garbagetruck tls init production --dir tls --node n1 --node n2 --node n3",
            "garbagetruck tls init production --dir tls --node n4",
        ]
    ),
)
def init(
    cluster_id: Annotated[str, typer.Argument(metavar="CLUSTER_ID", help="As `cluster.id` in the configuration.")],
    folder: Annotated[
        Path, typer.Option("--dir", envvar="GARBAGETRUCK_TLS_INIT_DIR", metavar="DIR", help="Where the files go.")
    ] = Path("tls"),
    nodes: Annotated[
        list[str] | None,
        typer.Option(
            "--node",
            envvar="GARBAGETRUCK_TLS_INIT_NODE",
            metavar="ID",
            help="A node's id; repeat it. Default: n1, n2, n3.",
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=DAYS_MAX, help="How long they are valid.")] = 365,
) -> None:
    """Make an authority, and a certificate that it signs for each node.

    Called again for the same folder it signs further nodes with the authority that is there. Nothing is overwritten.
    Keep ca.key where no node can read it: whoever has it can be any node.
    """
    try:
        from garbagetruck.cli import certificates
    except ImportError as error:
        note("Error: this needs the package `cryptography`: pip install 'garbagetruck[tls]'")
        raise typer.Exit(Exit.REFUSED) from error
    names = list(dict.fromkeys(nodes or ["n1", "n2", "n3"]))
    for name in (cluster_id, *names):
        if not _NAME.fullmatch(name):
            raise typer.BadParameter(f"{name!r} is not a name: use letters, digits, dots, underscores and dashes")
    if "ca" in names:
        raise typer.BadParameter("'ca' is the name of the authority's own files; name the node otherwise")
    now = dt.datetime.now(dt.UTC)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = certificates.read_authority(folder)
        if authority is None:
            authority = certificates.make_authority(cluster_id, now=now, days=DAYS_MAX)
            certificates.write(folder, "ca", authority)
        for name in names:
            node = certificates.make_node(authority, cluster_id=cluster_id, node_id=name, now=now, days=days)
            certificates.write(folder, name, node)
    except FileExistsError as error:
        note(f"Error: {error.filename} exists, and nothing is overwritten; move it away, or name another --dir")
        raise typer.Exit(Exit.REFUSED) from error
    except (OSError, ValueError) as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.REFUSED) from error
    where = folder.absolute()
    for name in names:
        say(f"# in the configuration of {name}")
        say("[raft]")
        say(f'tls_certificate = "{where / name}.pem"')
        say(f'tls_key = "{where / name}.key"')
        say(f'tls_authority = "{where / "ca.pem"}"\n')
