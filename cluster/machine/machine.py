"""The lease state machine: batches in, outcomes out.

Laws:
- `apply` is total and deterministic: any bytes give an answer, and what it reads is in the batch or in the state.
- The clock moves only by a batch's stamp, and never back.
- An exception out of `apply` is a bug or a log from the future; the node must end rather than go on.

It knows nothing of Raft, networks, disks or wall clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from typing_extensions import override

from garbagetruck.cluster.machine import (
    breakers,
    cleanups,
    codec,
    digests,
    features,
    fleet,
    forgetting,
    leases,
    membership,
    namespaces,
    requests,
    resources,
    sessions,
    sweep,
)
from garbagetruck.cluster.machine.brake_operations import CloseBreaker, OpenBreaker, SetFleetBrake
from garbagetruck.cluster.machine.capture import Capture
from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    Batch,
    ClaimCleanup,
    ClientOperation,
    CloseSession,
    CreateCluster,
    DiscardCleanup,
    EnterEpoch,
    ForgetResource,
    KeepChronicles,
    Mutation,
    NameIncarnation,
    NamespaceOperation,
    NoteDigest,
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
    ReportDigest,
    ResumeCleanups,
    RetryCleanup,
    SetBounds,
    SetNamespace,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Outcome, Reason, Refused
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.validation import check_operation


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one entry of the log. `refused` is set when the whole batch was, and then nothing changed."""

    proposer: str
    sequence: int
    epoch: int
    outcomes: tuple[Outcome, ...]
    refused: Refused | None = None


SKIPPED_MAX = 64
"""Skipped entries that the state remembers; of older ones only the digest knows."""
SKIP_LEVEL = 2
"""The feature level that a state needs in which an entry was skipped."""


