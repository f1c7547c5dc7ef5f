"""What the operator tells a `grpc` handler, checked and resolved.

Duty: read the options; check address and metadata; fetch values from where they are kept.
Invariants: the address is in no form that readers take for different ones; credentials are sent over TLS alone, unless
plaintext is asked for by name; no error contains a value.
Must not know: channels, calls.
"""

import re
from collections.abc import Mapping

import msgspec

from garbagetruck.cluster.cleanup.handlers.addresses import host_problem, read_networks
from garbagetruck.cluster.cleanup.handlers.kept import KeptValue, check_kept, fetch_kept
from garbagetruck.cluster.cleanup.handlers.tls import TlsOptions, check_tls
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options

METADATA_MAX = 32
PORT_MAX = 65_535
_KEY = re.compile(r"[0-9a-z_.-]{1,128}")  # as gRPC's HTTP/2 protocol says of ASCII metadata
_PLACE = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


class GrpcOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of a `grpc` handler."""

    address: str
    """Where the service is: `host:port`."""
    metadata: dict[str, str | KeptValue] = {}
    """Sent with each call, a credential for example."""
    tls: TlsOptions = TlsOptions()
    insecure_plaintext: bool = False
    """Without TLS: whoever is between can read and change everything."""
    health: bool = True
    """Whether to call only while the service's own health allows it."""
    allow_addresses: list[str] = []
    """Networks beyond the public ones that the service may be in."""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, for an `address` that was checked."""
        match = _PLACE.fullmatch(self.address)
        assert match is not None, "it was checked"
        return match["bracketed"] or match["host"], int(match["port"])


def read_grpc_options(handler: str, options: Mapping[str, object]) -> GrpcOptions:
    """Read and check the options. Raises `HandlerSettingsError`."""
    read = read_options(handler, options, GrpcOptions)
    _check_address(handler, read)
    if len(read.metadata) > METADATA_MAX:
        raise HandlerSettingsError(handler, "metadata", "are too many", f"name at most {METADATA_MAX}")
    for key, value in read.metadata.items():
        option = f"metadata.{key}"
        if not _KEY.fullmatch(key) or key.endswith("-bin"):
            remedy = "use small letters, digits, `_`, `.` and `-`, and no name that ends in -bin"
            raise HandlerSettingsError(handler, option, "is not a key of text", remedy)
        if key.startswith("grpc-") or key in ("te", "user-agent", "content-type", "host"):
            raise HandlerSettingsError(handler, option, "is set by gRPC itself", "leave it out")
        check_kept(handler, option, value)
    check_tls(handler, read.tls)
    if read.tls != TlsOptions() and read.insecure_plaintext:
        remedy = "remove `insecure_plaintext`, or the table `tls`"
        raise HandlerSettingsError(handler, "tls", "is given together with `insecure_plaintext`", remedy)
    return read


def fetch_metadata(handler: str, options: GrpcOptions, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Fetch what is kept elsewhere; reads files. Raises `HandlerSettingsError`."""
    return tuple(
        (key, fetch_kept(handler, f"metadata.{key}", value, environ)) for key, value in options.metadata.items()
    )


def _check_address(handler: str, options: GrpcOptions) -> None:
    remedy = "write host:port, as in index.internal:8443 or [2001:db8::7]:8443"
    match = _PLACE.fullmatch(options.address)
    if match is None or not 1 <= int(match["port"]) <= PORT_MAX:
        raise HandlerSettingsError(handler, "address", "is not an address", remedy)
    host = match["bracketed"] or match["host"]
    problem = host_problem(host)
    if problem is not None:
        raise HandlerSettingsError(handler, "address", f"its host {problem}", remedy)
    refused = read_networks(handler, options.allow_addresses).check_literal(host)
    if refused is not None:
        raise HandlerSettingsError(handler, "address", *refused.split("; ", 1))
