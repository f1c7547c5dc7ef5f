"""The lines of a `resource import`: one JSON object each, read, checked, and read again.

Duty: say of every line what it asks for, or what is wrong with it and how to write it.
Invariants: memory does not grow with the number of lines but for one number each; standard input is kept in a file of its own,
so that all of it can be checked before anything is sent.
Must not know: clusters, what becomes of a line.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import typer

from garbagetruck.cli.arguments import read_cleanup
from garbagetruck.client.records import Cleanup
from garbagetruck.durations import DurationError, parse_duration_ms

LINES_MAX = 1_000_000
"""In one import; of more, make several."""
LINE_BYTES_MAX = 64 * 1024
RESOURCE_BYTES_MAX = 1_024
FIELDS = ("resource", "cleanup", "ttl", "grace", "labels")
EXAMPLE = '{"resource": "uploads/42", "cleanup": "file:path=uploads/42"}'


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a line that says nothing else."""

    ttl_ms: int
    grace_ms: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one line asks for."""

    line: int
    """From 1."""
    resource: str
    cleanup: Cleanup
    ttl_ms: int
    grace_ms: int | None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that asks for nothing that could be done."""

    line: int
    problem: str


class _BadLineError(ValueError):
    """Its text is the problem, and what would be right."""


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The file, or all of standard input for `-`, in a file that can be read again. Raises OSError."""
    if path != "-":
        with Path(path).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        while chunk := sys.stdin.buffer.read(1 << 20):
            spool.write(chunk)
        yield spool


def read_lines(file: IO[bytes], defaults: Defaults) -> Iterator[Wanted | Bad]:
    """Every line that is not empty, from the beginning of the file, in its order."""
    file.seek(0)
    seen: dict[int, int] = {}
    for number, raw in enumerate(_raw_lines(file), 1):
        if number > LINES_MAX:
            yield Bad(number, f"is one too many; split the import into parts of at most {LINES_MAX:,} lines")
            return
        if not raw.strip() and len(raw) <= LINE_BYTES_MAX:
            continue
        try:
            wanted = _read(number, raw, defaults)
        except _BadLineError as error:
            yield Bad(number, str(error))
            continue
        earlier = seen.setdefault(hash(wanted.resource), number)
        if earlier == number:
            yield wanted
        else:
            yield Bad(number, f"names {wanted.resource!r}, as line {earlier} does; name each resource once")


def digest_of(wanted: list[Wanted], holder: str) -> str:
    """A request id for these lines: the same whenever the same is asked for."""
    asked = [
        [
            each.resource,
            each.cleanup.handler,
            sorted(each.cleanup.parameters.items()),
            each.ttl_ms,
            each.grace_ms,
            sorted(each.labels.items()),
        ]
        for each in wanted
    ]
    return "import-" + hashlib.blake2b(json.dumps([holder, asked]).encode(), digest_size=20).hexdigest()


def _raw_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Each line; of one that is too long, no more than shows that it is."""
    while raw := file.readline(LINE_BYTES_MAX + 1):
        rest = raw
        while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES_MAX + 1)
        yield raw


def _read(number: int, raw: bytes, defaults: Defaults) -> Wanted:
    if len(raw) > LINE_BYTES_MAX:
        raise _BadLineError(f"is longer than {LINE_BYTES_MAX} bytes; write one object a line")
    try:
        fields = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise _BadLineError(f"is not JSON ({error}); write one object a line, as in {EXAMPLE}") from error
    if not isinstance(fields, dict):
        raise _BadLineError(f"is no object; write one a line, as in {EXAMPLE}")
    for key in fields:
        if key not in FIELDS:
            raise _BadLineError(f"has {key!r}, which is unknown; there are {', '.join(FIELDS)}")
    return Wanted(
        number,
        _resource(fields.get("resource")),
        _cleanup(fields.get("cleanup")),
        _duration("ttl", fields.get("ttl"), defaults.ttl_ms) or 0,
        _duration("grace", fields.get("grace"), defaults.grace_ms),
        _labels(fields.get("labels", {})),
    )


def _resource(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _BadLineError(f"resource is {json.dumps(value)}; write the resource's name")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise _BadLineError("resource is no text of Unicode; write it in characters of Unicode") from error
    if size > RESOURCE_BYTES_MAX:
        raise _BadLineError(f"resource is {size} bytes long; at most {RESOURCE_BYTES_MAX} bytes are allowed")
    return value


def _cleanup(value: object) -> Cleanup:
    if value is None:
        raise _BadLineError("has no cleanup, so nothing would ever be done; name one, as in file:path=uploads/42")
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        cleanup = read_cleanup(text)
    except typer.BadParameter as error:
        raise _BadLineError(f"cleanup: {error.message.removeprefix('--cleanup').strip()}") from error
    assert cleanup is not None, "there is a text"
    return cleanup


def _duration(name: str, value: object, default_ms: int | None) -> int | None:
    if value is None:
        return default_ms
    if not isinstance(value, str):
        raise _BadLineError(f"{name} is {json.dumps(value)}; write a number and a unit, as in 30m")
    try:
        return parse_duration_ms(value)
    except DurationError as error:
        raise _BadLineError(f"{name}: {error}") from error


def _labels(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _BadLineError(f"labels are {json.dumps(value)}; write an object of strings")
    return value
