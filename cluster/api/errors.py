"""The one table from what can go wrong to what a client sees.

Duty: give every refusal of the machine and every operating error its gRPC code and its published reason
(`garbagetruck.v1.ErrorReason`), and pack both with their details as `google.rpc` messages. docs/errors.md tells the same
to people; a test holds table, published enum and page together.

Laws: a refusal changed nothing and says why; an unknown outcome is called unknown, and is UNAVAILABLE, which clients
repeat, only where repeating is safe; everything that is UNAVAILABLE says when to come back. What is packed stays well
below gRPC's limit for metadata (8 KiB), however long the names in it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from garbagetruck.cluster.api.gateway import (
    Draining,
    FeatureNotEnabled,
    MemberUnreachable,
    NoLeader,
    NoQuorum,
    NotLeader,
    NotSealed,
    OperatingError,
    OutcomeUnknown,
    Overloaded,
    SnapshotNotTaken,
    Starting,
    StorageAbsent,
    StorageAway,
    StorageLow,
    StorageRefused,
    TransferFailed,
)
from garbagetruck.cluster.machine.outcomes import NO_RETRY, Reason, Refused

DOMAIN = "garbagetruck"
"""`ErrorInfo.domain` of every error of this API."""
LEADER_METADATA = "garbagetruck-leader"
"""Trailing metadata: the endpoint of the leader's API, where the answering node knows one and is not it."""
DETAILS_METADATA = "grpc-status-details-bin"
TEXT_BYTES_MAX = 512
"""Longest message, description or metadata value sent; a longer one is cut."""
TYPE_URL_PREFIX = "type.googleapis.com/"


class Answer(NamedTuple):
    """What a client sees of one kind of failure."""

    code: StatusCode
    reason: str
    """A name of `ErrorReason` without its prefix: `ErrorInfo.reason`."""


NEVER_A_CLIENTS = Answer(StatusCode.INTERNAL, "INTERNAL")
"""Refusals of the nodes' own operations, and collisions of ids drawn at random: a client that meets one met a bug."""

