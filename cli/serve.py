"""`garbagetruck serve`: one node, until it is told to stop."""

import os
from pathlib import Path
from typing import Annotated

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.render import note


def serve(
    config: Annotated[Path, typer.Option(help="TOML file; see docs/configuration.md.")],
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Make an empty folder a node of a new cluster.")
    ] = False,
) -> None:
    """Run one node. SIGTERM drains it and hands leadership over. Example: garbagetruck serve --config n1.toml"""
    from garbagetruck.cluster.node.lifecycle import serve as run
    from garbagetruck.cluster.node.loading import load_settings
    from garbagetruck.cluster.node.problems import SettingsError

    try:
        loaded = load_settings(config, os.environ)
    except SettingsError as error:
        note(str(error))
        raise typer.Exit(Exit.REFUSED) from error
    raise typer.Exit(run(loaded, bootstrap=bootstrap, environ=os.environ))
