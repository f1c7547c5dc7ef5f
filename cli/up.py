"""`garbagetruck up`: a whole cluster on this machine, in the foreground."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from garbagetruck.cli.invocation import examples_text


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    examples = [
        "garbagetruck up",
        "garbagetruck up --data-dir /tmp/truck --base-port 9100 --fresh",
        "garbagetruck up --storage postgres",
    ]
    app.command("up", epilog=examples_text(examples))(up)


def up(  # noqa: PLR0917  # typer reads flags from parameters
    data_dir: Annotated[Path, typer.Option(help="Folder of the cluster.")] = Path("garbagetruck-data"),
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = 3,
    base_port: Annotated[
        int, typer.Option(help="Node i listens on base+i, base+100+i, base+200+i and base+400+i.")
    ] = 7_100,
    storage: Annotated[
        str,
        typer.Option(
            help="postgres: nodes keep copies of everything there. directory, memory: in their own folders alone."
        ),
    ] = "directory",
    postgres: Annotated[
        str,
        typer.Option(metavar="embedded|DSN", help="Of --storage postgres: a server of our own, which is the default."),
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty cluster.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Start a node again that ended by itself.")] = False,
    file_root: Annotated[list[Path] | None, typer.Option(help="Further root of the file handler.")] = None,
    handlers: Annotated[
        Path | None,
        typer.Option(help="TOML file with further [handlers.NAME] tables; [handlers.file] sets its bounds."),
    ] = None,
) -> None:
    """Start a cluster of several nodes on this machine; Ctrl-C stops it.

    Prints one line that begins with `ready` when every node serves, and writes DIR/cluster.json.
    """
    from garbagetruck.cluster.node.local.layout import UpOptions
    from garbagetruck.cluster.node.local.supervisor import up as run

    options = UpOptions(
        data_dir=data_dir,
        nodes=nodes,
        base_port=base_port,
        storage=storage,
        postgres=postgres,
        fresh=fresh,
        restart=restart,
        file_roots=tuple(file_root or ()),
        handlers=handlers,
    )
    raise typer.Exit(run(options, new_cluster_id=f"up-{secrets.token_hex(8)}"))
