"""The one place for what an operation's arguments may be.

The door asks it before an operation enters the log, so that a bad one leaves no trace; `apply` asks it again, since
a log outlives the door that wrote it. Field names in refusals are those of the public API's requests.
"""

import re

from garbagetruck.cluster.machine.brake_operations import CloseBreaker, SetFleetBrake
from garbagetruck.cluster.machine.model import (
    DEFAULT_NAMESPACE,
    TOKEN_LIMIT,
    Bounds,
    CleanupSpec,
    Labels,
    Member,
)
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    ClientOperation,
    CloseSession,
    DiscardCleanup,
    ForgetResource,
    Mutation,
    OpenSession,
    PauseCleanups,
    PlaceHold,
    ReleaseHolder,
    ReleaseLeases,
    RemoveHold,
    RemoveMember,
    RenewLeases,
    RenewSessions,
    ResumeCleanups,
    RetryCleanup,
    SetNamespace,
)
from garbagetruck.cluster.machine.outcomes import Reason, Refused

NAMESPACE_BYTES_MAX = 63
RESOURCE_BYTES_MAX = 1_024
HOLDER_BYTES_MAX = 256
ID_BYTES_MAX = 64
REQUEST_ID_BYTES_MAX = 192
REASON_BYTES_MAX = 1_024
LABELS_MAX = 32
LABEL_KEY_BYTES_MAX = 64
LABEL_VALUE_BYTES_MAX = 256
HANDLER_BYTES_MAX = 64
PARAMETERS_MAX = 32
PARAMETER_KEY_BYTES_MAX = 64
PARAMETER_VALUE_BYTES_MAX = 4_096
TARGET_BYTES_MAX = 4_096
TARGET_SEGMENTS_MAX = 128
ITEMS_PER_OPERATION_MAX = 1_000
COUNT_MAX = 100_000_000
DAY_MS = 86_400_000
GRACE_MS_MAX = 365 * DAY_MS
ERROR_BYTES_MAX = 1_024
BRAKE_HOLDERS_MAX = 1_000_000
NAMESPACE_FORM = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
NAMESPACE_FORM_TOLD = "must be of `[a-z0-9-]`, and begin and end with a letter or a digit"
MEMBER_ID_BYTES_MAX = 64
WHOLE_CLUSTER = (PauseCleanups, ResumeCleanups, AddMember, RemoveMember, CloseBreaker, SetFleetBrake)
"""What may name no namespace."""
ADDRESS_BYTES_MAX = 261
"""A host's name has at most 253 bytes; then come a colon and up to five digits, and an IPv6 address has brackets."""
PORT_MAX = 65_535


# Spelt out, since what else is unprintable depends on Python's version of Unicode, and nodes may differ in it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MEMBER_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})")
_CANONICAL_TARGET = re.compile(r"[a-z0-9+.-]{1,32}:(?:/(?!\.{1,2}(?:/|\Z))[^/]+)+")


class _Bad(Exception):
    """Carries a refusal out of nested checks; never leaves this module."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refused(Reason.INVALID_ARGUMENT, f"{field}: {message}", field)


def check_operation(operation: ClientOperation, bounds: Bounds) -> Refused | None:
    """Return the refusal an operation's arguments deserve, or None. Reads nothing but its arguments."""
    try:
        _check(operation, bounds)
    except _Bad as bad:
        return bad.refusal
    return None


def _check(operation: ClientOperation, bounds: Bounds) -> None:
    match operation:
        case AcquireLease():
            _check_acquire(operation, bounds)
        case RenewLeases():
            _ids("lease_ids", operation.lease_ids)
            if operation.ttl_ms:
                _ttl(operation.ttl_ms, bounds)
        case ReleaseLeases():
            _ids("lease_ids", operation.lease_ids)
        case ReleaseHolder():
            _text("holder", operation.holder, HOLDER_BYTES_MAX)
            _number("limit", operation.limit, 1, COUNT_MAX)
        case OpenSession():
            _text("holder", operation.holder, HOLDER_BYTES_MAX)
            _text("session_id", operation.session_id, ID_BYTES_MAX)
            _text("request_id", operation.request_id, REQUEST_ID_BYTES_MAX, empty=True)
            _ttl(operation.ttl_ms, bounds)
        case RenewSessions():
            _ids("session_ids", operation.session_ids)
        case CloseSession():
            _text("session_id", operation.session_id, ID_BYTES_MAX)
        case _:
            _check_mutation(operation)
    if operation.namespace != DEFAULT_NAMESPACE:  # most are
        whole_cluster = isinstance(operation, WHOLE_CLUSTER)
        _namespace(operation.namespace, empty=whole_cluster)


