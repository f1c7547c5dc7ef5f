"""Certificates for a cluster's own connections: an authority, and one certificate for each node that it signs.

Duty: make them, for development and for small deployments without an authority of their own. A node's certificate says
who its holder is by the URI `spiffe://TRUST-DOMAIN/garbagetruck/CLUSTER-ID/NODE-ID`, which is what nodes check
(docs/consensus.md).

Invariants: a key is readable by its owner alone from the moment it exists; nothing that exists is overwritten.
Must not know: the command line.
"""

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "garbagetruck.local"
_CLOCK_SKEW = dt.timedelta(hours=1)
"""A certificate is valid from a little before it was made: clocks of machines differ."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_authority(cluster_id: str, *, now: dt.datetime, days: int) -> Signed:
    """A new authority, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"garbagetruck {cluster_id} authority"[:64])])
    certificate = (
        _builder(name, name, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Signed(certificate, key)


def make_node(authority: Signed, *, cluster_id: str, node_id: str, now: dt.datetime, days: int) -> Signed:
    """A node's certificate: for connecting and for being connected to."""
    key = ec.generate_private_key(ec.SECP256R1())
    uri = f"spiffe://{TRUST_DOMAIN}/garbagetruck/{cluster_id}/{node_id}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id[:64])])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signer = authority.key.public_key()
    certificate = (
        _builder(name, authority.certificate.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Signed(certificate, key)


def read_authority(folder: Path) -> Signed | None:
    """The authority that an earlier call wrote there, or None. Raises OSError, ValueError."""
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        return None
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key} was not made by this command")  # noqa: TRY004  # a file, not an argument
    return Signed(x509.load_pem_x509_certificate(certificate.read_bytes()), private)


def write(folder: Path, name: str, signed: Signed) -> None:
    """`NAME.pem` and `NAME.key`. Raises OSError, FileExistsError among them."""
    encoded = signed.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_new(folder / f"{name}.key", encoded, 0o600)
    _write_new(folder / f"{name}.pem", signed.certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
