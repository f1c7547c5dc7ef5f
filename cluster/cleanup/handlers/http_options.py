"""What the operator tells an `http` handler, checked and resolved.

Duty: read the options; check address and headers; fetch header values from where they are kept.
Invariants: an address holds no credentials, query or fragment, and is in no form that readers take for different ones; no
header can be smuggled in or taken over; no two handlers reach the same paths; no error contains a header's value.
Must not know: requests.
"""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

import msgspec

from garbagetruck.cluster.cleanup.handlers.addresses import host_problem, plain_host, read_networks
from garbagetruck.cluster.cleanup.handlers.http_signature import SECRET_BYTES_MIN, SIGNED_HEADERS
from garbagetruck.cluster.cleanup.handlers.kept import KeptValue, check_kept, fetch_kept
from garbagetruck.cluster.cleanup.handlers.tls import TlsOptions, check_tls
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options

HEADERS_MAX = 32
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2
SAFE_IN_SEGMENT = "!$&'()*+,;=:@~"
"""What is sent of a path's segment as it is, beside letters, digits, `-`, `.` and `_`."""
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "expect", "trailer", "te"}
    | {name.lower() for name in SIGNED_HEADERS}
)
OUR_PREFIX = "garbagetruck-"
PORTS = {"http": 80, "https": 443}


class HttpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of an `http` handler."""

    base_url: str
    """Where requests go: a client's path is appended. `https://host[:port][/path]`, or `http://`."""
    method: Literal["DELETE", "POST"] = "DELETE"
    headers: dict[str, str | KeptValue] = {}
    """Sent with each request, a credential for example."""
    signing_secret: str | KeptValue = ""
    """What requests are signed with, shared with the service. Empty: they are not."""
    tls: TlsOptions = TlsOptions()
    """For `https`."""
    allow_addresses: list[str] = []
    """Networks beyond the public ones that the service may be in."""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of the service, for a `base_url` that was checked."""
        parts = urlsplit(self.base_url)
        assert parts.hostname, "it was checked"
        return parts.hostname, parts.port or PORTS[parts.scheme]

    @property
    def base_path(self) -> str:
        """The path that clients' paths are appended to, without a slash at its end."""
        return urlsplit(self.base_url.rstrip("/")).path

    @property
    def encrypted(self) -> bool:
        return self.base_url.lower().startswith("https:")


class Credentials(msgspec.Struct, frozen=True):
    """What is secret of a handler, fetched."""

    headers: dict[str, str]
    signing_secret: str


class BaseBook:
    """The addresses of all `http` handlers of a process: none within another's, or one thing would have two targets."""

    def __init__(self) -> None:
        self._bases: dict[str, tuple[str, ...]] = {}

    def enter(self, handler: str, options: HttpOptions) -> None:
        """Raises `HandlerSettingsError`."""
        host, port = options.place
        path = urlsplit(options.base_url).path.strip("/")
        base = (plain_host(host), str(port), *(path.split("/") if path else ()))
        for owner, other in self._bases.items():
            length = min(len(base), len(other))
            if owner != handler and base[:length] == other[:length]:
                problem = f"reaches what that of handlers.{owner} reaches"
                remedy = "register a service once, or give each its own path: a thing must have one target"
                raise HandlerSettingsError(handler, "base_url", problem, remedy)
        self._bases[handler] = base


def read_http_options(handler: str, options: Mapping[str, object]) -> HttpOptions:
    """Read and check the options. Raises `HandlerSettingsError`."""
    read = read_options(handler, options, HttpOptions)
    parts = _check_base(handler, read.base_url)
    refused = read_networks(handler, read.allow_addresses).check_literal(parts.hostname or "")
    if refused is not None:
        raise HandlerSettingsError(handler, "base_url", *refused.split("; ", 1))
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
        check_kept(handler, option, value)
    if read.signing_secret != "":
        check_kept(handler, "signing_secret", read.signing_secret)
    check_tls(handler, read.tls)
    if read.tls != TlsOptions() and not read.encrypted:
        raise HandlerSettingsError(handler, "tls", "is given for an address without it", "write https:// in `base_url`")
    return read


def fetch_credentials(handler: str, options: HttpOptions, environ: Mapping[str, str]) -> Credentials:
    """Fetch what is kept elsewhere; reads files. Raises `HandlerSettingsError`."""
    headers = {name: fetch_kept(handler, f"headers.{name}", value, environ) for name, value in options.headers.items()}
    if options.signing_secret == "":
        return Credentials(headers, "")
    secret = fetch_kept(handler, "signing_secret", options.signing_secret, environ)
    if len(secret) < SECRET_BYTES_MIN:
        remedy = f"use at least {SECRET_BYTES_MIN} characters; `openssl rand -hex 32` makes them"
        raise HandlerSettingsError(handler, "signing_secret", "is too short to be one", remedy)
    return Credentials(headers, secret)


def _check_base(handler: str, base_url: str) -> SplitResult:
    remedy = "write https://host[:port][/path], and credentials as headers"
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise HandlerSettingsError(handler, "base_url", "is not an address", remedy) from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise HandlerSettingsError(handler, "base_url", "is not an http or https address", remedy)
    if parts.username is not None or parts.password is not None:
        raise HandlerSettingsError(handler, "base_url", "holds credentials", remedy)
    if parts.query or parts.fragment or base_url.endswith(("?", "#")):
        raise HandlerSettingsError(handler, "base_url", "holds a query or a fragment", remedy)
    # urlsplit leaves line breaks and tabs out; nobody else would.
    if not base_url.isprintable() or " " in base_url:
        raise HandlerSettingsError(handler, "base_url", "holds spaces or control characters", remedy)
    # In its one encoding, or what is signed would not be what is sent.
    plain = quote(unquote(parts.path), safe=SAFE_IN_SEGMENT + "/") == parts.path
    if not plain or any(part in (".", "..") for part in parts.path.split("/")):
        raise HandlerSettingsError(handler, "base_url", "holds a path that is not plain", remedy)
    problem = host_problem(parts.hostname)
    if problem is not None:
        raise HandlerSettingsError(handler, "base_url", f"its host {problem}", remedy)
    return parts
