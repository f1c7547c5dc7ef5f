"""`garbagetruck serve`: one node, until it is told to stop."""

import os
from typing import Annotated

import typer

from garbagetruck.cli.config import TAKES_SETTINGS, ConfigFile, load
from garbagetruck.cli.invocation import examples_text


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    examples = [
        "garbagetruck serve --config n1.toml --bootstrap",
        "garbagetruck serve --config n4.toml --join",
        "garbagetruck serve --config n1.toml --log-level debug",
    ]
    app.command("serve", context_settings=TAKES_SETTINGS, epilog=examples_text(examples))(serve)


def serve(
    context: typer.Context,
    config: ConfigFile,
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Make an empty folder a node of a new cluster.")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Make an empty folder a new node of a cluster that there is.")
    ] = False,
) -> None:
    """Run one node. SIGTERM drains it and hands leadership over.

    Every setting of docs/configuration.md is a flag, too: --raft-heartbeat 50ms for raft.heartbeat.
    """
    if bootstrap and join:
        raise typer.BadParameter("a node founds a cluster, or joins one; give one of --bootstrap and --join")
    loaded = load(config, context.args)
    from garbagetruck.cluster.node.lifecycle import serve as run

    raise typer.Exit(run(loaded, bootstrap=bootstrap, join=join, environ=os.environ))
