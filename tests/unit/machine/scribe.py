"""A log with one machine at its end: writes batches as a leader does, and hands back what became of them.

Duty: make a test's history short to read. It must not know: how the machine works.
"""

from dataclasses import dataclass, field
from typing import Self, TypeVar

from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.features import LEVEL_NEWEST, format_of
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import (
    DEFAULT_NAMESPACE,
    Bounds,
    BrakeSettings,
    CleanupSettings,
    CleanupSpec,
    Event,
    EventType,
    Labels,
    Member,
    MemberRole,
    NamespaceLimits,
    ReportResult,
    Resource,
)
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    Batch,
    ClaimCleanup,
    CloseSession,
    CreateCluster,
    DiscardCleanup,
    EnterEpoch,
    ForgetResource,
    OpenSession,
    Operation,
    PauseCleanups,
    PlaceHold,
    RegisterMember,
    ReleaseHolder,
    ReleaseLeases,
    RemoveHold,
    RemoveMember,
    RenewLeases,
    RenewSessions,
    ReportCleanup,
    ResumeCleanups,
    RetryCleanup,
    SetBounds,
    SetNamespace,
)
from garbagetruck.cluster.machine.outcomes import (
    Acknowledged,
    CleanupClaimed,
    LeaseGranted,
    LeasesReleased,
    LeasesRenewed,
    LeaseView,
    Outcome,
    Reason,
    Refused,
    SessionOpened,
    SessionView,
)

T = TypeVar("T")

INCARNATION = 1
EXECUTOR = "n1"


def member(number: int, *, version: str = "", disk_id: str = "", role: MemberRole = MemberRole.VOTER) -> Member:
    """Node number so and so, as its record looks."""
    api, http, raft, peer = (f"127.0.0.1:{7_000 + hundred + number}" for hundred in (100, 200, 300, 400))
    return Member(f"n{number}", api, http, raft, version, disk_id, 2 * bool(version), peer, role)


def founder(number: int) -> Member:
    """A node's record as the first leader writes it, which may not tell what level 1 does not know."""
    return replace(member(number, version="1.0.0", disk_id=f"disk-{number}"), peer="")


MEMBER = replace(founder(1), feature_level=1)
AT_ONCE = CleanupSettings(grace_ms_min=0, attempts_max=3, retry_delay_ms_min=1_000, retry_delay_ms_max=8_000)
"""No grace, so that an orphan is due at once."""
NO_BRAKE = BrakeSettings(enabled=False)


def file(target: str) -> CleanupSpec:
    return CleanupSpec("file", (("path", target),), f"file:/{target}")


def refused(outcome: object, reason: Reason) -> Refused:
    """The outcome, which must be a refusal for this reason."""
    assert isinstance(outcome, Refused), f"expected {reason}, got {outcome}"
    assert outcome.reason is reason, f"expected {reason}, got {outcome}"
    assert outcome.message, "a refusal says why"
    return outcome


def accepted(outcome: object, kind: type[T]) -> T:
    assert isinstance(outcome, kind), f"expected {kind.__name__}, got {outcome}"
    return outcome


