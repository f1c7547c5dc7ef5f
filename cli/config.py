"""`garbagetruck config ...`: check and show what a node would run with, and begin one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import note, say

if TYPE_CHECKING:
    from garbagetruck.cluster.node.config.loading import LoadedSettings
    from garbagetruck.cluster.node.config.problems import Problem

app = typer.Typer(help="Check and show a node's configuration.", no_args_is_help=True)
ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file; see docs/configuration.md.")]

TAKES_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For commands that take every setting of docs/configuration.md as a flag, too: there are too many to declare."""

EXAMPLE = """\
# A node of a cluster of three. The members are the same in the files of all nodes; node.id and node.data_dir are not.
# docs/configuration.md tells of every other setting. Each node is started once with
#   garbagetruck serve --config n1.toml --bootstrap
# and from then on without --bootstrap.

[cluster]
id = "example"

[[cluster.members]]
id = "n1"
api = "127.0.0.1:7101"
http = "127.0.0.1:7201"
raft = "127.0.0.1:7301"
peer = "127.0.0.1:7501"

[[cluster.members]]
id = "n2"
api = "127.0.0.1:7102"
http = "127.0.0.1:7202"
raft = "127.0.0.1:7302"
peer = "127.0.0.1:7502"

[[cluster.members]]
id = "n3"
api = "127.0.0.1:7103"
http = "127.0.0.1:7203"
raft = "127.0.0.1:7303"
peer = "127.0.0.1:7503"

[node]
id = "n1"
data_dir = "n1"

# What may be cleaned, and how: docs/handlers.md. The folder must exist.
# [handlers.file]
# roots = { uploads = "/srv/uploads" }
"""


def register(root: typer.Typer) -> None:
    """Add the commands to the root."""
    root.add_typer(app, name="config")


@app.command(
    "check", context_settings=TAKES_SETTINGS, epilog=examples_text(["garbagetruck config check --config n1.toml"])
)
def check(context: typer.Context, config: ConfigFile) -> None:
    """Say everything that is wrong with a configuration. Takes the flags of `serve`."""
    from garbagetruck.cluster.node.config.loading import load_settings
    from garbagetruck.cluster.node.config.problems import SettingsError
    from garbagetruck.cluster.node.handlers import check_handlers

    problems: list[Problem] = []
    try:
        loaded = load_settings(config, os.environ, _setting_flags(context.args))
    except SettingsError as error:
        problems += error.problems
        handlers = error.handlers
    else:
        handlers = loaded.settings.handlers
        for warning in loaded.warnings:
            note(f"Warning: {warning}")
    problems += check_handlers(handlers, environ=os.environ)
    for problem in problems:
        note(f"Error: {problem}")
    if problems:
        raise typer.Exit(Exit.REFUSED)
    note(f"{config}: nothing is wrong")


@app.command(
    "show",
    context_settings=TAKES_SETTINGS,
    epilog=examples_text(["garbagetruck config show --config n1.toml --origin"]),
)
def show(
    context: typer.Context,
    config: ConfigFile,
    origin: Annotated[bool, typer.Option("--origin", help="Tell where each value came from.")] = False,
) -> None:
    """Show every setting as a node would take it. Takes the flags of `serve`."""
    for key, value, source in load(config, context.args).shown():
        say(f"{key} = {value}" + (f"  # {source}" if origin else ""))


@app.command("example", epilog=examples_text(["garbagetruck config example > n1.toml"]))
def example() -> None:
    """Print a configuration to begin with."""
    say(EXAMPLE.removesuffix("\n"))


def load(config: Path, arguments: list[str]) -> "LoadedSettings":
    """The settings out of file, environment and flags. Ends the process, with everything that is wrong, when they do
    not fit.
    """
    from garbagetruck.cluster.node.config.loading import load_settings
    from garbagetruck.cluster.node.config.problems import SettingsError

    try:
        return load_settings(config, os.environ, _setting_flags(arguments))
    except SettingsError as error:
        note("\n".join(f"Error: {problem}" for problem in error.problems))
        raise typer.Exit(Exit.REFUSED) from error


def _setting_flags(arguments: list[str]) -> dict[str, str]:
    """`--raft-heartbeat 50ms` and `--raft-heartbeat=50ms`, by the key of the setting."""
    from garbagetruck.cluster.node.config.loading import leaves

    keys = {leaf.flag: leaf.key for leaf in leaves()}
    flags: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag not in keys:
            raise typer.BadParameter(f"{flag} is not known; docs/configuration.md lists every setting")
        if keys[flag] in flags:
            raise typer.BadParameter(f"{flag} is given twice")
        if not equals:
            try:
                value = next(rest)
            except StopIteration:
                raise typer.BadParameter(f"{flag} needs a value") from None
        flags[keys[flag]] = value
    return flags
