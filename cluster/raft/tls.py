"""Who a peer is, by its certificate; and the contexts that ask for one.

Duty: TLS 1.3 with a certificate on both sides, signed by the authority that the operator named, and no other. A
certificate speaks for a node when one of its subject alternative names is

- the URI `spiffe://TRUST-DOMAIN/garbagetruck/CLUSTER-ID/NODE-ID`, whatever the trust domain: the authority vouches
  for it; or
- the DNS name that is the node id itself.

Host names are not looked at: addresses change, and members are known by their ids. A certificate that speaks for
several nodes lets its holder be any of them: give each node its own.

Must not know: connections.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SPIFFE_PARTS = 3
_PRODUCT = "garbagetruck"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: this node's certificate (with its chain) and key, and the authorities that sign its peers'."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class PeerNames:
    """The names in a certificate that may speak for a node."""

    uris: frozenset[str]
    dns: frozenset[str]

    def speak_for(self, *, cluster_id: str, node_id: str) -> bool:
        """Whether the holder is that node of that cluster."""
        return node_id in self.dns or any(_node_of(uri) == (cluster_id, node_id) for uri in self.uris)


def spiffe_id(*, trust_domain: str, cluster_id: str, node_id: str) -> str:
    """The URI that speaks for a node."""
    return f"spiffe://{trust_domain}/{_PRODUCT}/{cluster_id}/{node_id}"


def names_of(secured: ssl.SSLObject | None) -> PeerNames | None:
    """What the peer's verified certificate says; None without TLS."""
    if secured is None:
        return None
    certificate: Mapping[str, Any] = secured.getpeercert() or {}
    names: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    return PeerNames(
        uris=frozenset(name for kind, name in names if kind == "URI"),
        dns=frozenset(name for kind, name in names if kind == "DNS"),
    )


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """For connecting and for being connected to. Made by `load`."""

    client: ssl.SSLContext
    server: ssl.SSLContext


def load(files: TlsFiles) -> TlsContexts:
    """Read the files. Raises OSError (ssl.SSLError among them) that names the one that cannot be used."""
    return TlsContexts(_context(files, ssl.PROTOCOL_TLS_CLIENT), _context(files, ssl.PROTOCOL_TLS_SERVER))


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a resumed session would not show its certificate anew
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise OSError(f"TLS certificate {files.certificate} with key {files.key}: {error}") from error
    try:
        context.load_verify_locations(files.authority)
    except OSError as error:
        raise OSError(f"TLS authority {files.authority}: {error}") from error
    return context


def _node_of(uri: str) -> tuple[str, str] | None:
    """(cluster id, node id) of a SPIFFE id of ours."""
    parts = urlsplit(uri)
    path = parts.path.removeprefix("/").split("/")
    if parts.scheme != "spiffe" or not parts.netloc or len(path) != _SPIFFE_PARTS or path[0] != _PRODUCT:
        return None
    if parts.query or parts.fragment:
        return None
    return unquote(path[1]), unquote(path[2])
