"""The two settings that are tables: the members of the cluster and the cleanup handlers.

Duty: read them from TOML tables, or from JSON in a variable or flag, and show them without their secrets.
Invariants: member ids and addresses are unique; a value under a name that sounds like a credential is a `Secret`.
Must not know: what a handler's own options mean: its handler checks those when the node is built.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

from typing_extensions import override

from garbagetruck.cluster.cleanup.rates import Rate
from garbagetruck.cluster.node.config.limits import LIMITS, HandlerLimits, parse_limits, show_limits
from garbagetruck.cluster.node.config.values import (
    HIDDEN,
    Address,
    Endpoint,
    InvalidValueError,
    Kind,
    Name,
    Secret,
)

MEMBERS_MAX = 15
HANDLERS_MAX = 100
_CREDENTIAL = re.compile(
    r"(?i)(^|[_.-])(password|passwd|secret|token|credentials?|api_?key|secret_access_key|authorization|dsn)$"
)
_NAME = Name(meaning="")
_ENDPOINT = Endpoint(meaning="")
_HANDLER_REMEDY = 'write one table for each handler, as in [handlers.file] with roots = ["/srv/files"]'
_COMMON = ("kind", *LIMITS)
"""What every handler's table may hold; the rest is the handler's own."""


ADDRESSES = ("api", "http", "raft", "peer")
"""What of a member is an address, in the order of its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSettings:
    """One node of the cluster, and where the others reach it."""

    id: str
    api: Address
    http: Address
    raft: Address
    peer: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSettings:
    """One cleanup handler as the operator registered it."""

    name: str
    """What clients call it."""
    kind: str
    """Which handler it is: a built-in one, or the name of an entry point."""
    slots_max: int | None
    """Cleanups of this handler at once; None: an equal share of `cleanup.slots`."""
    attempt_timeout_ms: int | None
    """How long one of its attempts may take; None: `cleanup.attempt_timeout`."""
    attempts_max: int | None
    """After how many failures a cleanup is a dead letter, if its namespace does not say fewer; None: as that says."""
    rate: Rate | None
    """How often its attempts may begin; None: whenever there is a slot."""
    options: Mapping[str, object]
    """Everything else in its table. Secrets are `Secret`; `revealed` gives what the handler is built with."""

    def revealed(self) -> dict[str, object]:
        """The options with secrets in the clear: for the handler alone, never for a log."""
        return {key: _reveal(value) for key, value in self.options.items()}


def looks_like_credential(key: str) -> bool:
    """Whether a literal value under this name would be a secret in a place where people read."""
    return _CREDENTIAL.search(key) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Members(Kind):
    """A list of tables with `id`, `api`, `http`, `raft` and `peer`."""

    @property
    @override
    def takes(self) -> str:
        return "tables"

    @property
    @override
    def bounds(self) -> str:
        return f"1 to {MEMBERS_MAX} tables of `id`, `api`, `http`, `raft`, `peer`; 3 or 5 are sensible"

    @override
    def parse(self, raw: object) -> tuple[MemberSettings, ...]:
        remedy = "write one [[cluster.members]] table with id, api, http, raft and peer for each node"
        rows = _from_json(raw, remedy)
        if not isinstance(rows, list | tuple) or not rows:
            raise InvalidValueError("there is no list of members", remedy)
        if len(rows) > MEMBERS_MAX:
            raise InvalidValueError(f"{len(rows)} members are too many", f"name at most {MEMBERS_MAX}")
        members = tuple(_parse_member(row, position) for position, row in enumerate(rows))
        _check_unique(members)
        return members

    @override
    def show(self, value: object) -> str:
        members = cast("tuple[MemberSettings, ...]", value)
        rows = (
            f'{{ id = "{each.id}", api = "{each.api}", http = "{each.http}", raft = "{each.raft}", peer = "{each.peer}" }}'
            for each in members
        )
        return f"[{', '.join(rows)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers(Kind):
    """A table of tables, one for each handler."""

    @property
    @override
    def takes(self) -> str:
        return "tables"

    @property
    @override
    def bounds(self) -> str:
        return f"at most {HANDLERS_MAX}"

    @override
    def parse(self, raw: object) -> Mapping[str, HandlerSettings]:
        return {name: parse_handler(name, table) for name, table in self.tables(raw).items()}

    def tables(self, raw: object) -> Mapping[str, object]:
        """The handlers' tables by name, unread: for whoever tells what is wrong with each. Raises `InvalidValueError`."""
        tables = _from_json(raw, _HANDLER_REMEDY)
        if not isinstance(tables, Mapping):
            raise InvalidValueError("handlers is not a table", _HANDLER_REMEDY)
        if len(tables) > HANDLERS_MAX:
            raise InvalidValueError(f"{len(tables)} handlers are too many", f"register at most {HANDLERS_MAX}")
        return tables

    @override
    def show(self, value: object) -> str:
        handlers = cast("Mapping[str, HandlerSettings]", value)
        tables = (
            f"{name} = {{ {', '.join([*_shown_common(each), *_shown_options(each.options)])} }}"
            for name, each in handlers.items()
        )
        return f"{{ {', '.join(tables)} }}" if handlers else "{}"


