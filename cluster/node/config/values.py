"""The kinds of value that a setting can have: how each is read, checked, bounded and shown.

Duty: turn what a file, a variable or a flag holds into a typed value, or say what is wrong with it and what is right.
Invariants: a value that `parse` returns is within its bounds; text from a variable or a flag is read by the same rules
as a value of a file; no error message and no shown value ever contains a secret.
Must not know: which settings exist, where a value came from.
"""

import ipaddress
import re
import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from garbagetruck.durations import DurationError, format_duration, parse_duration_ms

HIDDEN = "********"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


class InvalidValueError(ValueError):
    """A value is not what its setting takes. `problem` says what is wrong, `remedy` what to write instead.

    `at` is what to append to the setting's key where only a part of its value is at fault, as in `[1].api`.
    """

    def __init__(self, problem: str, remedy: str, *, at: str = "") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.at = at


@dataclass(frozen=True, slots=True)
class Secret:
    """Text that is shown nowhere: neither by `config show` nor in a log line nor in a traceback."""

    value: str

    @override
    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    @override
    def __str__(self) -> str:
        return HIDDEN


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port. An IPv6 host is held without its brackets."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing outside this machine can be meant."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """Read `host:port` or `[ipv6]:port`. Raises `InvalidValueError`."""
    remedy = "write host:port with a port from 1 to 65535, as in 127.0.0.1:7101 or [::1]:7101"
    host, separator, port_text = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not _WHOLE.fullmatch(port_text) or not 1 <= int(port_text) <= 65535:  # noqa: PLR2004 - TCP
        raise InvalidValueError(f"{text!r} is not an address", remedy)
    if bracketed:
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise InvalidValueError(f"{text!r} is not an address", remedy) from error
    elif not _HOST.fullmatch(host):
        raise InvalidValueError(f"{text!r} is not an address", remedy)
    return Address(host, int(port_text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(ABC):
    """What one setting means and takes. Attached to its field of the settings tree as an annotation."""

    meaning: str
    """One or two sentences for the reference: what it does, and what happens at its bound."""
    example: str = ""
    """What the example file shows for a setting that has no default."""

    @property
    def takes(self) -> str:
        """The type and unit, in a word or two, for the reference."""
        return "text"

    @property
    def bounds(self) -> str:
        """The allowed values, for the reference."""
        return ""

    @abstractmethod
    def parse(self, raw: object) -> object:
        """Turn a raw value (a TOML value, or text) into the typed one. Raises `InvalidValueError`."""

    def show(self, value: object) -> str:
        """Write a typed value as a TOML file would hold it."""
        return f'"{value}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Kind):
    """An identifier that appears in file names, labels and log lines."""

    length_max: int = 64

    @property
    @override
    def bounds(self) -> str:
        return f"1 to {self.length_max} letters, digits, `.`, `_`, `-`"

    @override
    def parse(self, raw: object) -> str:
        if not isinstance(raw, str) or len(raw) > self.length_max or not _NAME.fullmatch(raw):
            remedy = f"use 1 to {self.length_max} letters, digits, dots, underscores and dashes"
            raise InvalidValueError(f"{raw!r} is not a name", remedy)
        return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Kind):
    """A whole number within bounds."""

    minimum: int
    maximum: int
    unit: str = ""

    @property
    @override
    def takes(self) -> str:
        return self.unit or "number"

    @property
    @override
    def bounds(self) -> str:
        return f"{self.minimum} to {self.maximum}"

    @override
    def parse(self, raw: object) -> int:
        remedy = f"write a whole number from {self.minimum} to {self.maximum}"
        if isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
            raw = int(raw)
        elif isinstance(raw, str) and raw.strip().lstrip("+-").isdecimal():
            raise InvalidValueError(f"{reprlib.repr(raw)} is out of bounds", remedy)  # longer than any number here
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise InvalidValueError(f"{reprlib.repr(raw)} is not a whole number", remedy)
        if not self.minimum <= raw <= self.maximum:
            raise InvalidValueError(f"{raw} is out of bounds", remedy)
        return raw

    @override
    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Kind):
    """A part of the whole, between 0 and 1."""

    minimum: float = 0.0
    maximum: float = 1.0

    @property
    @override
    def takes(self) -> str:
        return "share"

    @property
    @override
    def bounds(self) -> str:
        return f"{self.minimum} to {self.maximum}"

    @override
    def parse(self, raw: object) -> float:
        remedy = f"write a number from {self.minimum} to {self.maximum}, as in 0.25"
        if isinstance(raw, str) and _DECIMAL.fullmatch(raw.strip()):
            raw = float(raw)
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise InvalidValueError(f"{raw!r} is not a number", remedy)
        if not self.minimum <= raw <= self.maximum:
            raise InvalidValueError(f"{raw} is out of bounds", remedy)
        return float(raw)

    @override
    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration(Kind):
    """A duration with its unit; the typed value is whole milliseconds."""

    minimum_ms: int
    maximum_ms: int

    @property
    @override
    def takes(self) -> str:
        return "duration"

    @property
    @override
    def bounds(self) -> str:
        return f"{format_duration(self.minimum_ms)} to {format_duration(self.maximum_ms)}"

    @override
    def parse(self, raw: object) -> int:
        remedy = f"write a duration from {self.bounds} with its unit, as in 1500ms, 30s, 5m, 2h or 7d"
        if not isinstance(raw, str):
            raise InvalidValueError(f"{raw!r} has no unit", remedy)
        try:
            duration_ms = parse_duration_ms(raw)
        except DurationError as error:
            raise InvalidValueError(f"{reprlib.repr(raw)} is not a duration", remedy) from error
        if not self.minimum_ms <= duration_ms <= self.maximum_ms:
            raise InvalidValueError(f"{raw} is out of bounds", remedy)
        return duration_ms

    @override
    def show(self, value: object) -> str:
        assert isinstance(value, int)
        return f'"{format_duration(value)}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Kind):
    """One of a few words."""

    choices: tuple[str, ...]

    @property
    @override
    def takes(self) -> str:
        return "word"

    @property
    @override
    def bounds(self) -> str:
        return ", ".join(f"`{choice}`" for choice in self.choices)

    @override
    def parse(self, raw: object) -> str:
        if raw not in self.choices:
            raise InvalidValueError(f"{raw!r} is not known", f"choose one of {', '.join(self.choices)}")
        assert isinstance(raw, str)
        return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Kind):
    """`host:port`."""

    @property
    @override
    def takes(self) -> str:
        return "address"

    @property
    @override
    def bounds(self) -> str:
        return "`host:port`, port 1 to 65535"

    @override
    def parse(self, raw: object) -> Address:
        if not isinstance(raw, str):
            raise InvalidValueError(f"{raw!r} is not an address", "write host:port, as in 127.0.0.1:7101")
        return parse_address(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder(Kind):
    """A folder; a relative one is meant from where its source stands (the file's folder, else the working folder)."""

    @property
    @override
    def takes(self) -> str:
        return "path"

    @override
    def parse(self, raw: object) -> Path:
        if not isinstance(raw, str) or not raw or "\0" in raw:
            raise InvalidValueError(f"{raw!r} is not a path", "write the path of a folder")
        return Path(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Folder):
    """A file; a relative one is meant as a `Folder` is."""

    @override
    def parse(self, raw: object) -> Path:
        if not isinstance(raw, str) or not raw or "\0" in raw:
            raise InvalidValueError(f"{raw!r} is not a path", "write the path of a file")
        return Path(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Kind):
    """On or off."""

    @property
    @override
    def takes(self) -> str:
        return "switch"

    @property
    @override
    def bounds(self) -> str:
        return "`true`, `false`"

    @override
    def parse(self, raw: object) -> bool:
        if isinstance(raw, str) and raw.strip() in {"true", "false"}:
            return raw.strip() == "true"
        if not isinstance(raw, bool):
            raise InvalidValueError(f"{raw!r} is neither true nor false", "write true or false")
        return raw

    @override
    def show(self, value: object) -> str:
        return str(value).lower()
