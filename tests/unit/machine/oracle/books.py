"""What the oracle remembers: plain mutable records in plain dictionaries, found by scanning.

It must not know: any module of the machine but its records, operations and outcomes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    CleanupSpec,
    Member,
    NamespaceLimits,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import Operation
from garbagetruck.cluster.machine.outcomes import NO_RETRY, Outcome, Reason, Refused

ThingKey = tuple[str, str]
RequestKey = tuple[str, str, str]


def no(reason: Reason, field: str = "", retry_after_ms: int = NO_RETRY) -> Refused:
    return Refused(reason, "", field, retry_after_ms)


@dataclass
class Lease:
    namespace: str
    resource: str
    holder: str
    token: int
    ttl_ms: int
    deadline_ms: int
    session: str


@dataclass
class Session:
    namespace: str
    holder: str
    token: int
    ttl_ms: int
    deadline_ms: int


@dataclass
class Ended:
    """A lease or a session that is over."""

    namespace: str
    resource: str
    holder: str
    token: int
    ttl_ms: int
    session: str
    ended_ms: int
    why: str


@dataclass
class Thing:
    """A resource."""

    generation: int
    cleanup: CleanupSpec | None
    grace_ms: int
    fencing_token: int
    state: ResourceState = ResourceState.LIVE
    revision: int = 1
    leases: list[str] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    due_ms: int = 0
    claims: int = 0
    failures: int = 0
    claim_token: int = 0
    claim_epoch: int = 0
    claim_deadline_ms: int = 0
    error: str = ""

    def touch(self) -> None:
        self.revision += 1


@dataclass
class Space:
    """A namespace."""

    revision: int
    limits: NamespaceLimits
    cleanup: CleanupSettings
    brake: BrakeSettings
    paused: bool = False
    braked: bool = False
    known: int = 0
    not_before_ms: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


@dataclass
class Books:
    """`delay_of` tells how long the machine makes a claim's resource wait again: the jitter is its own business."""

    delay_of: Callable[[int], int]
    clock: int = 0
    epoch: int = 0
    incarnation: int = 0
    named: bool = False
    tokens: int = 0
    paused: bool = False
    """Member -> feature level."""
    notes: dict[int, int] = field(default_factory=dict)
    """Index -> the digest that was noted."""
    reports: dict[int, dict[str, int]] = field(default_factory=dict)
    """Index -> node -> the digest that it told, from the first difference on."""
    wait_ms: int = -1
    """How long a restored cluster waits once it is resumed; -1 when there is nothing to wait for."""
    wait_until_ms: int = -1
    """Until when, once that is known."""
    bounds: Bounds = field(default_factory=Bounds)
    spaces: dict[str, Space] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    ended_sessions: dict[str, Ended] = field(default_factory=dict)
    draining: dict[str, Ended] = field(default_factory=dict)
    things: dict[ThingKey, Thing] = field(default_factory=dict)
    buried: dict[ThingKey, int] = field(default_factory=dict)
    """Cleaned resources and the generation that was."""
    used: int = 1
    """The highest feature level of anything that was ever done."""
    members: dict[str, Member] = field(default_factory=dict)
    requests: dict[RequestKey, tuple[Operation, int, str | Outcome]] = field(default_factory=dict)

    def level(self, without: str = "") -> int:
        """What all who vote can read, and no less than what was used. Whoever is sent away need not, unless it is alone."""
        voting = [each for each in self.members.values() if each.role != "learner"]
        if len(self.members) > 1:
            voting = [each for each in voting if each.id != without]
        return max(self.used, min((max(1, each.feature_level) for each in voting), default=1))

    def token(self) -> int:
        self.tokens += 1
        return self.incarnation * 2**40 + self.tokens

    def after(self, wait_ms: int) -> int:
        """When a wait is over that begins now, somewhere within the present millisecond."""
        return self.clock + (wait_ms + 1 if wait_ms > 0 else 0)

    def waits(self) -> int:
        """How long no cleanup may begin because of a restore; -1 when one may."""
        if self.wait_until_ms < 0:
            return self.wait_ms
        return self.wait_until_ms - self.clock if self.wait_until_ms > self.clock else -1

    def leases_of(self, namespace: str, holder: str) -> list[str]:
        return [key for key, each in self.leases.items() if (each.namespace, each.holder) == (namespace, holder)]

    def leases_in(self, session: str) -> list[str]:
        return [key for key, each in self.leases.items() if each.session == session]

    def holders(self, namespace: str) -> set[str]:
        return {each.holder for each in self.leases.values() if each.namespace == namespace}

    def contradicted(self, index: int) -> bool:
        return any(digest != self.notes[index] for digest in self.reports.get(index, {}).values())

    def forget_oldest(self) -> None:
        while len(self.ended) > self.bounds.ended_leases_max:
            del self.ended[next(iter(self.ended))]
        while len(self.ended_sessions) > self.bounds.ended_sessions_max:
            del self.ended_sessions[next(iter(self.ended_sessions))]
        while len(self.buried) > self.bounds.tombstones_max:
            del self.buried[next(iter(self.buried))]
