"""`garbagetruck config ...`: check and show what a node would run with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.render import note

if TYPE_CHECKING:
    from garbagetruck.cluster.node.loading import LoadedSettings

app = typer.Typer(help="Check and show a node's configuration.", no_args_is_help=True)
ConfigFile = Annotated[Path, typer.Option("--config", help="TOML file; see docs/configuration.md.")]


@app.command("check")
def check(config: ConfigFile) -> None:
    """Say everything that is wrong with a configuration. Example: garbagetruck config check --config n1.toml"""
    from garbagetruck.cluster.node.handlers import check_handlers

    loaded = _load(config)
    problems = check_handlers(loaded.settings, environ=os.environ)
    for problem in problems:
        note(str(problem))
    if problems:
        raise typer.Exit(Exit.REFUSED)
    note(f"{config}: nothing is wrong")


@app.command("show")
def show(
    config: ConfigFile,
    origin: Annotated[bool, typer.Option("--origin", help="Tell where each value came from.")] = False,
) -> None:
    """Show every setting as a node would take it. Example: garbagetruck config show --config n1.toml --origin"""
    for key, value, source in _load(config).shown():
        typer.echo(f"{key} = {value}" + (f"  # {source}" if origin else ""))


def _load(config: Path) -> "LoadedSettings":
    from garbagetruck.cluster.node.loading import load_settings
    from garbagetruck.cluster.node.problems import SettingsError

    try:
        return load_settings(config, os.environ)
    except SettingsError as error:
        note(str(error))
        raise typer.Exit(Exit.REFUSED) from error
