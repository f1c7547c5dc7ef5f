"""What can go wrong, as exceptions under one root, and the table from the API's reasons to them.

Duty: let a caller tell apart what it has to treat differently. There are four kinds: a `Refused` changed nothing and
will be refused again; `Unavailable` changed nothing and may succeed later; `OutcomeUnknown` may or may not have been
applied; the rest is a call that was too slow (`DeadlineExceeded`), a lease that ended under its holder (`LeaseLost`,
`SessionLost`), or a fault of the server (`ServerFault`).
Invariant: every reason that the API can send has a class of its own kind here; a reason from a newer server falls
back to the kind of its gRPC status, never to a milder one.
It must not know gRPC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is outside its bounds."""

    field: str
    """Its path, for example `items[3].ttl_ms`."""
    description: str
    """What is wrong with it, and what would be right."""


class GarbageTruckError(Exception):
    """Root of everything that this client raises on account of the cluster."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        """One sentence for people."""
        self.reason = reason
        """The API's own word, for example "LEASE_ENDED" (see `ErrorReason` in error.proto). Empty: made by this
        client.
        """
        self.metadata = metadata
        """What the server added, for example the endpoint of the leader."""
        self.retry_after_s = retry_after_s
        """Seconds after which the server thinks that another attempt makes sense. None: it did not say."""
        self.violations = violations
        """Which fields of the request it is about. Every `InvalidArgument` has some."""


class Refused(GarbageTruckError):
    """The cluster said no. Nothing was changed."""


class Unavailable(GarbageTruckError):
    """Not applied, and not until the call's deadline: no leader, no majority, overloaded, unreachable."""


class OutcomeUnknown(GarbageTruckError):
    """Sent, but no answer came until the call's deadline: it may have been applied or not."""


class DeadlineExceeded(GarbageTruckError, TimeoutError):
    """No answer to a read until the call's deadline."""


class ServerFault(GarbageTruckError):
    """The server met a bug of its own."""


class LeaseLost(GarbageTruckError):
    """A lease ended while its holder was still using it."""


class SessionLost(GarbageTruckError):
    """A session ended, and all its leases with it, while its holder was still using it."""


class InvalidArgument(Refused):
    """A field is outside its bounds; `violations` tells which."""


class UnknownHandler(InvalidArgument):
    """No node knows a cleanup handler of this name."""


class RequestIdReused(InvalidArgument):
    """The request id was used before, for something else."""


class NotFound(Refused):
    """What the call names does not exist."""


class LeaseNotFound(NotFound):
    """There is no such lease, or it ended so long ago that it has been forgotten."""


class SessionNotFound(NotFound):
    """There is no such session, or it ended so long ago that it has been forgotten."""


class ResourceNotFound(NotFound):
    """There is no such resource."""


class NamespaceNotFound(NotFound):
    """There is no such namespace."""


class HoldNotFound(NotFound):
    """The resource has no such hold."""


class CleanupNotFound(NotFound):
    """The resource has holders, or nothing that could be cleaned."""


class MemberNotFound(NotFound):
    """No node of the cluster has this id."""


class PreconditionFailed(Refused):
    """What the call names is not in a state that allows it."""


class LeaseEnded(PreconditionFailed):
    """The lease is over; metadata `ended_ms` and `end_reason` tell since when and why."""


class SessionEnded(PreconditionFailed):
    """The session is over; metadata `ended_ms` and `end_reason` tell since when and why."""


class ResourceInUse(PreconditionFailed):
    """The resource has leases; `force` would end them."""


class ResourceBeingCleaned(PreconditionFailed):
    """A cleanup of the resource has begun; `retry_after_s` is what it may take at most, None when an operator must
    decide.
    """


class CleanupConflict(PreconditionFailed):
    """The resource has a cleanup already, and a different one."""


class TargetInUse(PreconditionFailed):
    """Another resource owns the very thing that this cleanup would delete."""


class TargetOverlaps(PreconditionFailed):
    """What this cleanup would delete contains, or lies within, what another resource owns."""


class HolderMismatch(PreconditionFailed):
    """The lease or session belongs to another holder."""


class NotPaused(PreconditionFailed):
    """Cleanups are not paused there."""


class RequestTooOld(PreconditionFailed):
    """The request took so long to arrive that its outcome could have been forgotten already."""


class ResourceHasOtherHolders(PreconditionFailed):
    """The resource cannot be kept for good by one holder while others hold it too."""


class HoldConflict(PreconditionFailed):
    """The resource has a hold of this id with another reason."""


class NotDeadLetter(PreconditionFailed):
    """Only a dead letter can be retried or discarded."""


class NamespaceChanged(PreconditionFailed):
    """Somebody changed the namespace in the meantime."""


class MemberExists(PreconditionFailed):
    """The cluster has a member of this id, or one with this address."""


class MembershipChangePending(PreconditionFailed):
    """Another change of membership is under way; metadata `member` and `role` tell which."""


class LastVoter(PreconditionFailed):
    """The only member that votes cannot be removed."""


class QuorumAtRisk(PreconditionFailed):
    """Without the member, those that answer would be no majority of those that remain."""


class TransferFailed(PreconditionFailed):
    """Leadership was not handed over."""


