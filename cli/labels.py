"""Labels as people write them on the command line."""

from collections.abc import Sequence

import typer


def read_labels(texts: Sequence[str] | None, *, flag: str = "--label") -> dict[str, str]:
    """`key=value`, each key once. A value may be empty and may contain `=`."""
    labels: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{flag} {text!r}: write key=value")
        if key in labels:
            raise typer.BadParameter(f"{flag} {key!r} is given twice")
        labels[key] = value
    return labels


def read_selector(text: str) -> dict[str, str]:
    """`key=value,key=value`: all of these labels."""
    return read_labels([part for part in text.split(",") if part], flag="--selector")