def _check_mutation(operation: Mutation) -> None:
    _text("request_id", operation.request_id, REQUEST_ID_BYTES_MAX, empty=True)
    _text("actor", operation.actor, HOLDER_BYTES_MAX, empty=True)
    match operation:
        case PlaceHold() | RemoveHold():
            _text("resource", operation.resource, RESOURCE_BYTES_MAX)
            _text("hold_id", operation.hold_id, ID_BYTES_MAX)
        case RetryCleanup() | DiscardCleanup():
            _text("resource", operation.resource, RESOURCE_BYTES_MAX)
        case ForgetResource():
            _text("resource", operation.resource, RESOURCE_BYTES_MAX)
            _number("generation", operation.generation, 0, TOKEN_LIMIT)
        case SetNamespace():
            _check_settings(operation)
        case AddMember():
            _check_member(operation.member)
        case RemoveMember():
            _text("member_id", operation.member_id, MEMBER_ID_BYTES_MAX)
        case CloseBreaker():
            _text("handler", operation.handler, HANDLER_BYTES_MAX)
        case SetFleetBrake():
            _check_fleet(operation)
        case _:
            pass
    if isinstance(
        operation, PlaceHold | ForgetResource | DiscardCleanup | PauseCleanups | ResumeCleanups | CloseBreaker
    ):
        _text("reason", operation.reason, REASON_BYTES_MAX, empty=True)


def _check_member(member: Member) -> None:
    _text("member.id", member.id, MEMBER_ID_BYTES_MAX)
    if _MEMBER_ID.fullmatch(member.id) is None:
        raise _Bad(
            "member.id", "must be of letters, digits, `.`, `_` and `-`, and begin and end with a letter or a digit"
        )
    addresses: dict[str, str] = {}
    for part in ("api", "http", "raft", "peer"):
        field, address = f"member.{part}", getattr(member, part)
        _text(field, address, ADDRESS_BYTES_MAX)
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 < int(found[1]) <= PORT_MAX:
            raise _Bad(field, f"is {address!r}; it must be host:port with a port from 1 to {PORT_MAX}")
        other = addresses.setdefault(address, part)
        if other != part:
            raise _Bad(field, f"is {address}, as member.{other} is; give each its own port")
    _text("member.disk_id", member.disk_id, ID_BYTES_MAX, empty=True)


def _check_acquire(operation: AcquireLease, bounds: Bounds) -> None:
    _text("resource", operation.resource, RESOURCE_BYTES_MAX)
    _text("holder", operation.holder, HOLDER_BYTES_MAX, empty=bool(operation.session_id))
    _text("lease_id", operation.lease_id, ID_BYTES_MAX)
    _text("request_id", operation.request_id, REQUEST_ID_BYTES_MAX, empty=True)
    if operation.session_id:
        _text("session_id", operation.session_id, ID_BYTES_MAX)
        if operation.ttl_ms:
            raise _Bad("ttl_ms", "a lease in a session lives as long as the session; leave ttl_ms out (0)")
    else:
        _ttl(operation.ttl_ms, bounds)
    _number("grace_ms", operation.grace_ms, 0, GRACE_MS_MAX)
    _labels(operation.labels)
    if operation.cleanup is not None:
        _check_cleanup(operation.cleanup)


def _check_cleanup(cleanup: CleanupSpec) -> None:
    _text("cleanup.handler", cleanup.handler, HANDLER_BYTES_MAX)
    _pairs("cleanup.parameters", cleanup.parameters, PARAMETERS_MAX, PARAMETER_KEY_BYTES_MAX, PARAMETER_VALUE_BYTES_MAX)
    _text("cleanup.target", cleanup.target, TARGET_BYTES_MAX)
    if cleanup.target.count("/") > TARGET_SEGMENTS_MAX:
        raise _Bad("cleanup.target", f"has more than {TARGET_SEGMENTS_MAX} segments")
    if _CANONICAL_TARGET.fullmatch(cleanup.target) is None:
        # Overlap is decided by segments: an empty or relative one would hide what a target contains.
        raise _Bad("cleanup.target", "is not canonical: `scheme:/segment/segment`, no segment empty, `.` or `..`")


