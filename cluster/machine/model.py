"""The records of the replicated state, and the bounds it lives within.

A record is immutable: a change replaces it. So a reader on the same loop, or a snapshot that captured a
reference, never sees half of a change. All times are milliseconds of cluster time (`clock_ms`, see
docs/decisions/0004): never a wall clock. Nothing here performs I/O, reads a clock or draws a random number.
"""

from enum import IntEnum, StrEnum

import msgspec

ResourceKey = tuple[str, str]
"""(namespace, resource name)."""

HolderKey = tuple[str, str]
"""(namespace, holder)."""

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs; keys are unique."""

DEFAULT_NAMESPACE = "default"
TOKEN_COUNTER_BITS = 40
TOKEN_LIMIT = 1 << 53
INCARNATION_MAX = (TOKEN_LIMIT >> TOKEN_COUNTER_BITS) - 1


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of every record: immutable, compact on the wire, invisible to the garbage collector (no cycles)."""


class LeaseState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    RELEASED = "released"


class ResourceState(StrEnum):
    """The life of a resource's generation (DESIGN section 8). `CLEANED` is only seen on tombstones."""

    LIVE = "live"
    ORPHANED = "orphaned"
    DUE = "due"
    CLAIMED = "claimed"
    DEAD_LETTER = "dead_letter"
    CLEANED = "cleaned"


class EndReason(StrEnum):
    """Why a lease or a session ended."""

    EXPIRED = "expired"
    RELEASED = "released"
    SESSION_EXPIRED = "session_expired"
    SESSION_CLOSED = "session_closed"
    RESOURCE_FORGOTTEN = "resource_forgotten"


class ReportResult(IntEnum):
    """What an executor says of a claim it held."""

    DONE = 1
    FAILED = 2
    FAILED_FOR_GOOD = 3
    NOT_ATTEMPTED = 4
    """No effect was started (unknown handler, leadership lost first): uses up no attempt."""


class CleanupSpec(Record, frozen=True):
    """What to run when a resource is orphaned, as a client named it and the door completed it."""

    handler: str
    parameters: Labels
    target: str
    """Canonical target, `scheme:/segment/segment`, derived by the handler at the door."""


class Lease(Record, frozen=True):
    id: str
    namespace: str
    resource: str
    holder: str
    token: int
    ttl_ms: int
    deadline_ms: int
    """It may be ended once the clock has passed this: by a later stamp, never by this one. 0: a session carries it."""
    session_id: str
    """Empty when the lease stands alone."""
    created_ms: int
    labels: Labels


class EndedLease(Record, frozen=True):
    """What is remembered of a lease after its end, so that a late renewal is told when and why."""

    id: str
    namespace: str
    resource: str
    holder: str
    token: int
    ttl_ms: int
    session_id: str
    ended_ms: int
    reason: EndReason
    labels: Labels


class Session(Record, frozen=True):
    id: str
    namespace: str
    holder: str
    token: int
    ttl_ms: int
    deadline_ms: int
    created_ms: int


class EndedSession(Record, frozen=True):
    id: str
    namespace: str
    holder: str
    ttl_ms: int
    ended_ms: int
    reason: EndReason


class Hold(Record, frozen=True):
    id: str
    reason: str
    actor: str
    created_ms: int


class Claim(Record, frozen=True):
    """The replicated decision to clean. Only its token can report the end."""

    token: int
    attempt: int
    epoch: int
    executor: str
    deadline_ms: int
    identity: str
    """The target as the leader observed it before claiming, in the handler's own form; empty when absent."""


class Resource(Record, frozen=True):
    namespace: str
    name: str
    generation: int
    """The token of the lease that began this life: unique, and higher than any earlier life's."""
    state: ResourceState
    revision: int
    cleanup: CleanupSpec | None
    grace_ms: int
    labels: Labels
    leases: tuple[str, ...]
    holds: tuple[Hold, ...]
    fencing_token: int
    """Highest lease token issued on this resource."""
    created_ms: int
    orphaned_ms: int
    due_ms: int
    """The first stamp at which the cleanup may (next) be claimed; 0 while live."""
    claims: int
    """Claims committed so far. From the first on, this generation is never adopted."""
    failures: int
    """Attempts that count towards the dead letter: those that failed, and those of which nothing was heard in time."""
    claim: Claim | None
    last_error: str


class Tombstone(Record, frozen=True):
    """What is remembered of a cleaned resource."""

    namespace: str
    name: str
    generation: int
    cleanup: CleanupSpec
    labels: Labels
    fencing_token: int
    claim_token: int
    attempts: int
    cleaned_ms: int


class BrakeSettings(Record, frozen=True):
    enabled: bool = True
    holders_min: int = 3
    share: float = 0.5
    window_ms: int = 60_000


class NamespaceLimits(Record, frozen=True):
    leases_max: int = 2_000_000
    leases_per_holder_max: int = 1_000_000
    sessions_max: int = 200_000
    resources_max: int = 2_000_000


class CleanupSettings(Record, frozen=True):
    grace_ms_min: int = 2_000
    attempts_max: int = 8
    retry_delay_ms_min: int = 1_000
    retry_delay_ms_max: int = 300_000


