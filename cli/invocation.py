"""What the shared flags of one command line say, and how a command gets it.

A command is a function whose first parameter is an `Invocation`; `command` adds the shared flags behind its own, so
that they may stand where people write them: after the command. Precedence is the command line, then `GARBAGETRUCK_*`,
then the default. It must not know what commands do.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import typer

from garbagetruck.cli.flags import COMMON, DEFAULT_ENDPOINTS, Flags, Output
from garbagetruck.cli.labels import read_labels, read_selector

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Which part of a list is wanted."""

    limit: int | None
    """How many at most; None: all."""
    page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What the shared flags say. Those that a command does not have are as if they were not given."""

    endpoints: str
    namespace: str
    output: Output
    timeout_s: float
    request_id: str = ""
    """Empty: a fresh one for each call."""
    yes: bool = False
    paging: Paging = Paging(limit=None, page_token="")
    labels: Mapping[str, str] = field(default_factory=dict)

    def confirm(self, danger: str) -> None:
        """Have a person at a terminal agree to what cannot be undone; elsewhere only `--yes` will do.

        `danger`: what is going to happen, as a sentence. Ends the process when the answer is no.
        """
        if self.yes:
            return
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise typer.BadParameter(
                f"{danger} Nobody can be asked here: add --yes if that is meant", param_hint="--yes"
            )
        typer.confirm(f"{danger} Go on?", abort=True, err=True)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], flags: Sequence[Flags] = (), common: Flags = COMMON
) -> Callable[[Callable[Concatenate[Invocation, P], R]], Callable[..., R]]:
    """Register a function as a command of `app`, with the `common` flags and those in `flags` behind its own.

    `examples`: whole command lines, shown at the end of its help.
    """
    shared = {flag: declared for each in (*flags, common) for flag, declared in each.items()}

    def register(function: Callable[Concatenate[Invocation, P], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(_invocation({flag: kwargs.pop(flag) for flag in shared}), *args, **kwargs)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        added = [
            inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for flag, (annotation, default) in shared.items()
        ]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # read by inspect
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        app.command(name, epilog=examples_text(examples))(run)
        return run

    return register


def examples_text(examples: Sequence[str]) -> str:
    """The end of a help text. Click leaves paragraphs behind a backspace as they are."""
    title = "Example:" if len(examples) == 1 else "Examples:"
    return "\b\n" + "\n".join([title, *(f"  {each}" for each in examples)])


def _invocation(said: Mapping[str, Any]) -> Invocation:
    return Invocation(
        endpoints=said.get("endpoints", DEFAULT_ENDPOINTS),
        namespace=said.get("namespace", ""),
        output=Output(said["output"]),
        timeout_s=said.get("timeout", 0) / 1_000,
        request_id=said.get("request_id", ""),
        yes=said.get("yes", False),
        paging=Paging(limit=None if said.get("all", True) else said["limit"], page_token=said.get("page_token", "")),
        labels={**read_labels(said.get("label")), **read_selector(said.get("selector", ""))},
    )
