"""What the client hands out: plain, immutable values in the words of the API.

Duty: give a caller the cluster's records without a protobuf or gRPC type in its hands.
Conventions: `…_ms` are moments or durations in milliseconds of *cluster time* (see common.proto), which has no relation to any
wall clock; 0 means that it has not happened. Enumerations are the API's own words in lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import final

from typing_extensions import override

NOTHING: Mapping[str, str] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True, init=False)
class Cleanup:
    """What shall be done with a resource once nobody holds it: an operator's handler, and what it needs to know."""

    handler: str
    parameters: Mapping[str, str]

    def __init__(self, handler: str, /, **parameters: str) -> None:
        object.__setattr__(self, "handler", handler)
        object.__setattr__(self, "parameters", MappingProxyType(dict(parameters)))

    @override
    def __hash__(self) -> int:
        return hash((self.handler, frozenset(self.parameters.items())))


class LeaseState(StrEnum):
    """Whether a lease counts."""

    ACTIVE = "active"
    EXPIRED = "expired"
    RELEASED = "released"
    UNKNOWN = "unknown"
    """A word that this version of the client does not know. Likewise in the other enumerations."""


class SessionState(StrEnum):
    """Whether a session counts."""

    ACTIVE = "active"
    EXPIRED = "expired"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class ResourceState(StrEnum):
    """Where a resource is on its way."""

    LIVE = "live"
    ORPHANED = "orphaned"
    DUE = "due"
    CLAIMED = "claimed"
    CLEANED = "cleaned"
    DEAD_LETTER = "dead_letter"
    UNKNOWN = "unknown"


class NodeRole(StrEnum):
    """What a node is to Raft."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """One lease of `acquire_many`. Durations in seconds; meaning and bounds as in `Truck.acquire`."""

    resource: str
    holder: str = ""
    ttl: float = 0.0
    session_id: str = ""
    cleanup: Cleanup | None = None
    grace: float | None = None
    labels: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True)
class LeaseSummary:
    """A lease as a listing of its resource shows it."""

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
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as the cluster sees it; `Session` is the one that this process keeps alive."""

    id: str
    namespace: str
    holder: str
    ttl_ms: int
    remaining_ms: int
    lease_count: int
    state: SessionState
    end_reason: str
    ended_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """An operator's "do not clean this"."""

    id: str
    reason: str
    actor: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A cleanup that may be running."""

    token: int
    deadline_ms: int
    attempt: int
    executor: str


@dataclass(frozen=True, slots=True)
class Resource:
    """An external thing under the cluster's care."""

    namespace: str
    name: str
    generation: int
    state: ResourceState
    cleanup: Cleanup | None
    target: str
    fencing_token: int
    grace_ms: int
    labels: Mapping[str, str]
    leases: tuple[LeaseSummary, ...]
    """Empty in listings; `lease_count` tells how many there are."""
    lease_count: int
    holds: tuple[Hold, ...]
    created_ms: int
    orphaned_ms: int
    due_ms: int
    cleaned_ms: int
    attempts: int
    last_error: str
    revision: int
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class PendingCleanup:
    """What is, or is waiting, to be done with an orphan."""

    namespace: str
    resource: str
    generation: int
    state: ResourceState
    cleanup: Cleanup
    target: str
    orphaned_ms: int
    due_ms: int
    attempts: int
    last_error: str
    claim: Claim | None
    blocked_by: str
    """"paused", "brake", "hold" or "unknown_handler". Empty: nothing but its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a namespace may have. In `set`, None leaves a limit as it is."""

    leases_max: int | None = None
    leases_per_holder_max: int | None = None
    resources_max: int | None = None
    sessions_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupSettings:
    """How a namespace cleans. In `set`, None leaves a setting as it is."""

    grace_ms_min: int | None = None
    attempts_max: int | None = None
    retry_delay_ms_min: int | None = None
    retry_delay_ms_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """When cleanups stop because too many holders went silent at once. In `set`, None leaves a setting as it is."""

    enabled: bool | None = None
    holders_min: int | None = None
    share: float | None = None
    window_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BrakeState:
    """What a namespace's brake does at this moment."""

    engaged: bool
    since_ms: int
    missing_holders: int
    holders: int
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a namespace has at this moment."""

    leases: int
    sessions: int
    resources: int
    holders: int
    orphaned: int
    due: int
    claimed: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A tenant."""

    name: str
    limits: Limits
    cleanup: CleanupSettings
    cleanups_paused: bool
    """Here, or in the whole cluster: `pause_is_global` tells."""
    pause_is_global: bool
    pause_reason: str
    brake: Brake
    brake_state: BrakeState
    usage: Usage
    revision: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node, as the asked node sees it."""

    id: str
    api: str
    role: NodeRole
    reachable: bool
    applied_index: int
    commit_index: int
    term: int
    version: str
    digest: bytes
    clock_ms: int


@dataclass(frozen=True, slots=True)
class CleanupStatus:
    """Cleanups of the whole cluster."""

    due: int
    claimed: int
    dead_letter: int
    paused: bool
    pause_reason: str
    braked: tuple[str, ...]
    paused_namespaces: tuple[str, ...]
    oldest_overdue_ms: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicated bounds that callers meet."""

    ttl_ms_min: int
    ttl_ms_max: int
    request_age_ms_max: int
    events_max: int


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster at a glance."""

    cluster_id: str
    healthy: bool
    leader_id: str
    """Empty: none is known."""
    term: int
    clock_ms: int
    nodes: tuple[NodeStatus, ...]
    leases: int
    sessions: int
    resources: int
    cleanup: CleanupStatus
    incarnation: int
    warnings: tuple[str, ...]
    bounds: Bounds
    age_ms: int
    """How old the counts may be, in milliseconds of real time; above 0 when there is no leader."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster."""

    id: str
    api: str
    raft: str
    http: str
    disk_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    index: int
    at_ms: int
    type: str
    """For example "lease_expired"; "unknown" when this version of the client does not know it."""
    namespace: str = ""
    resource: str = ""
    lease_id: str = ""
    session_id: str = ""
    holder: str = ""
    fencing_token: int = field(default=0)
    detail: str = ""
