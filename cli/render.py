"""Printing: tables for eyes, JSON, YAML and names for scripts. Data goes to stdout, everything else to stderr."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from garbagetruck.cli.invocation import Output

Fields = Mapping[str, Any]
NARROW_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `wide` ones are left out of the narrow one."""

    title: str
    value: Callable[[Fields], object]
    wide: bool = False


def note(message: str) -> None:
    """Tell a person something that is not data."""
    print(message, file=sys.stderr)  # noqa: T201  # a command line prints


def print_one(output: Output, fields: Fields, columns: Sequence[Column], name: str) -> None:
    """One record: the JSON object itself, or a table of one row."""
    if output in (Output.JSON, Output.YAML):
        _print_data(output, fields)
    else:
        print_rows(output, [fields], columns, name)


def print_list(
    output: Output, key: str, rows: Sequence[Fields], columns: Sequence[Column], name: str, more: str
) -> None:
    """A list: `{key: [...], "next_page_token": ...}`, or a table. `more` is the token of the next page, or empty."""
    if output in (Output.JSON, Output.YAML):
        _print_data(output, {key: list(rows), "next_page_token": more})
        return
    print_rows(output, rows, columns, name)
    if more:
        note("There is more: raise --limit, or use --all.")


def print_line(output: Output, fields: Fields, line: str) -> None:
    """One record of a stream: one line each, whatever the format."""
    if output is Output.JSON:
        print(json.dumps(fields, ensure_ascii=False), flush=True)  # noqa: T201
    elif output is Output.YAML:
        print(yaml.safe_dump(dict(fields), explicit_start=True, sort_keys=False), end="", flush=True)  # noqa: T201
    else:
        print(line, flush=True)  # noqa: T201


def _print_data(output: Output, value: object) -> None:
    if output is Output.JSON:
        print(json.dumps(value, ensure_ascii=False))  # noqa: T201
    else:
        print(yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True), end="")  # noqa: T201


def print_rows(output: Output, rows: Sequence[Fields], columns: Sequence[Column], name: str) -> None:
    """Rows for eyes, or only their names."""
    if output is Output.NAME:
        for row in rows:
            print(row[name])  # noqa: T201
        return
    shown = [column for column in columns if output is Output.WIDE or not column.wide]
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for column in shown:
        table.add_column(column.title, no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column.value(row)) for column in shown))
    # Width is the terminal's where there is one; a pipe gets whole values, never cut ones.
    console = Console(width=None if sys.stdout.isatty() else NARROW_WIDTH, soft_wrap=False, highlight=False)
    console.print(table)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("[", "\\[")
