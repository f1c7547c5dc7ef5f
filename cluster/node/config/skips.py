"""The setting that names entries of the log which no node can apply.

Duty: read `INDEX:CRC32`, and write it: the last line of a node that dies of an entry holds the very text.
Invariants: an entry is named by where it is and by what it is, so that no other is ever skipped for it.
Must not know: what an entry means, what becomes of it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from garbagetruck.cluster.node.config.values import InvalidValueError, Kind

SKIPPED_MAX = 64
_SKIP = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """One entry of the log."""

    index: int
    checksum: int
    """CRC32 of its payload."""

    @override
    def __str__(self) -> str:
        return f"{self.index}:{self.checksum:08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedEntries(Kind):
    """A list of `INDEX:CRC32`; in a variable or a flag as JSON."""

    @property
    @override
    def takes(self) -> str:
        return "list"

    @property
    @override
    def bounds(self) -> str:
        return f'up to {SKIPPED_MAX} of `"INDEX:CRC32"`, the checksum as eight hexadecimal digits'

    @override
    def parse(self, raw: object) -> tuple[SkippedEntry, ...]:
        remedy = 'write the list that the last line of the node names, as in ["1234:9af3c2d1"]'
        found: dict[int, SkippedEntry] = {}
        for row in list_of(raw, SKIPPED_MAX, remedy):
            matched = _SKIP.fullmatch(row) if isinstance(row, str) else None
            if matched is None:
                raise InvalidValueError(f"{row!r} names no entry", remedy)
            entry = SkippedEntry(int(matched[1]), int(matched[2], 16))
            if found.setdefault(entry.index, entry) is not entry:
                raise InvalidValueError(f"entry {entry.index} is named twice", remedy)
        return tuple(found.values())

    @override
    def show(self, value: object) -> str:
        return json.dumps([str(each) for each in cast("tuple[SkippedEntry, ...]", value)])


def list_of(raw: object, rows_max: int, remedy: str) -> Sequence[object]:
    """A list of a file, or of JSON in a variable or a flag. Raises `InvalidValueError`."""
    rows = raw
    if isinstance(raw, str):
        try:
            rows = json.loads(raw)
        except ValueError as error:
            raise InvalidValueError(f"{raw!r} is not JSON", remedy) from error
    if not isinstance(rows, list | tuple):
        raise InvalidValueError(f"{rows!r} is no list", remedy)
    if len(rows) > rows_max:
        raise InvalidValueError(f"{len(rows)} entries are too many", f"name at most {rows_max}")
    return rows