def _from_json(raw: object, remedy: str) -> object:
    """A variable or a flag holds JSON; a file holds tables already."""
    if not isinstance(raw, str):
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            "the text is not JSON", f"in a file {remedy}; elsewhere write the same as JSON"
        ) from error


def _parse_member(row: object, position: int) -> MemberSettings:
    wanted = tuple(each.name for each in fields(MemberSettings))
    remedy = f"give exactly {', '.join(wanted)}"
    if not isinstance(row, Mapping):
        raise InvalidValueError(f"{row!r} is not a table", remedy, at=f"[{position}]")
    if set(row) != set(wanted):
        missing = ", ".join(each for each in wanted if each not in row)
        strange = ", ".join(str(each) for each in row if each not in wanted)
        found = (missing and f"{missing} is missing", strange and f"{strange} is not known")
        raise InvalidValueError(" and ".join(filter(None, found)), remedy, at=f"[{position}]")
    part = "id"
    try:
        member_id = _NAME.parse(row["id"])
        addresses = []
        for part in ADDRESSES:
            addresses.append(_ENDPOINT.parse(row[part]))
    except InvalidValueError as error:
        raise InvalidValueError(error.problem, error.remedy, at=f"[{position}].{part}") from error
    api, http, raft, peer = addresses
    return MemberSettings(id=member_id, api=api, http=http, raft=raft, peer=peer)


def _check_unique(members: tuple[MemberSettings, ...]) -> None:
    ids: set[str] = set()
    addresses: dict[Address, str] = {}
    for position, member in enumerate(members):
        if member.id in ids:
            raise InvalidValueError(f"{member.id} is named twice", "give each node its own id", at=f"[{position}].id")
        ids.add(member.id)
        for part, address in ((each, getattr(member, each)) for each in ADDRESSES):
            owner = addresses.setdefault(address, f"{member.id}'s {part}")
            if owner != f"{member.id}'s {part}":
                raise InvalidValueError(
                    f"{address} is {owner} address already", "give each its own", at=f"[{position}].{part}"
                )


def parse_handler(name: str, table: object) -> HandlerSettings:
    """Read one handler's table. Raises `InvalidValueError`."""
    if not isinstance(table, Mapping):
        raise InvalidValueError(f"{table!r} is not a table", _HANDLER_REMEDY, at=f".{name}")
    part = ""
    try:
        checked = _NAME.parse(name)
        part = ".kind"
        kind = _NAME.parse(table.get("kind", name))
        part = ""
        limits = parse_limits(table)
    except InvalidValueError as error:
        raise InvalidValueError(error.problem, error.remedy, at=f".{name}{part}{error.at}") from error
    options = {str(key): value for key, value in table.items() if key not in _COMMON}
    return HandlerSettings(
        name=checked,
        kind=kind,
        slots_max=limits.slots_max,
        attempt_timeout_ms=limits.attempt_timeout_ms,
        attempts_max=limits.attempts_max,
        rate=limits.rate,
        options=options,
    )


def _reveal(value: object) -> object:
    match value:
        case Secret():
            return value.value
        case Mapping():
            return {key: _reveal(each) for key, each in value.items()}
        case list() | tuple():
            return [_reveal(each) for each in value]
        case _:
            return value


def _shown_common(handler: HandlerSettings) -> list[str]:
    limits = HandlerLimits(handler.slots_max, handler.attempt_timeout_ms, handler.attempts_max, handler.rate)
    return [f"kind = {json.dumps(handler.kind)}", *show_limits(limits)]


def _shown_options(options: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_shown(value)}" for key, value in options.items()]


def _shown(value: object) -> str:
    match value:
        case Secret():
            return f'"{HIDDEN}"'
        case Mapping():
            return f"{{ {', '.join(_shown_options(value))} }}"
        case list() | tuple():
            return f"[{', '.join(map(_shown, value))}]"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case _:
            return json.dumps(str(value))
