"""The statements, by name, from the files in `storage/sql`.

Duty: load them once. Invariants: every name is there once. Must not know: what they mean.

A file holds any number of statements, each after a line `-- name: NAME`. The driver prepares each at its first use on a
connection, and keeps it prepared.
"""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_SQL = files("garbagetruck.storage") / "sql"


@cache
def queries() -> dict[str, str]:
    """All of them."""
    found: dict[str, str] = {}
    for file in sorted((_SQL / "queries").iterdir(), key=lambda each: each.name):
        _, *parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            assert name not in found, f"{name} is there twice"
            found[name] = text.strip()
    return found


def query(name: str) -> str:
    return queries()[name]


@cache
def migrations() -> tuple[tuple[int, str, str], ...]:
    """Version, name and text of each, ascending from 1 without a gap."""
    found = sorted((file.name, file.read_text(encoding="utf-8")) for file in (_SQL / "migrations").iterdir())
    numbered = tuple((int(name.partition("_")[0]), name.removesuffix(".sql"), text) for name, text in found)
    assert [version for version, _, _ in numbered] == list(range(1, len(numbered) + 1))
    return numbered
