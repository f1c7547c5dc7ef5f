"""How a handler that calls a service encrypts, and knows whom it talks to.

Duty: read the options, and load what they name.
Invariants: what is encrypted is always verified, certificate and name alike: there is no switch to leave that out; an
error names the file, and nothing of what is in it.
Must not know: what is called.
"""

import ssl
from pathlib import Path

import msgspec

from garbagetruck.cluster.cleanup.handlers.addresses import host_problem
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

PEM_BYTES_MAX = 1_048_576


class TlsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table `tls` of a handler."""

    authority: str = ""
    """A PEM file of the authorities that sign the service's certificate; by default, those of the machine."""
    certificate: str = ""
    """A PEM file of the certificate that the node shows, its chain included; by default it shows none."""
    key: str = ""
    """A PEM file of its key, not encrypted. Both or neither."""
    server_name: str = ""
    """The name that the service's certificate must bear; by default, the host of the address."""


class Pems(msgspec.Struct, frozen=True):
    """What the files hold. None: not named."""

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


def check_tls(handler: str, options: TlsOptions) -> None:
    """Check what can be checked without reading the files. Raises `HandlerSettingsError`."""
    if bool(options.certificate) != bool(options.key):
        missing = "key" if options.certificate else "certificate"
        raise HandlerSettingsError(handler, f"tls.{missing}", "is missing", "give `certificate` and `key`, or neither")
    for name in ("authority", "certificate", "key"):
        path: str = getattr(options, name)
        if path and not Path(path).is_absolute():
            raise HandlerSettingsError(handler, f"tls.{name}", "is not an absolute path", "write its path in full")
    if options.server_name and host_problem(options.server_name):
        raise HandlerSettingsError(handler, "tls.server_name", "is not a host name", "write it as in the certificate")


def load_context(handler: str, options: TlsOptions) -> ssl.SSLContext:
    """A context for connecting; reads files. Raises `HandlerSettingsError`."""
    read_pems(handler, options)  # for its errors, which tell more
    try:
        context = ssl.create_default_context(cafile=options.authority or None)
    except (OSError, ValueError) as error:
        raise _unusable(handler, "authority", options.authority) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.certificate:
        try:
            context.load_cert_chain(options.certificate, options.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unusable(handler, "certificate", options.certificate) from error
    return context


def check_loadable(handler: str, options: TlsOptions) -> None:
    """Whether the files can be used, for those who hand them to something that does not tell. Raises as `load_context`."""
    load_context(handler, options)


def read_pems(handler: str, options: TlsOptions) -> Pems:
    """What the files hold. Raises `HandlerSettingsError`."""
    return Pems(
        *(_read(handler, name, getattr(options, name)) for name in ("authority", "certificate", "key")),
    )


def _read(handler: str, name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            content = file.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise HandlerSettingsError(handler, f"tls.{name}", problem, "put it there, readable for the node") from error
    if len(content) > PEM_BYTES_MAX or b"-----BEGIN " not in content:
        raise _unusable(handler, name, path)
    return content


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _unusable(handler: str, name: str, path: str) -> HandlerSettingsError:
    remedy = "put PEM files there that belong together, the key without a password"
    return HandlerSettingsError(handler, f"tls.{name}", f"{path} cannot be used", remedy)
