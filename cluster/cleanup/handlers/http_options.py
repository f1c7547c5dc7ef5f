"""What the operator tells an `http` handler, checked and resolved.

Duty: read the options; check address and headers; fetch header values from where they are kept.
Invariants: an address holds no credentials, query or fragment; no header can be smuggled in or taken over; no error
contains a header's value.
Must not know: requests.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options

HEADERS_MAX = 32
HEADER_BYTES_MAX = 8_192
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # RFC 9110 section 5.5, without obs-text
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_OURS = frozenset({"idempotency-key", "host", "content-length", "content-type", "transfer-encoding", "connection"})
OUR_PREFIX = "garbagetruck-"


class KeptValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header's value that is kept elsewhere: exactly one of the two."""

    env: str = ""
    """The name of an environment variable."""
    file: str = ""
    """The path of a file whose first line it is."""


class HttpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of an `http` handler."""

    base_url: str
    """Where requests go: a client's path is appended. `https://host[:port][/path]`, or `http://`."""
    method: Literal["DELETE", "POST"] = "DELETE"
    headers: dict[str, str | KeptValue] = {}
    """Sent with each request, a credential for example."""


def read_http_options(handler: str, options: Mapping[str, object]) -> HttpOptions:
    """Read and check the options. Raises `HandlerSettingsError`."""
    read = read_options(handler, options, HttpOptions)
    _check_base(handler, read.base_url)
    if len(read.headers) > HEADERS_MAX:
        raise HandlerSettingsError(handler, "headers", "are too many", f"name at most {HEADERS_MAX}")
    seen: set[str] = set()
    for name, value in read.headers.items():
        option = f"headers.{name}"
        if not _TOKEN.fullmatch(name):
            raise HandlerSettingsError(handler, option, "is not a header's name", "use letters, digits and dashes")
        if name.lower() in _OURS or name.lower().startswith(OUR_PREFIX):
            raise HandlerSettingsError(handler, option, "is set by the handler itself", "leave it out")
        if name.lower() in seen:
            raise HandlerSettingsError(handler, option, "is named twice", "name it once")
        seen.add(name.lower())
        if isinstance(value, str):
            _check_value(handler, option, value)
        elif bool(value.env) == bool(value.file):
            raise HandlerSettingsError(handler, option, "names no single source", "give either `env` or `file`")
    return read


def resolve_headers(handler: str, options: HttpOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """Fetch the headers' values; reads files. Raises `HandlerSettingsError`."""
    return {name: _resolve(handler, name, value, environ) for name, value in options.headers.items()}


def _resolve(handler: str, name: str, value: str | KeptValue, environ: Mapping[str, str]) -> str:
    option = f"headers.{name}"
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
                raw = file.read(HEADER_BYTES_MAX + 1)
        except OSError as error:
            problem = f"{value.file} cannot be read: {error.strerror}"
            raise HandlerSettingsError(handler, option, problem, "put it there, readable for the node") from error
        lines = raw.decode("latin-1").splitlines()
        found = lines[0].strip() if lines else ""
    _check_value(handler, option, found)
    return found


def _check_value(handler: str, option: str, value: str) -> None:
    if len(value) > HEADER_BYTES_MAX or not _VALUE.fullmatch(value):
        remedy = f"use 1 to {HEADER_BYTES_MAX} printable ASCII characters"
        raise HandlerSettingsError(handler, option, "its value cannot be sent", remedy)


def _check_base(handler: str, base_url: str) -> None:
    remedy = "write https://host[:port][/path], and credentials as headers"
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise HandlerSettingsError(handler, "base_url", "is not an address", remedy) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise HandlerSettingsError(handler, "base_url", "is not an http or https address", remedy)
    if parts.username is not None or parts.password is not None:
        raise HandlerSettingsError(handler, "base_url", "holds credentials", remedy)
    if parts.query or parts.fragment or base_url.endswith(("?", "#")):
        raise HandlerSettingsError(handler, "base_url", "holds a query or a fragment", remedy)
    if not _BASE_PATH.fullmatch(parts.path) or any(part in (".", "..") for part in parts.path.split("/")):
        raise HandlerSettingsError(handler, "base_url", "holds a path that is not plain", remedy)
