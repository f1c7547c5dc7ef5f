"""The cluster and its namespaces as an operator sees them: plain, immutable values in the words of the API.

Duty: as `records`, whose conventions hold here too, for what concerns no single lease or resource.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class NodeRole(StrEnum):
    """What a node is to Raft."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


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
    feature_level: int
    """What it can read, see docs/consensus.md; 0 until it has told so."""


@dataclass(frozen=True, slots=True)
class FleetBrake:
    """The brake of the whole fleet, as it is set and as it stands. Times are of the cluster's clock."""

    enabled: bool
    holders_min: int
    share: float
    engaged: bool
    since_ms: int
    reason: str
    missing_holders: int
    holders: int
    """How many there were when it engaged."""
    revision: int
    """0: it was never set yet, since not every member can read it."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The open breaker of a handler: none of its cleanups is claimed, but one after each pause, to try."""

    handler: str
    reason: str
    since_ms: int
    trial_ms: int
    """From when on a trial may be claimed."""
    trying: bool
    failed_trials: int


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
    unknown_handlers: Mapping[str, int]
    """Handlers that the leader does not have, with how many cleanups wait for each."""
    fleet_brake: FleetBrake
    breakers: tuple[Breaker, ...]
    """The open ones, by rising handler."""


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
    feature_level: int
    """What the cluster uses: the lowest level of its members."""
    age_ms: int
    """How old the counts may be, in milliseconds of real time; above 0 when there is no leader."""


class MemberRole(StrEnum):
    """What a member shall be."""

    VOTER = "voter"
    LEARNER = "learner"
    """Added: it votes once it has come and caught up."""
    LEAVING = "leaving"
    """Removed: its record goes when it votes no more."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster."""

    id: str
    api: str
    raft: str
    http: str
    disk_id: str
    """Empty: no folder has come under its name yet."""
    peer: str = ""
    role: MemberRole = MemberRole.UNKNOWN
    version: str = ""
    feature_level: int = 0
    """What it can read; 0 until it has told so."""


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
    fencing_token: int = 0
    detail: str = ""
