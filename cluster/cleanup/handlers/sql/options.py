"""What the operator tells an `sql` handler.

Duty: read the options; check address and bounds; fetch the password where it is kept.
Invariants: whoever reaches another machine says whether by TLS; no error and no `repr` contains the address or the password.
Must not know: what statements mean (statements.py), the driver.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from garbagetruck.cluster.cleanup.handlers.sql.parameters import ParameterKind
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options
from garbagetruck.durations import DurationError, parse_duration_ms

CONNECTIONS_MAX = 100
TIMEOUT_MS_MIN = 10
TIMEOUT_MS_MAX = 600_000
PASSWORD_BYTES_MAX = 4_096
STEP_ROWS_MAX_DEFAULT = 1

_TLS_MODES = ("disable", "require", "verify-ca", "verify-full")
_TLS_REMEDY = "append sslmode=verify-full&sslrootcert=FILE; sslmode=disable says that you mean plain text"


class StepOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One statement of a transaction."""

    sql: str
    rows_min: int = 0
    """With fewer rows everything is rolled back, and the cleanup becomes a dead letter."""
    rows_max: int = STEP_ROWS_MAX_DEFAULT
    """Likewise with more."""


class StatementOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a client may name."""

    steps: list[StepOptions]
    """In this order, in one transaction."""
    parameters: dict[str, ParameterKind] = {}
    """What the client gives, all of it required."""
    target: str = ""
    """Which of them say what would be touched, as in `uploads/:id`; by default the statement's name and all of them."""
    observe: str = ""
    """Selects what is to be removed: compared before, and empty afterwards."""
    unfenced: bool = False
    """Whether the operator takes it upon himself that nothing fences this statement."""


class SqlOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of an `sql` handler."""

    dsn: str
    """As libpq's: `postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`."""
    statements: dict[str, StatementOptions]
    password_file: str = ""
    """Holds the password and nothing else; read for every new connection, so that it may change meanwhile."""
    database: str = ""
    """What the database is called in targets; by default as the handler. Handlers of one database share a name."""
    connections_max: int = 4
    connect_timeout: str = "5s"
    lock_timeout: str = "2s"
    statement_timeout: str = "10s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the database is reached, checked."""

    handler: str
    dsn: str = field(repr=False)
    password: str | None = field(repr=False)
    """The one in the address, if there is one."""
    password_file: Path | None
    connections_max: int
    connect_timeout_ms: int
    """For TCP, TLS and log-in together."""
    lock_timeout_ms: int
    """How long a statement waits for another's lock."""
    statement_timeout_ms: int
    """After which the server gives a statement up; and a transaction whose client stands still."""

    def read_password(self) -> str | None:
        """From the file, without its line's end; None without a file. Raises `HandlerSettingsError`."""
        if self.password_file is None:
            return None
        try:
            with self.password_file.open("rb") as file:
                content = file.read(PASSWORD_BYTES_MAX + 1)
            password = content.decode().rstrip("\r\n")
        except OSError as error:
            raise self._unusable(f"{self.password_file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise self._unusable(f"{self.password_file} is not UTF-8 text") from None
        if not password or len(content) > PASSWORD_BYTES_MAX:
            raise self._unusable(f"{self.password_file} is empty, or too long to hold a password")
        return password

    def _unusable(self, problem: str) -> HandlerSettingsError:
        return HandlerSettingsError(self.handler, "password_file", problem, "put the password there, and nothing else")


def read_sql_options(handler: str, options: Mapping[str, object]) -> tuple[SqlOptions, Access]:
    """Read and check the options. Performs no I/O. Raises `HandlerSettingsError`."""
    read = read_options(handler, options, SqlOptions)
    password = _check_address(handler, read)
    if not 1 <= read.connections_max <= CONNECTIONS_MAX:
        raise HandlerSettingsError(handler, "connections_max", "is out of bounds", f"write 1 to {CONNECTIONS_MAX}")
    lock_ms = _timeout_ms(handler, "lock_timeout", read.lock_timeout)
    statement_ms = _timeout_ms(handler, "statement_timeout", read.statement_timeout)
    if lock_ms > statement_ms:
        raise HandlerSettingsError(handler, "lock_timeout", "is longer than statement_timeout", "shorten it")
    return read, Access(
        handler=handler,
        dsn=read.dsn,
        password=password,
        password_file=Path(read.password_file) if read.password_file else None,
        connections_max=read.connections_max,
        connect_timeout_ms=_timeout_ms(handler, "connect_timeout", read.connect_timeout),
        lock_timeout_ms=lock_ms,
        statement_timeout_ms=statement_ms,
    )


def _timeout_ms(handler: str, option: str, written: str) -> int:
    try:
        timeout_ms = parse_duration_ms(written)
    except DurationError as error:
        raise HandlerSettingsError(handler, option, str(error), "write a duration, as in 5s") from None
    if not TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX:
        remedy = f"write a duration from {TIMEOUT_MS_MIN} ms to {TIMEOUT_MS_MAX} ms"
        raise HandlerSettingsError(handler, option, "is out of bounds", remedy)
    return timeout_ms


def _check_address(handler: str, options: SqlOptions) -> str | None:
    """Answers the password that the address holds."""
    remedy = "write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE"

    def wrong(problem: str, remedy: str = remedy) -> HandlerSettingsError:
        return HandlerSettingsError(handler, "dsn", problem, remedy)

    try:
        parts = urlsplit(options.dsn)
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        hosts = _hosts(parts, query)
    except ValueError:
        # Not its own words, which repeat what was given, password and all.
        raise wrong("is no address of a PostgreSQL server") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise wrong("does not begin with postgresql://")
    account, at, _ = parts.netloc.rpartition("@")
    user, colon, in_account = account.partition(":")
    if not (user if at else query.get("user")) or len(parts.path) < len("/d") or not hosts:
        # What is left out would come from the process's environment, and differ from node to node.
        raise wrong("names no user, no host or no database")
    if query.get("sslmode") not in (None, *_TLS_MODES):
        raise wrong("has an sslmode that is not known or lets plain text pass unseen", _TLS_REMEDY)
    if "sslmode" not in query and not all(map(_is_this_machine, hosts)):
        raise wrong("leads to another machine, and does not say whether by TLS", _TLS_REMEDY)
    password = query.get("password", unquote(in_account) if colon else None)
    if password is not None and options.password_file:
        raise HandlerSettingsError(handler, "password_file", "is one password too many", "leave the dsn's out")
    return password


def _hosts(parts: SplitResult, query: Mapping[str, str]) -> list[str]:
    _, _, netloc = parts.netloc.rpartition("@")
    written = netloc or query.get("host", "")
    hosts = []
    for each in written.split(","):
        host = each[1:].partition("]")[0] if each.startswith("[") else each.partition(":")[0]
        hosts.append(unquote(host))
    return [host for host in hosts if host]


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")
