"""The flags that several commands share, one declaration each.

Duty: names, variables, help texts and defaults of shared flags. A flag's variable is its name behind that of its
command (`GARBAGETRUCK_LEASE_LIST_LIMIT`), made by typer; the four that every command has are the same for all
(`GARBAGETRUCK_ENDPOINTS`). It must not know what commands do with them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from garbagetruck.durations import DurationError, parse_duration_ms

DEFAULT_ENDPOINTS = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
"""The first three nodes of `garbagetruck up`."""
DEFAULT_TIMEOUT = "5s"
DEFAULT_LIMIT = 100
ENV_PREFIX = "GARBAGETRUCK"


class Output(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def duration_ms(text: str) -> int:
    """Read a duration flag; typer shows the message as a usage error that names the flag."""
    try:
        return parse_duration_ms(text)
    except DurationError as error:
        raise typer.BadParameter(str(error)) from error


def positive_duration_ms(text: str) -> int:
    """As `duration_ms`, and longer than nothing."""
    if (value := duration_ms(text)) <= 0:
        raise typer.BadParameter(f"{text!r} is no time at all; write a duration longer than 0s")
    return value


def duration(*names: str, help: str) -> Any:  # noqa: A002  # typer's own word, and typer's own type
    """A flag that takes `30s` and gives milliseconds."""
    return typer.Option(*names, parser=duration_ms, metavar="DURATION", help=help)


Flags = Mapping[str, tuple[object, object]]
"""By parameter name: the annotation that typer reads, and the default."""

COMMON: Flags = {
    "endpoints": (
        Annotated[
            str,
            typer.Option(
                envvar=f"{ENV_PREFIX}_ENDPOINTS",
                metavar="HOST:PORT,...",
                help="Nodes to ask; one that answers is enough.",
            ),
        ],
        DEFAULT_ENDPOINTS,
    ),
    "namespace": (
        Annotated[
            str,
            typer.Option("--namespace", "-n", envvar=f"{ENV_PREFIX}_NAMESPACE", help="Namespace to work in."),
        ],
        "default",
    ),
    "output": (
        Annotated[Output, typer.Option("--output", "-o", envvar=f"{ENV_PREFIX}_OUTPUT", help="How to print.")],
        Output.TABLE,
    ),
    "timeout": (
        Annotated[
            int,
            typer.Option(
                envvar=f"{ENV_PREFIX}_TIMEOUT",
                parser=positive_duration_ms,
                metavar="DURATION",
                help="How long a call may take, retries included.",
            ),
        ],
        DEFAULT_TIMEOUT,
    ),
}
"""What every command understands that talks to a cluster."""

LOCAL: Flags = {"output": COMMON["output"]}
"""What commands understand that look at this machine's own files."""

MUTATION: Flags = {
    "request_id": (
        Annotated[
            str,
            typer.Option(metavar="UUID", help="A call repeated under its id has one effect. Default: a fresh one."),
        ],
        "",
    ),
}
"""For commands that change something."""

CONFIRMATION: Flags = {
    "yes": (Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")], False),
}
"""For commands that cannot be undone."""

PAGING: Flags = {
    "limit": (
        Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many at most.")],
        DEFAULT_LIMIT,
    ),
    "all": (Annotated[bool, typer.Option("--all", help="However many there are.")], False),
    "page_token": (
        Annotated[str, typer.Option(metavar="TOKEN", help="Go on where an earlier list ended (next_page_token).")],
        "",
    ),
}
"""For lists."""

SELECTION: Flags = {
    "label": (
        Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this label; may be repeated.")],
        None,
    ),
    "selector": (
        Annotated[str, typer.Option("--selector", "-l", metavar="KEY=VALUE,...", help="Only with all these labels.")],
        "",
    ),
}
"""For lists of what has labels."""
