"""Certificates of a service called `index.internal`, and of others that are not it.

Duty: write them into a folder. It must not know: what is served with them.
"""

import datetime as dt
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from garbagetruck.cli.certificates import Signed, make_authority, write

HOST = "index.internal"
DAY = dt.timedelta(days=1)


def write_certificates(folder: Path) -> Path:
    """`ca` signs `index` (of HOST), `elsewhere`, `expired` (of HOST, too) and `node`; `stranger` signs `forged` (of HOST)."""
    folder.mkdir()
    now = dt.datetime.now(dt.UTC)
    authority, stranger = (make_authority(name, now=now - 9 * DAY, days=20) for name in ("services", "stranger"))
    write(folder, "ca", authority)
    write(folder, "stranger", stranger)
    write(folder, "index", _signed(authority, HOST, now))
    write(folder, "elsewhere", _signed(authority, "elsewhere.internal", now))
    write(folder, "expired", _signed(authority, HOST, now - 5 * DAY))
    write(folder, "forged", _signed(stranger, HOST, now))
    write(folder, "node", _signed(authority, "n1", now))
    return folder


def serving(folder: Path, name: str, *, clients: bool = False) -> ssl.SSLContext:
    """A server's context; with `clients`, only who shows a certificate of `ca` may connect."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if clients:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _signed(authority: Signed, host: str, now: dt.datetime) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Signed(certificate, key)
