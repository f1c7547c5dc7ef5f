"""What `apply` answers. A refusal is a value, not an exception: it changed nothing and says why.

Outcomes travel from the leader to the node that asked, so they are wire messages like the operations.
"""

from enum import StrEnum

from garbagetruck.cluster.machine.entries import Wire
from garbagetruck.cluster.machine.model import LeaseState, Member, ResourceState

NO_RETRY = -1


class Reason(StrEnum):
    """Why an operation was refused. Stable names: clients see them as `ErrorInfo.reason`."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    STALE_EPOCH = "STALE_EPOCH"
    CLUSTER_EXISTS = "CLUSTER_EXISTS"
    MEMBER_UNKNOWN = "MEMBER_UNKNOWN"
    MEMBER_EXISTS = "MEMBER_EXISTS"
    MEMBERSHIP_CHANGE_PENDING = "MEMBERSHIP_CHANGE_PENDING"
    LAST_VOTER = "LAST_VOTER"
    NAMESPACE_NOT_FOUND = "NAMESPACE_NOT_FOUND"
    NAMESPACE_CHANGED = "NAMESPACE_CHANGED"
    LEASE_NOT_FOUND = "LEASE_NOT_FOUND"
    LEASE_ENDED = "LEASE_ENDED"
    LEASE_ID_TAKEN = "LEASE_ID_TAKEN"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_ENDED = "SESSION_ENDED"
    SESSION_ID_TAKEN = "SESSION_ID_TAKEN"
    HOLDER_MISMATCH = "HOLDER_MISMATCH"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_BEING_CLEANED = "RESOURCE_BEING_CLEANED"
    RESOURCE_IN_USE = "RESOURCE_IN_USE"
    RESOURCE_HAS_OTHER_HOLDERS = "RESOURCE_HAS_OTHER_HOLDERS"
    CLEANUP_CONFLICT = "CLEANUP_CONFLICT"
    TARGET_IN_USE = "TARGET_IN_USE"
    TARGET_OVERLAPS = "TARGET_OVERLAPS"
    HOLD_CONFLICT = "HOLD_CONFLICT"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    NOT_DEAD_LETTER = "NOT_DEAD_LETTER"
    NOT_PAUSED = "NOT_PAUSED"
    CLAIM_NOT_CURRENT = "CLAIM_NOT_CURRENT"
    CLEANUP_NOT_DUE = "CLEANUP_NOT_DUE"
    CLEANUPS_PAUSED = "CLEANUPS_PAUSED"
    SWEEP_BEHIND = "SWEEP_BEHIND"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    REQUEST_TABLE_FULL = "REQUEST_TABLE_FULL"
    REQUEST_TOO_OLD = "REQUEST_TOO_OLD"
    FEATURE_NOT_ENABLED = "FEATURE_NOT_ENABLED"
    DIGEST_NOT_NOTED = "DIGEST_NOT_NOTED"


class Refused(Wire, frozen=True, tag=1):
    reason: Reason
    message: str
    field: str = ""
    """The request's field at fault, when one is."""
    retry_after_ms: int = NO_RETRY
    metadata: tuple[tuple[str, str], ...] = ()


class LeaseView(Wire, frozen=True):
    """A lease as it stood when the batch was applied."""

    id: str
    namespace: str
    resource: str
    holder: str
    fencing_token: int
    ttl_ms: int
    remaining_ms: int
    session_id: str
    state: LeaseState
    end_reason: str
    ended_ms: int
    labels: tuple[tuple[str, str], ...]


class SessionView(Wire, frozen=True):
    id: str
    namespace: str
    holder: str
    ttl_ms: int
    remaining_ms: int
    lease_count: int
    active: bool
    end_reason: str
    ended_ms: int


class LeaseGranted(Wire, frozen=True, tag=10):
    lease: LeaseView


class LeasesRenewed(Wire, frozen=True, tag=11):
    """`remaining_ms` has one number for each id asked, -1 where `refusals` tells why not."""

    remaining_ms: tuple[int, ...]
    refusals: tuple[tuple[int, Refused], ...]


class LeasesReleased(Wire, frozen=True, tag=12):
    released: int
    refusals: tuple[tuple[int, Refused], ...]
    remaining: int = 0
    """Leases that the holder still has (ReleaseHolder only)."""


class SessionOpened(Wire, frozen=True, tag=20):
    session: SessionView


class SessionsRenewed(Wire, frozen=True, tag=21):
    remaining_ms: tuple[int, ...]
    refusals: tuple[tuple[int, Refused], ...]


class SessionClosed(Wire, frozen=True, tag=22):
    leases_ending: int


class ResourceChanged(Wire, frozen=True, tag=30):
    """Hold, unhold, retry, discard: the resource's revision and state afterwards."""

    revision: int
    state: ResourceState


class CleanupClaimed(Wire, frozen=True, tag=40):
    token: int
    attempt: int
    deadline_ms: int


class CleanupReported(Wire, frozen=True, tag=41):
    state: ResourceState
    due_ms: int


class Acknowledged(Wire, frozen=True, tag=50):
    """Done, with the revision of what changed (0 where there is none)."""

    revision: int = 0


class MemberChanged(Wire, frozen=True, tag=60):
    """The record of the member that was added; of one that was removed, as it was before."""

    member: Member


Outcome = (
    Refused
    | LeaseGranted
    | LeasesRenewed
    | LeasesReleased
    | SessionOpened
    | SessionsRenewed
    | SessionClosed
    | ResourceChanged
    | CleanupClaimed
    | CleanupReported
    | Acknowledged
    | MemberChanged
)
