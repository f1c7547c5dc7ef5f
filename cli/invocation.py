"""The flags that every command understands, and how a command gets them.

A command is a function whose first parameter is an `Invocation`; `command` adds the common flags behind its own, so
that they may stand where people write them: after the command. Precedence is the command line, then `GARBAGETRUCK_*`,
then the default. It must not know what commands do.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import typer

from garbagetruck.durations import DurationError, parse_duration_ms

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_ENDPOINTS = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
"""The first three nodes of `garbagetruck up`."""
DEFAULT_TIMEOUT = "5s"
ENV_PREFIX = "GARBAGETRUCK"
COMMON_PANEL = "Common flags"


class Output(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the common flags say."""

    endpoints: str
    namespace: str
    output: Output
    timeout_s: float


def duration_ms(text: str) -> int:
    """Read a duration flag; typer shows the message as a usage error."""
    try:
        return parse_duration_ms(text)
    except DurationError as error:
        raise typer.BadParameter(str(error)) from error


_COMMON: dict[str, tuple[object, object]] = {
    "endpoints": (
        Annotated[
            str,
            typer.Option(
                "--endpoints",
                envvar=f"{ENV_PREFIX}_ENDPOINTS",
                metavar="HOST:PORT,...",
                help="Nodes to ask; one that answers is enough.",
                rich_help_panel=COMMON_PANEL,
            ),
        ],
        DEFAULT_ENDPOINTS,
    ),
    "namespace": (
        Annotated[
            str,
            typer.Option(
                "--namespace",
                "-n",
                envvar=f"{ENV_PREFIX}_NAMESPACE",
                help="Namespace to work in.",
                rich_help_panel=COMMON_PANEL,
            ),
        ],
        "default",
    ),
    "output": (
        Annotated[
            Output,
            typer.Option(
                "--output", "-o", envvar=f"{ENV_PREFIX}_OUTPUT", help="How to print.", rich_help_panel=COMMON_PANEL
            ),
        ],
        Output.TABLE,
    ),
    "timeout": (
        Annotated[
            str,
            typer.Option(
                "--timeout",
                envvar=f"{ENV_PREFIX}_TIMEOUT",
                metavar="DURATION",
                help="How long a call may take, retries included.",
                rich_help_panel=COMMON_PANEL,
            ),
        ],
        DEFAULT_TIMEOUT,
    ),
}


def command(app: typer.Typer, name: str) -> Callable[[Callable[Concatenate[Invocation, P], R]], Callable[..., R]]:
    """Register a function as a command of `app`, with the common flags behind its own parameters."""

    def register(function: Callable[Concatenate[Invocation, P], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            common = {flag: kwargs.pop(flag) for flag in _COMMON}
            timeout_ms = duration_ms(str(common["timeout"]))
            if timeout_ms <= 0:
                raise typer.BadParameter("--timeout must be longer than 0s")
            invocation = Invocation(
                str(common["endpoints"]),
                str(common["namespace"]),
                Output(str(common["output"])),
                timeout_ms / 1_000,
            )
            return function(invocation, *args, **kwargs)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for flag, (annotation, default) in _COMMON.items()
        ]
        run.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]  # read by inspect
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *common]}
        app.command(name)(run)
        return run

    return register
