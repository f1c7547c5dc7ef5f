"""Values that are kept elsewhere: credentials in the environment or in files.

Duty: fetch them, and check that they can be sent in a header.
Invariant: no error contains a value.
Must not know: what a value is for.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

VALUE_BYTES_MAX = 8_192
_SENDABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # RFC 9110 section 5.5, without obs-text


class KeptValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is kept elsewhere: exactly one of the two."""

    env: str = ""
    """The name of an environment variable."""
    file: str = ""
    """The path of a file whose first line it is."""


def check_kept(handler: str, option: str, value: str | KeptValue) -> None:
    """Check what can be checked without fetching it. Raises `HandlerSettingsError`."""
    if isinstance(value, str):
        _check_sendable(handler, option, value)
    elif bool(value.env) == bool(value.file):
        raise HandlerSettingsError(handler, option, "names no single source", "give either `env` or `file`")


def fetch_kept(handler: str, option: str, value: str | KeptValue, environ: Mapping[str, str]) -> str:
    """The value itself; reads files. Raises `HandlerSettingsError`."""
    if isinstance(value, str):
        return value
    if value.env:
        found = environ.get(value.env)
        if found is None:
            remedy = "set it for the node's process"
            raise HandlerSettingsError(handler, option, f"the variable {value.env} is not set", remedy)
    else:
        try:
            with Path(value.file).open("rb") as file:
                raw = file.read(VALUE_BYTES_MAX + 1)
        except OSError as error:
            problem = f"{value.file} cannot be read: {error.strerror}"
            raise HandlerSettingsError(handler, option, problem, "put it there, readable for the node") from error
        lines = raw.decode("latin-1").splitlines()
        found = lines[0].strip() if lines else ""
    _check_sendable(handler, option, found)
    return found


def _check_sendable(handler: str, option: str, value: str) -> None:
    if len(value) > VALUE_BYTES_MAX or not _SENDABLE.fullmatch(value):
        remedy = f"use 1 to {VALUE_BYTES_MAX} printable ASCII characters"
        raise HandlerSettingsError(handler, option, "its value cannot be sent", remedy)
