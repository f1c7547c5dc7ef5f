"""What the log carries: a batch of operations under one stamp.

Every operation is decided at a node's door and enters the log unchanged; `apply` alone gives it an outcome.
`entered_ms` is the cluster time at which the operation entered the cluster, in milliseconds: `apply` refuses one
older than `Bounds.request_age_ms_max`. Tags and field order are the wire format: append fields with defaults,
never reorder, never reuse a tag.
"""

from typing import ClassVar, Literal

import msgspec

from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    CleanupSpec,
    Labels,
    Member,
    NamespaceLimits,
    ReportResult,
)

Settled = Literal["voter", "gone"]
"""What Raft's configuration says of a member by now: it votes, or it has no part in it any more."""

BATCH_FORMAT = 4
"""The newest format of a batch. A batch has that of what is in it, see `features`: a node that meets one above its own
level refuses to go on."""


class Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages between nodes."""


class Entry(Wire, frozen=True, forbid_unknown_fields=True):
    """Base of batches and operations. A field that this version does not know is an error: dropping it would diverge."""


class EnterEpoch(Entry, frozen=True, tag=1):
    """First operation of a leader's term. Leading begins when it is applied."""

    leader: str


class CreateCluster(Entry, frozen=True, tag=2):
    """The very first operation of a cluster; refused ever after."""

    cluster_id: str
    incarnation: int
    members: tuple[Member, ...]


class RegisterMember(Entry, frozen=True, tag=3):
    """A node states its addresses and version; refused for an unknown member or a foreign disk."""

    member: Member


class SetBounds(Entry, frozen=True, tag=4):
    bounds: Bounds


class AddMember(Entry, frozen=True, tag=5):
    """Put a node on record as a learner. Of `member` the id, the addresses and the disk count; the rest it tells itself."""

    entered_ms: int
    request_id: str
    actor: str
    member: Member
    namespace: ClassVar[str] = ""
    """It concerns the whole cluster."""


class RemoveMember(Entry, frozen=True, tag=6):
    """Have a node leave. Its record goes when it votes no more."""

    entered_ms: int
    request_id: str
    actor: str
    member_id: str
    namespace: ClassVar[str] = ""
    """It concerns the whole cluster."""


class SettleMember(Entry, frozen=True, tag=7):
    """Proposed by the leader only, once Raft's configuration is what a member's record wants."""

    member_id: str
    settled: Settled


class NoteDigest(Entry, frozen=True, tag=8):
    """The leader tells the digest of its state right behind the entry at `index`, for the others to compare. Level 2."""

    index: int
    digest: int


class ReportDigest(Entry, frozen=True, tag=9):
    """A node tells its own digest behind an entry whose digest was noted, because some node has another. Level 2."""

    index: int
    node_id: str
    digest: int


class AcquireLease(Entry, frozen=True, tag=10):
    entered_ms: int
    namespace: str
    request_id: str
    lease_id: str
    """Drawn at the door: unguessable, 26 characters."""
    resource: str
    holder: str
    """May be empty with a session: then it is the session's."""
    ttl_ms: int
    """0 with a session, whose TTL is then the lease's."""
    session_id: str = ""
    cleanup: CleanupSpec | None = None
    grace_ms: int = 0
    """Wanted grace after the last lease; the namespace's minimum holds in any case."""
    labels: Labels = ()


class RenewLeases(Entry, frozen=True, tag=11):
    """Renew many leases at once; renewing an attached lease renews its session."""

    entered_ms: int
    namespace: str
    lease_ids: tuple[str, ...]
    ttl_ms: int = 0
    """New TTL for leases that stand alone; 0 keeps each lease's own. Without effect on those of a session."""


class ReleaseLeases(Entry, frozen=True, tag=12):
    entered_ms: int
    namespace: str
    lease_ids: tuple[str, ...]
    keep_resource: bool = False
    """Take the resource off the books; refused while others hold it."""


class ReleaseHolder(Entry, frozen=True, tag=13):
    """Release up to `limit` leases of a holder; the outcome says how many remain."""

    entered_ms: int
    namespace: str
    holder: str
    limit: int


