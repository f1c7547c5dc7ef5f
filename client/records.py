"""What the client hands out: plain, immutable values in the words of the API.

Duty: give a caller the cluster's records without a protobuf or gRPC type in its hands.
Conventions: `…_ms` are moments or durations in milliseconds of *cluster time* (see header.proto), which has no
relation to any wall clock; 0 means that it has not happened. Enumerations are the API's own words in lower case.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """One lease of `acquire_many`. Durations in seconds; meaning and bounds as in `Truck.acquire`."""

    resource: str
    holder: str = ""
    ttl: float = 0.0
    session_id: str = ""
    cleanup: Cleanup | None = None
    grace: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


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
