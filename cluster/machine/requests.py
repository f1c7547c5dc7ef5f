"""The request table: a request repeated with its `request_id` is one operation and gets the first answer (I6).

Entries are kept for `Bounds.request_age_ms_max`. A full table refuses; it never evicts early, since that would turn
a retry into a second operation.
"""

import msgspec
import xxhash

from garbagetruck.cluster.machine.model import RequestRecord
from garbagetruck.cluster.machine.operations import ClientOperation
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State

_encode = msgspec.msgpack.Encoder().encode

EVICTIONS_PER_BATCH_MAX = 1_500
"""More than a batch adds as nodes come configured, so that forgetting keeps pace with remembering; a few milliseconds."""
OPERATOR_REQUESTS_MAX = 10_000
"""Room past `Bounds.requests_max` for operators alone: clients that fill the table must not keep one from pausing."""

LEASE, SESSION, OUTCOME = "lease:", "session:", "outcome:"
"""How a record's subject begins: what the first attempt made."""


def payload_hash(operation: ClientOperation, *volatile: str) -> int:
    """Hash of what the caller asked for: everything but the fields that differ from one attempt to the next."""
    cleared = {"entered_ms": 0, **dict.fromkeys(volatile, "")}
    return xxhash.xxh3_64_intdigest(_encode(msgspec.structs.replace(operation, **cleared)))


def too_old(state: State, entered_ms: int) -> Refused | None:
    """An operation that lingered somewhere for longer than answers are kept must not be applied."""
    age_ms = state.clock_ms - entered_ms
    if age_ms <= state.bounds.request_age_ms_max:
        return None
    return Refused(
        Reason.REQUEST_TOO_OLD,
        f"the operation entered the cluster {age_ms} ms ago; after {state.bounds.request_age_ms_max} ms it is refused: "
        "send it again",
        retry_after_ms=0,
    )


def recall(state: State, key: RequestKey, payload: int, kind: str, *, room: int = 0) -> RequestRecord | Refused | None:
    """The record of the first attempt, None when this is the first, or a refusal. `room` is past `requests_max`."""
    record = state.requests.get(key)
    if record is None:
        if len(state.requests) >= state.bounds.requests_max + room:
            return Refused(
                Reason.REQUEST_TABLE_FULL,
                f"{state.bounds.requests_max} recent requests are being remembered; try again when some have aged out",
                retry_after_ms=1_000,
            )
        return None
    if record.payload_hash != payload or not record.subject.startswith(kind):
        return Refused(
            Reason.REQUEST_ID_REUSED,
            "request_id was used for another request within the last "
            f"{state.bounds.request_age_ms_max} ms; draw a new one for each operation",
            "request_id",
        )
    return record


def remember(state: State, key: RequestKey, payload: int, subject: str) -> None:
    """`subject` begins with its kind."""
    state.requests.put(key, RequestRecord(payload, state.clock_ms, subject))


def evict(state: State) -> None:
    """Forget answers past their age, oldest first, a bounded number at a time."""
    oldest_kept_ms = state.clock_ms - state.bounds.request_age_ms_max
    for _ in range(EVICTIONS_PER_BATCH_MAX):
        oldest = state.requests.oldest()
        if oldest is None or oldest.recorded_ms >= oldest_kept_ms:
            return
        state.requests.pop_oldest()
