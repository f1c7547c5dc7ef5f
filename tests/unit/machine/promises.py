"""What clients and operators were promised, kept apart from any machine: the side that I1, I4 and I5 are read from.

Duty: note acknowledgements, and fail when a later outcome breaks one. It must not know: the state.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from garbagetruck.cluster.machine.model import LeaseState, ReportResult
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    ClaimCleanup,
    CloseSession,
    DiscardCleanup,
    ForgetResource,
    Operation,
    ReleaseLeases,
    RenewLeases,
    RenewSessions,
    ReportCleanup,
    ResumeCleanups,
)
from garbagetruck.cluster.machine.outcomes import (
    Acknowledged,
    CleanupClaimed,
    CleanupReported,
    LeaseGranted,
    LeasesReleased,
    LeasesRenewed,
    Outcome,
    ResourceChanged,
    SessionClosed,
    SessionOpened,
    SessionsRenewed,
)

Key = tuple[str, str]


@dataclass
class Quarantine:
    """What a restore promises (I9)."""

    wait_ms: int
    resumed_ms: int | None = None


@dataclass
class Promises:
    until_ms: dict[str, int] = field(default_factory=dict)
    """Lease or session -> cluster time before which no cleanup may start."""
    resource_of: dict[str, Key] = field(default_factory=dict)
    """Leases that were neither given back nor, by our own reckoning, replaced."""
    session_of: dict[str, str] = field(default_factory=dict)
    last_token: int = 0
    quarantine: "Quarantine | None" = None
    claims_after_a_restore: int = 0
    settled: set[Key] = field(default_factory=set)
    """Resources that left the books rightfully in this batch."""

    def restored(self, clock_ms: int) -> None:
        """From now on: nothing is claimed before it was resumed, and what was promised has run once more after that."""
        left_ms = [until_ms - clock_ms for until_ms in self.until_ms.values()]
        self.quarantine = Quarantine(max([0, *left_ms]))

    def note(self, clock_ms: int, asked: Operation, outcome: Outcome) -> None:
        match asked, outcome:
            case AcquireLease(), LeaseGranted(lease):
                if lease.id == asked.lease_id:
                    self._rises(lease.fencing_token)
                if lease.state is LeaseState.ACTIVE:  # a repeated request may be told of what was given back since
                    self.resource_of[lease.id] = (lease.namespace, lease.resource)
                    self.session_of[lease.id] = lease.session_id
                    self._promise(lease.session_id or lease.id, clock_ms, lease.remaining_ms)
            case _, SessionOpened(session):
                self._promise(session.id, clock_ms, session.remaining_ms)
            case RenewLeases(), LeasesRenewed():
                for lease_id, left_ms in zip(asked.lease_ids, outcome.remaining_ms, strict=True):
                    self._promise(self.session_of.get(lease_id) or lease_id, clock_ms, left_ms)
            case RenewSessions(), SessionsRenewed():
                for session_id, left_ms in zip(asked.session_ids, outcome.remaining_ms, strict=True):
                    self._promise(session_id, clock_ms, left_ms)
            case CloseSession(), SessionClosed():
                self.until_ms.pop(asked.session_id, None)
            case ReleaseLeases(), LeasesReleased():
                self._note_release(asked, outcome)
            case ResumeCleanups(namespace=""), Acknowledged() if self.quarantine and self.quarantine.resumed_ms is None:
                self.quarantine.resumed_ms = clock_ms
            case _:
                self._note_cleanup(clock_ms, asked, outcome)

    def _note_cleanup(self, clock_ms: int, asked: Operation, outcome: Outcome) -> None:
        match asked, outcome:
            case ClaimCleanup(), CleanupClaimed():
                self._rises(outcome.token)
                self._unused(clock_ms, (asked.namespace, asked.resource))
                self._out_of_quarantine(clock_ms)
            case ReportCleanup(result=ReportResult.DONE), CleanupReported():
                self.settled.add((asked.namespace, asked.resource))
            case DiscardCleanup() | ForgetResource(), ResourceChanged():
                key = (asked.namespace, asked.resource)
                self.settled.add(key)
                self.give_back([lease_id for lease_id, resource in self.resource_of.items() if resource == key])
            case _:
                pass

    def _promise(self, what: str, clock_ms: int, left_ms: int) -> None:
        if left_ms > 0:
            self.until_ms[what] = clock_ms + left_ms

    def _note_release(self, asked: ReleaseLeases, outcome: LeasesReleased) -> None:
        refused = {place for place, _ in outcome.refusals}
        for place, lease_id in enumerate(asked.lease_ids):
            if place not in refused:
                resource = self.resource_of.pop(lease_id, None)
                if asked.keep_resource and resource is not None:
                    self.settled.add(resource)

    def give_back(self, lease_ids: Iterable[str]) -> None:
        for lease_id in lease_ids:
            self.resource_of.pop(lease_id, None)

    def _rises(self, token: int) -> None:
        assert token > self.last_token, "I5: tokens rise strictly"
        self.last_token = token

    def _unused(self, clock_ms: int, key: Key) -> None:
        for lease_id, resource in self.resource_of.items():
            until_ms = self.until_ms.get(self.session_of[lease_id] or lease_id, 0)
            assert resource != key or until_ms <= clock_ms, "I1: claimed while an acknowledged lease is unexpired"

    def _out_of_quarantine(self, clock_ms: int) -> None:
        if self.quarantine is None:
            return
        assert self.quarantine.resumed_ms is not None, "I9: claimed before an operator resumed"
        passed_ms = clock_ms - self.quarantine.resumed_ms
        assert passed_ms > self.quarantine.wait_ms or not self.quarantine.wait_ms, "I9: claimed within the longest TTL"
        self.claims_after_a_restore += 1

    def check_owed(self, before: dict[Key, int], after: dict[Key, int]) -> None:
        """I4: generations with a cleanup leave the books cleaned, kept or discarded, and in no other way."""
        for key, generation in before.items():
            assert after.get(key) == generation or key in self.settled, f"I4: {key} vanished"
        self.settled.clear()
