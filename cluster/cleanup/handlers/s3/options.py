"""What the operator tells an `s3` handler.

Duty: read the options, and check address, buckets, prefixes and bounds.
Invariants: nothing outside the named buckets and prefixes can ever be meant; the operator says how deletions are fenced; no error and
no `repr` contains a credential.
Must not know: requests.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from typing_extensions import override

from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options
from garbagetruck.durations import DurationError, parse_duration_ms

BUCKETS_MAX = 100
PREFIXES_MAX = 100
OBJECTS_MAX = 10_000
TIMEOUT_MS_MIN = 10
TIMEOUT_MS_MAX = 600_000
CREDENTIAL_BYTES_MAX = 4_096

EVERY_KEY = "*"
"""In the place of a prefix: the whole bucket."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}", re.ASCII)
_CREDENTIAL = re.compile(r"[\x21-\x7e]+")

Fence = Literal["version", "etag", "none"]


class CredentialOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As whom requests are signed."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    @override
    def __repr__(self) -> str:
        return "CredentialOptions([hidden])"


class S3Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of an `s3` handler."""

    buckets: dict[str, list[str]]
    """By bucket, the prefixes below which things may be removed, each with a slash at its end; `*`: all of the bucket."""
    fence: Fence
    """What a deletion is bound to: the version's id, the object's ETag, or nothing."""
    credentials: CredentialOptions | None = None
    """As whom; or else `ambient_credentials`."""
    ambient_credentials: bool = False
    """Whether to sign with what the machine offers, as AWS's own tools find it."""
    endpoint_url: str = ""
    """`https://HOST[:PORT]`, or `http://`; without it, AWS's for the region."""
    region: str = "us-east-1"
    path_style: bool = True
    """Whether the bucket stands in the path, rather than before the host's name."""
    tls_authority: str = ""
    """PEM file of the authorities that sign the endpoint's certificate; by default the system's."""
    insecure_plaintext: bool = False
    """Whether `http://` may lead to another machine."""
    store: str = ""
    """What the store is called in targets; by default as the handler. Handlers of one store share a name."""
    uploads: bool = True
    """Whether unfinished uploads are looked for beside objects; for stores that cannot list them."""
    objects_max: int = 1_000
    """Objects, and as many uploads, that one attempt removes below a prefix; the next attempt goes on."""
    connect_timeout: str = "5s"
    answer_timeout: str = "10s"

    @property
    def connect_timeout_s(self) -> float:
        return parse_duration_ms(self.connect_timeout) / 1_000

    @property
    def answer_timeout_s(self) -> float:
        return parse_duration_ms(self.answer_timeout) / 1_000


def read_s3_options(handler: str, options: Mapping[str, object]) -> S3Options:
    """Read and check the options. Performs no I/O. Raises `HandlerSettingsError`."""
    read = read_options(handler, options, S3Options)
    _check_endpoint(handler, read)
    _check_buckets(handler, read.buckets)
    _check_credentials(handler, read)
    if read.store and not _PLAIN.fullmatch(read.store):
        remedy = "write a name of letters, digits, `.`, `_`, `~` and `-`"
        raise HandlerSettingsError(handler, "store", "is not a plain name", remedy)
    if not _PLAIN.fullmatch(read.region):
        raise HandlerSettingsError(handler, "region", "is not the name of a region", "write it as in eu-central-1")
    if not 1 <= read.objects_max <= OBJECTS_MAX:
        raise HandlerSettingsError(handler, "objects_max", "is out of bounds", f"write 1 to {OBJECTS_MAX}")
    for option in ("connect_timeout", "answer_timeout"):
        _check_timeout(handler, option, getattr(read, option))
    return read


def _check_timeout(handler: str, option: str, written: str) -> None:
    try:
        timeout_ms = parse_duration_ms(written)
    except DurationError as error:
        raise HandlerSettingsError(handler, option, str(error), "write a duration, as in 5s") from None
    if not TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX:
        remedy = f"write a duration from {TIMEOUT_MS_MIN} ms to {TIMEOUT_MS_MAX} ms"
        raise HandlerSettingsError(handler, option, "is out of bounds", remedy)


def _check_endpoint(handler: str, options: S3Options) -> None:
    remedy = "write https://HOST[:PORT], and credentials in their own table"
    if not options.endpoint_url:
        return
    try:
        parts = urlsplit(options.endpoint_url)
        port = parts.port
    except ValueError:
        raise HandlerSettingsError(handler, "endpoint_url", "is not an address", remedy) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise HandlerSettingsError(handler, "endpoint_url", "is not an http or https address", remedy)
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise HandlerSettingsError(handler, "endpoint_url", "holds more than a host and a port", remedy)
    if parts.scheme == "http" and not options.insecure_plaintext and not _is_this_machine(parts.hostname):
        problem = "leads to another machine in plain text"
        raise HandlerSettingsError(handler, "endpoint_url", problem, "write https://, or insecure_plaintext = true")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_buckets(handler: str, buckets: Mapping[str, list[str]]) -> None:
    if not 1 <= len(buckets) <= BUCKETS_MAX:
        raise HandlerSettingsError(handler, "buckets", f"has {len(buckets)} entries", f"name 1 to {BUCKETS_MAX}")
    for bucket, prefixes in buckets.items():
        option = f"buckets.{bucket}"
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise HandlerSettingsError(
                handler, option, "is not the name of a bucket", "use 3 to 63 of a-z, 0-9, . and -"
            )
        if not 1 <= len(prefixes) <= PREFIXES_MAX:
            remedy = f'name 1 to {PREFIXES_MAX} prefixes, as in ["tmp/"], or ["*"] for all of the bucket'
            raise HandlerSettingsError(handler, option, f"has {len(prefixes)} prefixes", remedy)
        for prefix in prefixes:
            if prefix == EVERY_KEY:
                continue
            if not prefix.endswith("/") or any(part in ("", ".", "..") for part in prefix[:-1].split("/")):
                remedy = "write it in full with a slash at its end, as in tmp/"
                raise HandlerSettingsError(handler, option, f"{prefix!r} is not a plain prefix", remedy)


def _check_credentials(handler: str, options: S3Options) -> None:
    if (options.credentials is None) is not options.ambient_credentials:
        remedy = "give access_key_id and secret_access_key there, or ambient_credentials = true"
        raise HandlerSettingsError(handler, "credentials", "are missing, or given twice", remedy)
    if options.credentials is None:
        return
    for option in ("access_key_id", "secret_access_key", "session_token"):
        value = getattr(options.credentials, option)
        if not value and option == "session_token":
            continue
        if len(value) > CREDENTIAL_BYTES_MAX or not _CREDENTIAL.fullmatch(value):
            remedy = f"use 1 to {CREDENTIAL_BYTES_MAX} printable ASCII characters"
            raise HandlerSettingsError(handler, f"credentials.{option}", "cannot be a credential", remedy)