class OpenSession(Entry, frozen=True, tag=20):
    entered_ms: int
    namespace: str
    request_id: str
    session_id: str
    holder: str
    ttl_ms: int


class RenewSessions(Entry, frozen=True, tag=21):
    entered_ms: int
    namespace: str
    session_ids: tuple[str, ...]


class CloseSession(Entry, frozen=True, tag=22):
    entered_ms: int
    namespace: str
    session_id: str


class PlaceHold(Entry, frozen=True, tag=30):
    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    resource: str
    hold_id: str
    reason: str


class RemoveHold(Entry, frozen=True, tag=31):
    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    resource: str
    hold_id: str


class ClaimCleanup(Entry, frozen=True, tag=40):
    """Proposed by the leader's executor for a free slot only."""

    namespace: str
    resource: str
    generation: int
    revision: int
    executor: str
    duration_ms: int
    """How long the claim stands, from the stamp of its batch."""
    identity: str


class ReportCleanup(Entry, frozen=True, tag=41):
    namespace: str
    resource: str
    token: int
    result: ReportResult
    error: str = ""


class RetryCleanup(Entry, frozen=True, tag=42):
    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    resource: str


class DiscardCleanup(Entry, frozen=True, tag=43):
    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    resource: str
    reason: str


class PauseCleanups(Entry, frozen=True, tag=44):
    """Pause one namespace, or with an empty one the whole cluster."""

    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    reason: str


class ResumeCleanups(Entry, frozen=True, tag=45):
    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    reason: str
    release_brake: bool = False


class SetNamespace(Entry, frozen=True, tag=50):
    """Create a namespace or change its settings; `revision` 0 skips the check for a concurrent change.

    It carries what the caller asked for and nothing that a door read before: two that set different things at the same
    time both have what they set, and a repetition is the same operation whatever happened in between.
    """

    entered_ms: int
    namespace: str
    request_id: str
    actor: str
    limits: NamespaceLimits
    cleanup: CleanupSettings
    brake: BrakeSettings
    revision: int = 0
    given: tuple[str, ...] | None = None
    """Which settings to take, as `limits.leases_max`; the others mean nothing. None: all of them."""


class NameIncarnation(Entry, frozen=True, tag=60):
    """Give this life of the cluster its random id, by which storage tells it from another of the same number. Once only."""

    id: str


NamespaceOperation = (
    AcquireLease
    | RenewLeases
    | ReleaseLeases
    | ReleaseHolder
    | OpenSession
    | RenewSessions
    | CloseSession
    | PlaceHold
    | RemoveHold
    | RetryCleanup
    | DiscardCleanup
)
"""What needs its namespace to exist."""

ClientOperation = NamespaceOperation | PauseCleanups | ResumeCleanups | SetNamespace | AddMember | RemoveMember
"""What a door may submit for a client. All of them carry `entered_ms` and `namespace`."""

ForwardedOperation = ClientOperation | RegisterMember | ReportDigest
"""What a node may ask the leader to commit: its clients' operations, its own record, and its own digest."""

LeadersOperation = (
    EnterEpoch | CreateCluster | SetBounds | SettleMember | NoteDigest | NameIncarnation | ClaimCleanup | ReportCleanup
)
"""What a leader's node proposes by itself."""

Operation = ForwardedOperation | LeadersOperation

Mutation = (
    PlaceHold
    | RemoveHold
    | RetryCleanup
    | DiscardCleanup
    | PauseCleanups
    | ResumeCleanups
    | SetNamespace
    | AddMember
    | RemoveMember
)
"""Operators' operations: remembered by request id together with their outcome."""


class Batch(Entry, frozen=True):
    """One entry of the log. `(proposer, sequence)` tells a proposer which of its batches this is."""

    format: int
    """At least the level of every operation: so a node of a lower level refuses the entry by name."""
    epoch: int
    at_ms: int
    proposer: str
    sequence: int
    operations: tuple[Operation, ...]
