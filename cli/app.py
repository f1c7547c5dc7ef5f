"""The `garbagetruck` command: puts the commands together and knows nothing of what they do.

Invariant: a command is imported when it is asked for, and so is the client, or a node: most of what a short command costs is
importing.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from garbagetruck import __version__
from garbagetruck.cli.invocation import examples_text

MODULES = {
    "up": "up",
    "serve": "serve",
    "status": "status",
    "lease": "lease",
    "session": "session",
    "resource": "resource",
    "cleanup": "cleanup",
    "namespace": "namespace",
    "member": "member",
    "leader": "leader",
    "snapshot": "snapshot",
    "watch": "watch",
    "bench": "bench.command",
    "chaos": "chaos",
    "config": "config",
    "tls": "tls",
}
"""Where each command is registered, in the order of the help."""
PLAIN: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    # Plain text: help and errors are piped, searched and read over slow lines.
    "rich_markup_mode": None,
}


class Commands(MutableMapping[str, Any]):
    """Commands by name, each made at the first look at it; and others that are there already."""

    def __init__(self, others: MutableMapping[str, Any]) -> None:
        self._made = {**dict.fromkeys(MODULES), **others}

    @override
    def __getitem__(self, name: str) -> Any:
        made = self._made[name]
        if made is None:
            holder = typer.Typer(**PLAIN)
            import_module(f"garbagetruck.cli.{MODULES[name]}").register(holder)
            made = self._made[name] = typer.main.get_group(holder).commands[name]
        return made

    @override
    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    @override
    def __delitem__(self, name: str) -> None:
        del self._made[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    @override
    def __len__(self) -> int:
        return len(self._made)


class Root(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands(self.commands)


app = typer.Typer(
    cls=Root,
    name="garbagetruck",
    help="Leases on external resources: what nobody holds any more is cleaned up.",
    epilog="Every flag has a variable: GARBAGETRUCK_ENDPOINTS for --endpoints. docs/cli.md tells of all commands.",
    no_args_is_help=True,
    context_settings={"auto_envvar_prefix": "GARBAGETRUCK", "help_option_names": ["-h", "--help"]},
    **PLAIN,
)


@app.command("version", epilog=examples_text(["garbagetruck version"]))
def version() -> None:
    """Print the version."""
    from garbagetruck.cli.render import say

    say(__version__)


@app.callback()
def root() -> None:
    """Make the root a group, although it has one command of its own only."""