class Machine(Queries):
    """One replica's state. Not thread-safe: whoever applies also reads, on the same loop.

    `level` is the highest feature level that this node reads, see `features`.
    """

    def __init__(self, state: State | None = None, *, level: int = features.LEVEL_NEWEST) -> None:
        super().__init__(state if state is not None else State())
        self.level = level
        self._begin()

    def restore(self, state: State) -> None:
        """Go on from `state` instead, which the caller gives away."""
        self._state = state
        self._begin()

    def capture(self, applied_index: int) -> Capture:
        """A snapshot of this moment, to be taken in parts between further entries. One at a time."""
        capture = Capture(self._state, applied_index, self._state.epoch)
        capture.begin()
        return capture

    def _begin(self) -> None:
        self._state.ensure_default_namespace()
        self._state.order_ready()

    def apply(self, payload: bytes) -> Applied:
        """Apply one entry. Raises `codec.FormatTooNew` for one of a higher level; anything else raised is a bug."""
        try:
            batch = codec.decode_batch(payload, self.level)
        except codec.Unreadable as error:
            return Applied("", 0, 0, (), Refused(Reason.INVALID_ARGUMENT, str(error)))
        state = self._state
        if not self._may_enter(batch):
            return Applied(
                batch.proposer,
                batch.sequence,
                batch.epoch,
                (),
                Refused(Reason.STALE_EPOCH, f"batch of epoch {batch.epoch}, the log is in epoch {state.epoch}"),
            )
        state.epoch = batch.epoch  # before the sweep, which tells of a claim that its leader is gone
        state.clock_ms = max(state.clock_ms, batch.at_ms)
        requests.evict(state)
        sweep.sweep(state)
        # A batch of the oldest format has nothing in it that a member could not read.
        apply_one = self._apply_one if batch.format == features.LEVEL_OLDEST else self._apply_if_enabled
        outcomes = tuple(apply_one(batch, operation) for operation in batch.operations)
        return Applied(batch.proposer, batch.sequence, batch.epoch, outcomes)

    @override
    def not_enabled(self, operations: Sequence[Operation]) -> Refused | None:
        refusal = super().not_enabled(operations)
        needed = features.format_of(operations)
        if refusal is not None or needed <= self.level:
            return refusal
        return Refused(  # what sends this very node away: it would write what it cannot read
            Reason.FEATURE_NOT_ENABLED,
            f"this node, which leads, reads feature level {self.level} only: let another one lead first",
            metadata=(("level", str(self.level)), ("needed", str(needed)), ("members", "")),
        )

    def skip(self, index: int, checksum: int) -> Applied:
        """Do without the entry at `index`, whose bytes have this CRC32, by order of an operator (see docs/consensus.md).

        Nothing of it is applied, not even its stamp; that it was skipped is part of the state.
        """
        state = self._state
        state.level_used = max(state.level_used, SKIP_LEVEL)
        state.skipped = (*state.skipped, (index, checksum))[-SKIPPED_MAX:]
        told = f"entry {index}, checksum {checksum:08x}, was skipped by order of an operator"
        state.emit(EventType.ENTRY_SKIPPED, detail=told)
        return Applied("", 0, 0, (), Refused(Reason.INVALID_ARGUMENT, told))

    def _may_enter(self, batch: Batch) -> bool:
        """A batch counts in its own epoch only; a later epoch begins with its leader's entry."""
        if batch.epoch == self._state.epoch:
            return True
        opens = bool(batch.operations) and isinstance(batch.operations[0], EnterEpoch)
        return batch.epoch > self._state.epoch and opens

    def _apply_if_enabled(self, batch: Batch, operation: Operation) -> Outcome:
        level = features.level_of(operation)
        state = self._state
        refusal = features.not_enabled(state.members.values(), state.level_used, operation)
        if refusal is not None:
            return refusal
        outcome = self._apply_one(batch, operation)
        if not isinstance(outcome, Refused):
            state.level_used = max(state.level_used, level)
        return outcome

    def _apply_one(self, batch: Batch, operation: Operation) -> Outcome:
        state = self._state
        match operation:
            case EnterEpoch():
                return membership.enter_epoch(state, operation, batch.epoch)
            case CreateCluster() | NameIncarnation() | KeepChronicles():
                return membership.begin(state, operation)
            case RegisterMember():
                return membership.register(state, operation)
            case SetBounds():
                return membership.set_bounds(state, operation)
            case SettleMember():
                return membership.settle(state, operation)
            case NoteDigest():
                return digests.note(state, operation)
            case ReportDigest():
                return digests.report(state, operation)
            case ClaimCleanup() | ReportCleanup() | OpenBreaker():
                return self._apply_for_executor(operation)
            case _:
                return self._apply_for_client(operation)

    def _apply_for_executor(self, operation: ClaimCleanup | ReportCleanup | OpenBreaker) -> Outcome:
        state = self._state
        match operation:
            case ClaimCleanup():
                refusal = namespaces.missing(state, operation.namespace)
                return refusal or cleanups.claim(state, operation, sweep_behind=sweep.behind(state))
            case ReportCleanup():
                return cleanups.report(state, operation)
            case OpenBreaker():
                return breakers.open_breaker(state, operation)
            case _:
                assert_never(operation)

    def _apply_for_client(self, operation: ClientOperation) -> Outcome:
        state = self._state
        refusal = check_operation(operation, state.bounds) or requests.too_old(state, operation.entered_ms)
        if refusal is not None:
            return refusal
        match operation:
            case PauseCleanups() | ResumeCleanups() | SetNamespace() | AddMember() | RemoveMember():
                return self._once(operation)  # these name the whole cluster, or a namespace that may be new
            case CloseBreaker() | SetFleetBrake():
                return self._once(operation)  # likewise
            case _:
                return namespaces.missing(state, operation.namespace) or self._apply_in_namespace(operation)

    def _apply_in_namespace(self, operation: NamespaceOperation) -> Outcome:
        state = self._state
        match operation:
            case AcquireLease():
                return leases.acquire(state, operation)
            case RenewLeases():
                return leases.renew(state, operation)
            case ReleaseLeases():
                return leases.release(state, operation)
            case ReleaseHolder():
                return leases.release_holder(state, operation)
            case OpenSession():
                return sessions.open_session(state, operation)
            case RenewSessions():
                return sessions.renew_sessions(state, operation)
            case CloseSession():
                return sessions.close_session(state, operation)
            case PlaceHold() | RemoveHold() | ForgetResource() | RetryCleanup() | DiscardCleanup():
                return self._once(operation)
            case _:
                assert_never(operation)

    def _once(self, operation: Mutation) -> Outcome:
        """An operator's operation under the request table (I6). A refusal changed nothing, so it is not remembered."""
        state = self._state
        if not operation.request_id:
            return self._mutate(operation)
        key: RequestKey = (operation.namespace, operation.actor, operation.request_id)
        payload = requests.payload_hash(operation)
        first = requests.recall(state, key, payload, requests.OUTCOME, room=requests.OPERATOR_REQUESTS_MAX)
        if isinstance(first, Refused):
            return first
        if first is not None:
            return codec.outcome_from_text(first.subject.removeprefix(requests.OUTCOME))
        outcome = self._mutate(operation)
        if not isinstance(outcome, Refused):
            requests.remember(state, key, payload, requests.OUTCOME + codec.outcome_to_text(outcome))
        return outcome

    def _mutate(self, operation: Mutation) -> Outcome:
        state = self._state
        match operation:
            case PlaceHold():
                return resources.place_hold(state, operation)
            case RemoveHold():
                return resources.remove_hold(state, operation)
            case ForgetResource():
                return forgetting.forget(state, operation)
            case RetryCleanup():
                return cleanups.retry(state, operation)
            case DiscardCleanup():
                return cleanups.discard(state, operation)
            case PauseCleanups() | ResumeCleanups() | CloseBreaker() | SetFleetBrake():
                return self._switch(operation)
            case SetNamespace():
                return namespaces.set_namespace(state, operation)
            case AddMember():
                return membership.add(state, operation)
            case RemoveMember():
                return membership.remove(state, operation)
            case _:
                assert_never(operation)

    def _switch(self, operation: PauseCleanups | ResumeCleanups | CloseBreaker | SetFleetBrake) -> Outcome:
        """What stops cleanups, or has them go on."""
        state = self._state
        match operation:
            case PauseCleanups():
                return namespaces.pause(state, operation)
            case ResumeCleanups():
                return namespaces.resume(state, operation)
            case CloseBreaker():
                return breakers.close_breaker(state, operation)
            case SetFleetBrake():
                return fleet.set_brake(state, operation)
            case _:
                assert_never(operation)
