"""What can be asked of the state, and the shapes of the answers. Pure values."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from garbagetruck.cluster.machine.model import Labels, ResourceState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseFilter:
    """Empty fields match everything. Labels must all be there."""

    namespace: str
    resource: str = ""
    holder: str = ""
    session_id: str = ""
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    namespace: str
    state: ResourceState | None = None
    prefix: str = ""
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    """May be fewer than asked for, even none, before the end: one call looks at a bounded number of rows."""
    next_after: int
    """0 at the end of the list."""


@dataclass(frozen=True, slots=True)
class NamespaceUsage:
    leases: int
    sessions: int
    resources: int
    holders: int
    orphaned: int
    due: int
    claimed: int
    dead_letters: int
    brake_missing_holders: int


@dataclass(frozen=True, slots=True)
class Summary:
    leases: int
    sessions: int
    resources: int
    orphaned: int
    due: int
    claimed: int
    dead_letter: int
    paused: bool
    braked: tuple[str, ...]
    oldest_due_ms: int | None
    """Cluster time since when the oldest claimable cleanup waits; None when none does."""


class EventsGone(Exception):
    """The ring no longer holds what was asked for."""

    def __init__(self, oldest_index: int) -> None:
        super().__init__(f"events before index {oldest_index} are gone")
        self.oldest_index = oldest_index