REFUSALS: Mapping[Reason, Answer] = MappingProxyType(
    {
        Reason.INVALID_ARGUMENT: Answer(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        Reason.STALE_EPOCH: Answer(StatusCode.UNAVAILABLE, "NOT_LEADER"),
        Reason.CLUSTER_EXISTS: NEVER_A_CLIENTS,
        Reason.MEMBER_UNKNOWN: Answer(StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND"),
        Reason.MEMBER_EXISTS: Answer(StatusCode.ALREADY_EXISTS, "MEMBER_EXISTS"),
        Reason.MEMBERSHIP_CHANGE_PENDING: Answer(StatusCode.FAILED_PRECONDITION, "MEMBERSHIP_CHANGE_PENDING"),
        Reason.LAST_VOTER: Answer(StatusCode.FAILED_PRECONDITION, "LAST_VOTER"),
        Reason.NAMESPACE_NOT_FOUND: Answer(StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND"),
        Reason.NAMESPACE_CHANGED: Answer(StatusCode.FAILED_PRECONDITION, "NAMESPACE_CHANGED"),
        Reason.LEASE_NOT_FOUND: Answer(StatusCode.NOT_FOUND, "LEASE_NOT_FOUND"),
        Reason.LEASE_ENDED: Answer(StatusCode.FAILED_PRECONDITION, "LEASE_ENDED"),
        Reason.LEASE_ID_TAKEN: NEVER_A_CLIENTS,
        Reason.SESSION_NOT_FOUND: Answer(StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        Reason.SESSION_ENDED: Answer(StatusCode.FAILED_PRECONDITION, "SESSION_ENDED"),
        Reason.SESSION_ID_TAKEN: NEVER_A_CLIENTS,
        Reason.HOLDER_MISMATCH: Answer(StatusCode.FAILED_PRECONDITION, "HOLDER_MISMATCH"),
        Reason.RESOURCE_NOT_FOUND: Answer(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        Reason.RESOURCE_IN_USE: Answer(StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE"),
        Reason.RESOURCE_BEING_CLEANED: Answer(StatusCode.FAILED_PRECONDITION, "RESOURCE_BEING_CLEANED"),
        Reason.RESOURCE_HAS_OTHER_HOLDERS: Answer(StatusCode.FAILED_PRECONDITION, "RESOURCE_HAS_OTHER_HOLDERS"),
        Reason.CLEANUP_CONFLICT: Answer(StatusCode.FAILED_PRECONDITION, "CLEANUP_CONFLICT"),
        Reason.TARGET_IN_USE: Answer(StatusCode.FAILED_PRECONDITION, "TARGET_IN_USE"),
        Reason.TARGET_OVERLAPS: Answer(StatusCode.FAILED_PRECONDITION, "TARGET_OVERLAPS"),
        Reason.HOLD_CONFLICT: Answer(StatusCode.FAILED_PRECONDITION, "HOLD_CONFLICT"),
        Reason.HOLD_NOT_FOUND: Answer(StatusCode.NOT_FOUND, "HOLD_NOT_FOUND"),
        Reason.NOT_DEAD_LETTER: Answer(StatusCode.FAILED_PRECONDITION, "NOT_DEAD_LETTER"),
        Reason.NOT_PAUSED: Answer(StatusCode.FAILED_PRECONDITION, "NOT_PAUSED"),
        Reason.CLAIM_NOT_CURRENT: NEVER_A_CLIENTS,
        Reason.CLEANUP_NOT_DUE: NEVER_A_CLIENTS,
        Reason.CLEANUPS_PAUSED: NEVER_A_CLIENTS,
        Reason.SWEEP_BEHIND: NEVER_A_CLIENTS,
        Reason.QUOTA_EXCEEDED: Answer(StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
        Reason.REQUEST_ID_REUSED: Answer(StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
        Reason.REQUEST_TABLE_FULL: Answer(StatusCode.UNAVAILABLE, "REQUEST_TABLE_FULL"),
        Reason.REQUEST_TOO_OLD: Answer(StatusCode.FAILED_PRECONDITION, "REQUEST_TOO_OLD"),
        Reason.FEATURE_NOT_ENABLED: Answer(StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_ENABLED"),
        Reason.DIGEST_NOT_NOTED: NEVER_A_CLIENTS,
    }
)

OPERATING_ERRORS: Mapping[type[OperatingError], Answer] = MappingProxyType(
    {
        OperatingError: NEVER_A_CLIENTS,
        NoLeader: Answer(StatusCode.UNAVAILABLE, "NO_LEADER"),
        NoQuorum: Answer(StatusCode.UNAVAILABLE, "NO_QUORUM"),
        Starting: Answer(StatusCode.UNAVAILABLE, "STARTING"),
        NotLeader: Answer(StatusCode.UNAVAILABLE, "NOT_LEADER"),
        Overloaded: Answer(StatusCode.UNAVAILABLE, "OVERLOADED"),
        StorageLow: Answer(StatusCode.RESOURCE_EXHAUSTED, "STORAGE_LOW"),
        FeatureNotEnabled: Answer(StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_ENABLED"),
        Draining: Answer(StatusCode.UNAVAILABLE, "DRAINING"),
        NotSealed: Answer(StatusCode.UNAVAILABLE, "DEADLINE_NOT_SEALED"),
        TransferFailed: Answer(StatusCode.FAILED_PRECONDITION, "TRANSFER_FAILED"),
        StorageAbsent: Answer(StatusCode.FAILED_PRECONDITION, "STORAGE_ABSENT"),
        StorageAway: Answer(StatusCode.UNAVAILABLE, "STORAGE_AWAY"),
        StorageRefused: Answer(StatusCode.FAILED_PRECONDITION, "STORAGE_REFUSED"),
        SnapshotNotTaken: Answer(StatusCode.UNAVAILABLE, "SNAPSHOT_NOT_TAKEN"),
        MemberUnreachable: Answer(StatusCode.UNAVAILABLE, "MEMBER_UNREACHABLE"),
        OutcomeUnknown: Answer(StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"),
    }
)

OUTCOME_UNKNOWN_REPEATABLE = Answer(StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
"""What becomes of `OutcomeUnknown` where the call had a `request_id`, or repeats harmlessly by its nature."""

DOOR_ERRORS: Mapping[str, StatusCode] = MappingProxyType(
    {
        "INVALID_ARGUMENT": StatusCode.INVALID_ARGUMENT,
        "UNKNOWN_HANDLER": StatusCode.INVALID_ARGUMENT,
        "CLEANUP_NOT_FOUND": StatusCode.NOT_FOUND,
        "LEASE_NOT_FOUND": StatusCode.NOT_FOUND,
        "MEMBER_NOT_FOUND": StatusCode.NOT_FOUND,
        "NAMESPACE_NOT_FOUND": StatusCode.NOT_FOUND,
        "QUORUM_AT_RISK": StatusCode.FAILED_PRECONDITION,
        "RESOURCE_NOT_FOUND": StatusCode.NOT_FOUND,
        "SESSION_NOT_FOUND": StatusCode.NOT_FOUND,
        "SNAPSHOT_NOT_FOUND": StatusCode.NOT_FOUND,
        "EVENT_INDEX_TOO_OLD": StatusCode.OUT_OF_RANGE,
        "FEATURE_NOT_BUILT": StatusCode.UNIMPLEMENTED,
        "INTERNAL": StatusCode.INTERNAL,
    }
)
"""What the door itself finds, before or without asking the machine."""


OF_A_LIFE = frozenset({"LEASE_NOT_FOUND", "LEASE_ENDED", "SESSION_NOT_FOUND", "SESSION_ENDED"})
"""What is told with the cluster's incarnation: in a restored cluster it may mean another thing."""


class CallError(Exception):
    """The failure of a call, or of one item of a batch, ready to be told."""

    def __init__(
        self,
        answer: Answer,
        message: str,
        *,
        field: str = "",
        retry_after_ms: int = NO_RETRY,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """`field`: the request's field at fault; `retry_after_ms`: when repeating makes sense, `NO_RETRY` if unknown."""
        super().__init__(message)
        self.answer = answer
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms
        self.metadata = metadata

    def of_life(self, cluster_id: str, incarnation: int) -> None:
        """Have it tell which life of the cluster speaks, where that makes a difference."""
        if self.answer.reason in OF_A_LIFE:
            self.metadata = (*self.metadata, ("cluster_id", cluster_id), ("incarnation", str(incarnation)))

    def status(self) -> status_pb2.Status:
        """The error as `google.rpc.Status`, with its details."""
        code, reason = self.answer
        status = status_pb2.Status(code=code.value[0], message=_cut(self.message))
        metadata = {key: _cut(value) for key, value in self.metadata}
        _attach(status, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
        if self.retry_after_ms != NO_RETRY:
            delay = Duration()
            delay.FromMilliseconds(max(0, self.retry_after_ms))
            _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
        if self.field or code is StatusCode.INVALID_ARGUMENT:
            bad = error_details_pb2.BadRequest()
            bad.field_violations.add(field=_cut(self.field), description=status.message)
            _attach(status, bad)
        return status

    def leader(self) -> str:
        """The endpoint of the leader's API, where the error tells it; else empty."""
        return next((value for key, value in self.metadata if key == "leader"), "")


def trailing_metadata(status: status_pb2.Status, leader: str) -> tuple[tuple[str, str | bytes], ...]:
    """What goes behind a failed call: its details, and the leader's endpoint unless that is empty."""
    details: tuple[str, str | bytes] = (DETAILS_METADATA, status.SerializeToString())
    return (details, (LEADER_METADATA, leader)) if leader else (details,)


def of_refusal(refused: Refused) -> CallError:
    """The error that tells a refusal of the machine."""
    return CallError(
        REFUSALS[refused.reason],
        refused.message,
        field=refused.field,
        retry_after_ms=refused.retry_after_ms,
        metadata=refused.metadata,
    )


def of_operating_error(error: OperatingError, *, repeatable: bool = False) -> CallError:
    """The error that tells an operating error. `repeatable`: doing the same again has no second effect."""
    answer = next(OPERATING_ERRORS[kind] for kind in type(error).__mro__ if kind in OPERATING_ERRORS)
    if repeatable and isinstance(error, OutcomeUnknown):
        answer = OUTCOME_UNKNOWN_REPEATABLE
    retry_after_ms = error.retry_after_ms if answer.code is StatusCode.UNAVAILABLE else NO_RETRY
    metadata = (("leader", error.leader),) if error.leader else ()
    return CallError(answer, str(error), retry_after_ms=retry_after_ms, metadata=metadata)


def of_door(reason: str, message: str, *, field: str = "", **metadata: str) -> CallError:
    """The error for what the door found by itself. `reason` is a key of `DOOR_ERRORS`."""
    return CallError(Answer(DOOR_ERRORS[reason], reason), message, field=field, metadata=tuple(metadata.items()))


def invalid(field: str, problem: str) -> CallError:
    """A field of the request is malformed or outside its bounds; `problem` says how, and what is right.

    `field` is empty only where the fault is of no field: then the problem stands for itself.
    """
    return of_door("INVALID_ARGUMENT", f"{field}: {problem}" if field else problem, field=field)


def _attach(status: status_pb2.Status, detail: Message) -> None:
    status.details.add(type_url=TYPE_URL_PREFIX + detail.DESCRIPTOR.full_name, value=detail.SerializeToString())


def _cut(text: str) -> str:
    """At most `TEXT_BYTES_MAX` bytes of UTF-8, never half a character."""
    if len(text) * 4 <= TEXT_BYTES_MAX:
        return text
    raw = text.encode("utf-8", "replace")
    if len(raw) <= TEXT_BYTES_MAX:
        return raw.decode("utf-8")
    return raw[: TEXT_BYTES_MAX - 3].decode("utf-8", "ignore") + "…"