SETTINGS_MIN_MAX = {
    "limits.leases_max": (0, COUNT_MAX),
    "limits.leases_per_holder_max": (0, COUNT_MAX),
    "limits.sessions_max": (0, COUNT_MAX),
    "limits.resources_max": (0, COUNT_MAX),
    "cleanup.grace_ms_min": (0, GRACE_MS_MAX),
    "cleanup.attempts_max": (1, 1_000),
    "cleanup.retry_delay_ms_min": (10, DAY_MS),
    "cleanup.retry_delay_ms_max": (10, 7 * DAY_MS),
    "brake.holders_min": (1, BRAKE_HOLDERS_MAX),
    "brake.window_ms": (1_000, DAY_MS),
}
"""The whole numbers among a namespace's settings: the least and the most of each."""
SETTINGS = {*SETTINGS_MIN_MAX, "brake.enabled", "brake.share"}


def _check_settings(operation: SetNamespace) -> None:
    """Each setting by itself. Whether they fit together shows when they meet those that stay."""
    given = SETTINGS if operation.given is None else set(operation.given)
    if not given <= SETTINGS:
        raise _Bad("given", f"names no setting: {min(given - SETTINGS)!r}")
    for name, (least, most) in SETTINGS_MIN_MAX.items():
        if name in given:
            section, setting = name.split(".")
            _number(name, getattr(getattr(operation, section), setting), least, most)
    if "brake.share" in given and not 0.0 < operation.brake.share < 1.0:
        raise _Bad("brake.share", f"is {operation.brake.share}; it must be above 0 and below 1")


def _check_fleet(operation: SetFleetBrake) -> None:
    given, known = set(operation.given), set(operation.settings.__struct_fields__)
    if not given <= known:
        raise _Bad("given", f"names no setting: {min(given - known)!r}")
    if "holders_min" in given:
        _number("holders_min", operation.settings.holders_min, 1, BRAKE_HOLDERS_MAX)
    if "share" in given and not 0.0 < operation.settings.share < 1.0:
        raise _Bad("share", f"is {operation.settings.share}; it must be above 0 and below 1")


def _namespace(name: str, *, empty: bool) -> None:
    """`empty`: it may be, and is the whole cluster then."""
    _text("namespace", name, NAMESPACE_BYTES_MAX, empty=empty)
    if name and NAMESPACE_FORM.fullmatch(name) is None:
        raise _Bad("namespace", NAMESPACE_FORM_TOLD)


def _ttl(ttl_ms: int, bounds: Bounds) -> None:
    _number("ttl_ms", ttl_ms, bounds.ttl_ms_min, bounds.ttl_ms_max)


def _ids(field: str, ids: tuple[str, ...]) -> None:
    if not ids:
        raise _Bad(field, "is empty; name at least one")
    if len(ids) > ITEMS_PER_OPERATION_MAX:
        raise _Bad(field, f"has {len(ids)} items; at most {ITEMS_PER_OPERATION_MAX} go into one request")
    for item in ids:
        if not 0 < len(item) <= ID_BYTES_MAX:
            _text(field, item, ID_BYTES_MAX)


def _text(field: str, value: str, bytes_max: int, *, empty: bool = False) -> None:
    if not value:
        if empty:
            return
        raise _Bad(field, "is empty; it needs a value")
    size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if size > bytes_max:
        raise _Bad(field, f"is {size} bytes long; at most {bytes_max} bytes are allowed")
    if value.isprintable():
        return
    if _SURROGATE.search(value):
        raise _Bad(field, "is not valid UTF-8")
    if _CONTROL.search(value):
        raise _Bad(field, "contains a control character; use printable text")


def _number(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _Bad(field, f"is {value}; it must be from {least} to {most}")


def _labels(labels: Labels) -> None:
    if labels:
        _pairs("labels", labels, LABELS_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX)


def _pairs(field: str, pairs: Labels, most: int, key_max: int, value_max: int) -> None:
    before: str | None = None
    if len(pairs) > most:
        raise _Bad(field, f"has {len(pairs)} entries; at most {most} are allowed")
    for key, value in pairs:
        _text(f"{field}.key", key, key_max)
        _text(f"{field}[{key}]", value, value_max, empty=True)
        if before is not None and key <= before:
            raise _Bad(field, "must be sorted by key, each key once")
        before = key
