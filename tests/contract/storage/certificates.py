"""A certificate for a PostgreSQL server on loopback, and an authority that has nothing to do with it."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from garbagetruck.cli.certificates import Signed, make_authority, write
from garbagetruck.storage.embedded.account import account_for_server


def tls_options(folder: Path) -> dict[str, str]:
    """Settings of a server whose files lie in `folder` from now on: `ca.pem` signs it, `stranger.pem` does not."""
    folder.mkdir(parents=True)
    now = dt.datetime.now(dt.UTC)
    authority = make_authority("postgres", now=now, days=2)
    write(folder, "ca", authority)
    write(folder, "stranger", make_authority("stranger", now=now, days=2))
    write(folder, "server", _server(authority, now))
    folder.chmod(0o711)
    for path in folder.iterdir():
        path.chmod(0o600 if path.suffix == ".key" else 0o644)
        account_for_server().give(path)
    return {"ssl": "on", "ssl_cert_file": str(folder / "server.pem"), "ssl_key_file": str(folder / "server.key")}


def _server(authority: Signed, now: dt.datetime) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "postgres")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signer = authority.key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Signed(certificate, key)