class Namespace(Record, frozen=True):
    name: str
    revision: int = 1
    limits: NamespaceLimits = NamespaceLimits()
    cleanup: CleanupSettings = CleanupSettings()
    brake: BrakeSettings = BrakeSettings()
    paused: bool = False
    pause_reason: str = ""
    brake_engaged: bool = False
    brake_since_ms: int = 0
    brake_reason: str = ""
    brake_known_holders: int = 0
    """How many holders there were when the brake engaged."""
    cleanups_not_before_ms: int = 0
    """After a brake is released, orphans get this long for their holders to take them up again."""


class MemberRole(StrEnum):
    """What a member shall be to Raft. Raft's own configuration says what it is; the leader brings it to this."""

    VOTER = "voter"
    LEARNER = "learner"
    """Added: it gets the log, and votes once it has caught up."""
    LEAVING = "leaving"
    """Removed: it votes until Raft's configuration is without it; then its record goes, too."""


class Member(Record, frozen=True):
    """A node, as the cluster has it on record: where the others reach it, and what it shall be."""

    id: str
    api: str
    http: str
    raft: str
    version: str
    """Empty until the node has told it itself."""
    disk_id: str
    """Empty until a folder has come under this name; then no other is taken for it."""
    feature_level: int
    """What it can read, see `features`; 0 until it has told so itself."""
    peer: str = ""
    """Where the other nodes bring what is for the leader. Empty in records that are older than the field."""
    role: MemberRole = MemberRole.VOTER

    def written(self) -> list[object]:
        """The fields as they go into the log, the digest and snapshots.

        What feature level 1 does not know is left out while it says nothing: then a node of that level reads the rest,
        and has the same digest.
        """
        fields: list[object] = [getattr(self, name) for name in self.__struct_fields__]
        if self.role is MemberRole.VOTER:
            fields.pop()
            if not self.peer:
                fields.pop()
        return fields


class Bounds(Record, frozen=True):
    """Replicated bounds: every node applies by these, and only an operation changes them."""

    ttl_ms_min: int = 100
    ttl_ms_max: int = 30 * 24 * 3_600_000
    expirations_per_batch_max: int = 250
    """Of leases swept in one batch, and of leases that one `ReleaseHolder` gives back: both hold up every other call."""
    request_age_ms_max: int = 60_000
    requests_max: int = 1_000_000
    events_max: int = 10_000
    ended_leases_max: int = 100_000
    ended_sessions_max: int = 20_000
    tombstones_max: int = 100_000
    leases_per_resource_max: int = 1_000
    holds_per_resource_max: int = 16
    namespaces_max: int = 1_000
    members_max: int = 15
    claim_ms_max: int = 15 * 60_000


class RequestRecord(Record, frozen=True):
    """The remembered answer to a `request_id`."""

    payload_hash: int
    recorded_ms: int
    subject: str
    """What it made, after its kind: `lease:ID`, `session:ID`, or `outcome:` and an operator's encoded outcome."""


class EventType(StrEnum):
    LEASE_ACQUIRED = "lease_acquired"
    LEASE_RELEASED = "lease_released"
    LEASE_EXPIRED = "lease_expired"
    SESSION_OPENED = "session_opened"
    SESSION_CLOSED = "session_closed"
    SESSION_EXPIRED = "session_expired"
    RESOURCE_ORPHANED = "resource_orphaned"
    RESOURCE_ADOPTED = "resource_adopted"
    RESOURCE_FORGOTTEN = "resource_forgotten"
    HOLD_PLACED = "hold_placed"
    HOLD_REMOVED = "hold_removed"
    CLEANUP_DUE = "cleanup_due"
    CLEANUP_CLAIMED = "cleanup_claimed"
    CLEANUP_DONE = "cleanup_done"
    CLEANUP_FAILED = "cleanup_failed"
    CLEANUP_DEAD_LETTER = "cleanup_dead_letter"
    CLEANUP_RETRIED = "cleanup_retried"
    CLEANUP_DISCARDED = "cleanup_discarded"
    CLEANUPS_PAUSED = "cleanups_paused"
    CLEANUPS_RESUMED = "cleanups_resumed"
    BRAKE_ENGAGED = "brake_engaged"
    BRAKE_RELEASED = "brake_released"
    FLEET_BRAKE_SET = "fleet_brake_set"
    FLEET_BRAKE_ENGAGED = "fleet_brake_engaged"
    FLEET_BRAKE_RELEASED = "fleet_brake_released"
    BREAKER_OPENED = "breaker_opened"
    BREAKER_CLOSED = "breaker_closed"
    NAMESPACE_CHANGED = "namespace_changed"
    LEADER_CHANGED = "leader_changed"
    MEMBER_CHANGED = "member_changed"
    DIGESTS_DIFFER = "digests_differ"
    ENTRY_SKIPPED = "entry_skipped"
    CLUSTER_RESTORED = "cluster_restored"


class Event(Record, frozen=True):
    index: int
    at_ms: int
    type: EventType
    namespace: str = ""
    resource: str = ""
    lease_id: str = ""
    session_id: str = ""
    holder: str = ""
    token: int = 0
    detail: str = ""
