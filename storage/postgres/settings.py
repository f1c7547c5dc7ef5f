"""Where PostgreSQL is, as whom we come, and how long anything may take.

Duty: hold what an operator says, checked once; say it again without its secrets. Invariants: a password is in no `repr`.
Must not know: the driver.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = ("postgres", "postgresql")
PASSWORD_BYTES_MAX = 4_096
CONNECTIONS_MAX = 100
SECRET_PARAMETERS = ("password", "sslpassword")

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """All durations are milliseconds. Raises ValueError, without a secret in it, when the parts do not fit together."""

    dsn: str = field(repr=False)
    """As libpq's: `postgresql://USER@HOST:PORT,HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`."""
    password_file: Path | None = None
    """Holds the password and nothing else; read for every new connection, so that it may change meanwhile."""
    schema: str = "garbagetruck"
    application_name: str = "garbagetruck"
    migrate: bool = True
    """Whether to bring an older schema up to date, which needs the role that owns it."""
    connections_max: int = 4
    connect_timeout_ms: int = 5_000
    """For TCP, TLS and log-in together, over all hosts."""
    lock_timeout_ms: int = 5_000
    """How long a statement waits for another writer."""
    statement_timeout_ms: int = 20_000
    """After which the server gives a statement up; the slowest writes `GROUP_BYTES` of chunks."""
    idle_in_transaction_timeout_ms: int = 20_000
    """After which the server ends a transaction whose client stands still, so that its locks are in nobody's way."""
    answer_timeout_ms: int = 25_000
    """After which we give a server up that does not answer a statement."""

    def __post_init__(self) -> None:
        parts = _split(self.dsn)
        if parts.scheme not in SCHEMES:
            raise ValueError("the address of a PostgreSQL server begins with postgresql://")
        if self.password_file is not None and self.password is not None:
            raise ValueError("give the password in a file or in the address, not in both")
        if _IDENTIFIER.fullmatch(self.schema) is None:
            raise ValueError(f"{self.schema!r} is no name for a schema: use up to 63 of a-z, 0-9 and _")
        if not 1 <= self.connections_max <= CONNECTIONS_MAX:
            raise ValueError(f"{self.connections_max} connections are none or too many")
        if not 0 < self.lock_timeout_ms <= self.statement_timeout_ms < self.answer_timeout_ms:
            raise ValueError("a lock may not take longer than a statement, nor that as long as we wait for its answer")
        if self.connect_timeout_ms <= 0 or self.idle_in_transaction_timeout_ms <= 0:
            raise ValueError("a timeout is longer than nothing")

    @property
    def password(self) -> str | None:
        """The one in the address, if there is one."""
        parts = _split(self.dsn)
        if (found := dict(parse_qsl(parts.query)).get("password")) is not None:
            return found
        # Not `parts.password`: with several hosts, the last `@` ends the user's part all the same.
        user, _, _ = parts.netloc.rpartition("@")
        _, colon, password = user.partition(":")
        return unquote(password) if colon else None

    @property
    def described(self) -> str:
        """The address for people, without secrets."""
        parts = _split(self.dsn)
        user, at, hosts = parts.netloc.rpartition("@")
        query = [(name, value) for name, value in parse_qsl(parts.query) if name not in SECRET_PARAMETERS]
        netloc = f"{user.partition(':')[0]}{at}{hosts}"
        return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query, safe="/"), ""))

    @property
    def has_several_hosts(self) -> bool:
        return "," in _split(self.dsn).netloc

    @property
    def names_session_attrs(self) -> bool:
        return "target_session_attrs" in dict(parse_qsl(_split(self.dsn).query))

    def read_password(self) -> str | None:
        """From the file, without its line's end; None without a file. Raises OSError and ValueError."""
        if self.password_file is None:
            return None
        with self.password_file.open("rb") as file:
            content = file.read(PASSWORD_BYTES_MAX + 1)
        if len(content) > PASSWORD_BYTES_MAX:
            raise ValueError(f"{self.password_file} is too long to hold a password")
        return content.decode().rstrip("\r\n")


def _split(dsn: str) -> SplitResult:
    try:
        return urlsplit(dsn)
    except ValueError:
        # Not its own words, which repeat what was given, password and all.
        raise ValueError("this is no address of a PostgreSQL server") from None