class QuotaExceeded(Refused):
    """A limit of the namespace is reached; metadata `limit` names it."""


class FeatureNotBuilt(Refused):
    """The cluster's version cannot do this yet."""


class EventsLost(Refused):
    """Events that old are gone; metadata `oldest_index` is the first that can still be had."""


class StorageLow(Refused):
    """A disk of the cluster is almost full: nothing new is taken; renewals and releases are."""


class StorageAbsent(PreconditionFailed):
    """The node is told to keep no copies outside the nodes."""


class StorageRefused(PreconditionFailed):
    """The storage outside the nodes answers, and does not take it."""


class SnapshotNotFound(NotFound):
    """The storage has no such snapshot, or none any more."""


class FeatureNotEnabled(PreconditionFailed):
    """Not every member of the cluster has the feature level that this needs."""


class PermissionDenied(Refused):
    """The caller may not do this."""


class Unauthenticated(Refused):
    """The caller did not prove who it is."""


BY_REASON: Mapping[str, type[GarbageTruckError]] = MappingProxyType(
    {
        "NOT_LEADER": Unavailable,
        "NO_LEADER": Unavailable,
        "NO_QUORUM": Unavailable,
        "OVERLOADED": Unavailable,
        "DRAINING": Unavailable,
        "DEADLINE_NOT_SEALED": Unavailable,
        "STARTING": Unavailable,
        "REQUEST_TABLE_FULL": Unavailable,
        "STORAGE_AWAY": Unavailable,
        "SNAPSHOT_NOT_TAKEN": Unavailable,
        "MEMBER_UNREACHABLE": Unavailable,
        "OUTCOME_UNKNOWN": OutcomeUnknown,
        "INVALID_ARGUMENT": InvalidArgument,
        "UNKNOWN_HANDLER": UnknownHandler,
        "REQUEST_ID_REUSED": RequestIdReused,
        "LEASE_NOT_FOUND": LeaseNotFound,
        "SESSION_NOT_FOUND": SessionNotFound,
        "RESOURCE_NOT_FOUND": ResourceNotFound,
        "NAMESPACE_NOT_FOUND": NamespaceNotFound,
        "HOLD_NOT_FOUND": HoldNotFound,
        "CLEANUP_NOT_FOUND": CleanupNotFound,
        "MEMBER_NOT_FOUND": MemberNotFound,
        "SNAPSHOT_NOT_FOUND": SnapshotNotFound,
        "LEASE_ENDED": LeaseEnded,
        "SESSION_ENDED": SessionEnded,
        "RESOURCE_IN_USE": ResourceInUse,
        "RESOURCE_BEING_CLEANED": ResourceBeingCleaned,
        "CLEANUP_CONFLICT": CleanupConflict,
        "TARGET_IN_USE": TargetInUse,
        "TARGET_OVERLAPS": TargetOverlaps,
        "HOLDER_MISMATCH": HolderMismatch,
        "NOT_PAUSED": NotPaused,
        "REQUEST_TOO_OLD": RequestTooOld,
        "RESOURCE_HAS_OTHER_HOLDERS": ResourceHasOtherHolders,
        "HOLD_CONFLICT": HoldConflict,
        "NOT_DEAD_LETTER": NotDeadLetter,
        "NAMESPACE_CHANGED": NamespaceChanged,
        "MEMBER_EXISTS": MemberExists,
        "MEMBERSHIP_CHANGE_PENDING": MembershipChangePending,
        "LAST_VOTER": LastVoter,
        "QUORUM_AT_RISK": QuorumAtRisk,
        "TRANSFER_FAILED": TransferFailed,
        "FEATURE_NOT_ENABLED": FeatureNotEnabled,
        "STORAGE_ABSENT": StorageAbsent,
        "STORAGE_REFUSED": StorageRefused,
        "QUOTA_EXCEEDED": QuotaExceeded,
        "STORAGE_LOW": StorageLow,
        "FEATURE_NOT_BUILT": FeatureNotBuilt,
        "EVENT_INDEX_TOO_OLD": EventsLost,
        "UNAUTHENTICATED": Unauthenticated,
        "PERMISSION_DENIED": PermissionDenied,
        "INTERNAL": ServerFault,
    }
)
"""The class of every `ErrorReason` of the API."""

BY_CODE: Mapping[str, type[GarbageTruckError]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": InvalidArgument,
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "NOT_FOUND": NotFound,
        "ALREADY_EXISTS": PreconditionFailed,
        "PERMISSION_DENIED": PermissionDenied,
        "RESOURCE_EXHAUSTED": QuotaExceeded,
        "FAILED_PRECONDITION": PreconditionFailed,
        "ABORTED": PreconditionFailed,
        "OUT_OF_RANGE": EventsLost,
        "UNIMPLEMENTED": FeatureNotBuilt,
        "INTERNAL": ServerFault,
        "UNAVAILABLE": Unavailable,
        "DATA_LOSS": ServerFault,
        "UNAUTHENTICATED": Unauthenticated,
        # UNKNOWN is what the API answers when it cannot tell; CANCELLED is a server that stopped in the middle of the
        # call.
        "UNKNOWN": OutcomeUnknown,
        "CANCELLED": OutcomeUnknown,
    }
)
"""The class of a gRPC status that came without a reason that we know, by the status's name."""