@dataclass
class Scribe:
    """`at_ms` is the cluster time of the next batch. Every entry is kept in `payloads`."""

    machine: Machine = field(default_factory=Machine)
    at_ms: int = 0
    epoch: int = 0
    namespace: str = DEFAULT_NAMESPACE
    payloads: list[bytes] = field(default_factory=list)
    drawn: int = 0

    def begin(self, *, cleanup: CleanupSettings = AT_ONCE, brake: BrakeSettings = NO_BRAKE) -> Self:
        """A cluster in epoch 1 at time 1,000 that cleans at once and, unless asked for, has no brake."""
        self.at_ms = 1_000
        self.enter_epoch()
        accepted(self.one(CreateCluster("cluster-1", INCARNATION, (MEMBER,))), Acknowledged)
        self.settings(cleanup=cleanup, brake=brake)
        return self

    def upgrade(self) -> None:
        """Have the one member announce all that this version can read."""
        accepted(self.one(RegisterMember(replace(MEMBER, feature_level=LEVEL_NEWEST))), Acknowledged)

    # -- batches ----------------------------------------------------------------------------------------------

    def write(self, *operations: Operation) -> Applied:
        batch = Batch(format_of(operations), self.epoch, self.at_ms, EXECUTOR, len(self.payloads) + 1, operations)
        return self.write_bytes(codec.encode_batch(batch))

    def write_bytes(self, payload: bytes) -> Applied:
        self.payloads.append(payload)
        return self.machine.apply(payload)

    def many(self, *operations: Operation) -> tuple[Outcome, ...]:
        applied = self.write(*operations)
        assert applied.refused is None, applied.refused
        assert len(applied.outcomes) == len(operations)
        return applied.outcomes

    def one(self, operation: Operation) -> Outcome:
        return self.many(operation)[0]

    def advance(self, by_ms: int) -> None:
        """Let time pass, and be swept once."""
        self.at_ms += by_ms
        self.many()

    def outlast(self, span_ms: int) -> None:
        """Let more than `span_ms` pass, by one millisecond: what was given that long is over."""
        self.advance(span_ms + 1)

    def settle(self) -> int:
        """Sweep until nothing is behind; return how many batches that took."""
        batches = 0
        while self.machine.sweep_backlog():
            self.many()
            batches += 1
        return batches

    def enter_epoch(self, leader: str = EXECUTOR) -> None:
        self.epoch += 1
        self.one(EnterEpoch(leader))

    def draw(self, kind: str) -> str:
        """An id as a door would draw it: never the same twice."""
        self.drawn += 1
        return f"{kind}-{self.drawn}"

    # -- leases and sessions ----------------------------------------------------------------------------------

    def acquiring(
        self,
        resource: str = "r",
        holder: str = "h",
        ttl_ms: int = 10_000,
        *,
        session: str = "",
        cleanup: CleanupSpec | None = None,
        grace_ms: int = 0,
        request_id: str = "",
        lease_id: str = "",
        labels: Labels = (),
    ) -> AcquireLease:
        ttl_ms = 0 if session else ttl_ms
        drawn = lease_id or self.draw("lease")
        return AcquireLease(
            self.at_ms, self.namespace, request_id, drawn, resource, holder, ttl_ms, session, cleanup, grace_ms, labels
        )

    def lease(
        self,
        resource: str = "r",
        holder: str = "h",
        ttl_ms: int = 10_000,
        *,
        session: str = "",
        cleanup: CleanupSpec | None = None,
        grace_ms: int = 0,
        labels: Labels = (),
    ) -> LeaseView:
        """Acquire, and insist that it was granted."""
        operation = self.acquiring(
            resource, holder, ttl_ms, session=session, cleanup=cleanup, grace_ms=grace_ms, labels=labels
        )
        return accepted(self.one(operation), LeaseGranted).lease

    def renewing(self, *lease_ids: str, ttl_ms: int = 0) -> RenewLeases:
        return RenewLeases(self.at_ms, self.namespace, lease_ids, ttl_ms)

    def renew(self, *lease_ids: str, ttl_ms: int = 0) -> LeasesRenewed:
        return accepted(self.one(self.renewing(*lease_ids, ttl_ms=ttl_ms)), LeasesRenewed)

    def releasing(self, *lease_ids: str, keep: bool = False) -> ReleaseLeases:
        return ReleaseLeases(self.at_ms, self.namespace, lease_ids, keep)

    def release(self, *lease_ids: str, keep: bool = False) -> LeasesReleased:
        return accepted(self.one(self.releasing(*lease_ids, keep=keep)), LeasesReleased)

    def release_holder(self, holder: str, limit: int = 1_000) -> LeasesReleased:
        return accepted(self.one(ReleaseHolder(self.at_ms, self.namespace, holder, limit)), LeasesReleased)

    def opening(self, holder: str = "h", ttl_ms: int = 10_000, *, request_id: str = "") -> OpenSession:
        return OpenSession(self.at_ms, self.namespace, request_id, self.draw("session"), holder, ttl_ms)

    def session(self, holder: str = "h", ttl_ms: int = 10_000) -> SessionView:
        return accepted(self.one(self.opening(holder, ttl_ms)), SessionOpened).session

    def heartbeat(self, *session_ids: str) -> RenewSessions:
        return RenewSessions(self.at_ms, self.namespace, session_ids)

    def closing(self, session_id: str) -> CloseSession:
        return CloseSession(self.at_ms, self.namespace, session_id)

    # -- resources and cleanups -------------------------------------------------------------------------------

    def resource(self, name: str = "r") -> Resource:
        return accepted(self.machine.resource(self.namespace, name), Resource)

    def holding(
        self, resource: str = "r", hold_id: str = "hold", request_id: str = "", *, reason: str = "look first"
    ) -> PlaceHold:
        return PlaceHold(self.at_ms, self.namespace, request_id, "operator", resource, hold_id, reason)

    def unholding(self, resource: str = "r", hold_id: str = "hold", request_id: str = "") -> RemoveHold:
        return RemoveHold(self.at_ms, self.namespace, request_id, "operator", resource, hold_id)

    def forgetting(
        self, name: str = "r", request_id: str = "", *, generation: int = 0, force: bool = False
    ) -> ForgetResource:
        return ForgetResource(self.at_ms, self.namespace, request_id, "operator", name, generation, "moved away", force)

    def claiming(self, name: str = "r", duration_ms: int = 5_000, *, identity: str = "inode-7") -> ClaimCleanup:
        """A claim on the resource exactly as it is now."""
        seen = self.resource(name)
        return ClaimCleanup(self.namespace, name, seen.generation, seen.revision, EXECUTOR, duration_ms, identity)

    def claim(self, name: str = "r", duration_ms: int = 5_000) -> CleanupClaimed:
        return accepted(self.one(self.claiming(name, duration_ms)), CleanupClaimed)

    def reporting(
        self, token: int, result: ReportResult = ReportResult.DONE, name: str = "r", error: str = ""
    ) -> ReportCleanup:
        return ReportCleanup(self.namespace, name, token, result, error)

    def retrying(self, name: str = "r", request_id: str = "") -> RetryCleanup:
        return RetryCleanup(self.at_ms, self.namespace, request_id, "operator", name)

    def discarding(self, name: str = "r", request_id: str = "") -> DiscardCleanup:
        return DiscardCleanup(self.at_ms, self.namespace, request_id, "operator", name, "not ours")

    def pausing(self, namespace: str = "", request_id: str = "") -> PauseCleanups:
        return PauseCleanups(self.at_ms, namespace, request_id, "operator", "look first")

    def resuming(self, namespace: str = "", request_id: str = "", *, release_brake: bool = False) -> ResumeCleanups:
        return ResumeCleanups(self.at_ms, namespace, request_id, "operator", "looked", release_brake)

    # -- members ----------------------------------------------------------------------------------------------

    def adding(self, wanted: Member, request_id: str = "") -> AddMember:
        return AddMember(self.at_ms, request_id, "operator", wanted)

    def removing(self, member_id: str, request_id: str = "") -> RemoveMember:
        return RemoveMember(self.at_ms, request_id, "operator", member_id)

    # -- settings and events ----------------------------------------------------------------------------------

    def setting(
        self,
        namespace: str = "",
        *,
        limits: NamespaceLimits | None = None,
        cleanup: CleanupSettings = AT_ONCE,
        brake: BrakeSettings = NO_BRAKE,
        revision: int = 0,
        request_id: str = "",
        given: tuple[str, ...] | None = None,
    ) -> SetNamespace:
        return SetNamespace(
            self.at_ms,
            namespace or self.namespace,
            request_id,
            "operator",
            limits or NamespaceLimits(),
            cleanup,
            brake,
            revision,
            given,
        )

    def settings(
        self,
        namespace: str = "",
        *,
        limits: NamespaceLimits | None = None,
        cleanup: CleanupSettings = AT_ONCE,
        brake: BrakeSettings = NO_BRAKE,
    ) -> None:
        accepted(self.one(self.setting(namespace, limits=limits, cleanup=cleanup, brake=brake)), Acknowledged)

    def bounds(self, bounds: Bounds) -> None:
        accepted(self.one(SetBounds(bounds)), Acknowledged)

    def events(self, kind: EventType | None = None, after: int = 0) -> list[Event]:
        return [each for each in self.machine.events_after(after, 1_000_000) if kind is None or each.type is kind]
