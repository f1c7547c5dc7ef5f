"""The leader's commit queue: everything that waits becomes one batch, stamped once after it was closed.

Duty: bound what is in flight, give each caller its outcomes, and say of a failure exactly what is known.

- Two batches in flight at most, and no artificial linger: while the log is busy, the next batch gathers.
- The stamp is read from the cluster clock after the batch was closed: nothing in it entered after its stamp.
- An operation not yet sealed into a batch was not applied (`NotSealed`, `NotLeader`, `Overloaded`). A sealed one is
  `OutcomeUnknown` at its deadline; it is `NotLeader` once a later epoch's entry was applied before it, for `apply` will
  refuse it then, if the log still has it.

Must not know: what operations mean, where callers are, why the epoch began.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from garbagetruck.cluster.api.gateway import (
    FeatureNotEnabled,
    NotLeader,
    NotSealed,
    OperatingError,
    OutcomeUnknown,
    StorageLow,
)
from garbagetruck.cluster.machine.machine import Applied
from garbagetruck.cluster.machine.operations import AcquireLease, OpenSession, Operation
from garbagetruck.cluster.machine.outcomes import Outcome, Reason, Refused
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.config.settings import QueueSection
from garbagetruck.cluster.node.fatal import OnFatal, or_die
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.waiting_room import Part, Probe, Submission, WaitingRoom
from garbagetruck.cluster.raft.errors import RaftError

BEGINNINGS = (AcquireLease, OpenSession)
"""What makes the state, and with it every snapshot, larger."""


def _all_enabled(_: Sequence[Operation]) -> Refused | None:
    return None


def _unmetered() -> Callable[[], None]:
    return lambda: None


@dataclass(slots=True)
class _Batch:
    """What was proposed and not yet met by `apply`."""

    epoch: int
    parts: list[Part]
    probes: list[Probe]
    metered: Callable[[], None]
    """To call once it has been applied."""


class CommitQueue:
    """Runs on the node's main loop. Closed until `open`; while closed, everything is refused with `NotLeader`.

    `on_fatal` ends the node when sealing meets a bug. `low_on_space` names the nodes whose disks are almost full.
    `not_enabled` tells why the cluster does not take some operations yet. `meter` is called when a batch is sealed, and
    what it answers when that batch has been applied.
    """

    def __init__(
        self,
        *,
        proposer: Proposer,
        clock: ClusterClock,
        bounds: QueueSection,
        on_fatal: OnFatal,
        meter: Callable[[], Callable[[], None]] = _unmetered,
        low_on_space: Callable[[], frozenset[str]] = frozenset,
        not_enabled: Callable[[Sequence[Operation]], Refused | None] = _all_enabled,
    ) -> None:
        self._not_enabled = not_enabled
        self._meter = meter
        self._low_on_space = low_on_space
        self._proposer = proposer
        self._clock = clock
        self._batches_in_flight_max = bounds.batches_in_flight_max
        self._room = WaitingRoom(bounds)
        self._epoch = 0
        self._in_flight: dict[int, _Batch] = {}
        self._adrift: dict[int, _Batch] = {}
        """Batches of epochs that are over here, by sequence: they may be applied, be refused, or never come."""
        self._tick_wanted = False
        self._stamped_ms = 0
        self._pump_scheduled = False
        self._pump_or_die = or_die(self._pump, on_fatal)

    @property
    def waiting_operations(self) -> int:
        return self._room.operations

    @property
    def batches_in_flight(self) -> int:
        """Batches of the present epoch that were proposed and not yet applied."""
        return len(self._in_flight)

    def stamped_ms(self) -> int | None:
        """The latest stamp in flight, which the machine's clock will soon show; None when nothing is in flight."""
        return self._stamped_ms if self._in_flight else None

    def open(self, epoch: int) -> None:
        """Take operations for `epoch`: its entry was applied here, and the clock leads."""
        assert self._epoch == 0 < epoch, "a queue serves one epoch at a time"
        self._epoch = epoch

    def close(self) -> None:
        """Take nothing more. What waits fails with `NotLeader`; what is sealed waits for its end. Idempotent."""
        self._epoch = 0
        self._tick_wanted = False
        submissions, probes = self._room.clear()
        for submission in submissions:
            self._fail(submission, _lost)
        for batch in self._in_flight.values():
            probes.extend(batch.probes)
            batch.probes.clear()
        _fail_all(probes, _lost)
        self._adrift.update(self._in_flight)
        self._in_flight.clear()

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> tuple[Outcome, ...]:
        """Commit the operations in order, in one batch if they fit into one; the answer has one outcome for each.

        Raises `NotLeader`, `Overloaded`, `StorageLow`, `FeatureNotEnabled`, `NotSealed` (nothing was applied) or
        `OutcomeUnknown`. A caller that is cancelled withdraws what is not sealed.
        """
        self._check_open()
        if not operations:
            return ()
        self._check_space(operations)
        refusal = self._not_enabled(operations)
        if refusal is not None:
            raise FeatureNotEnabled(f"{refusal.message}; nothing was applied")
        loop = asyncio.get_running_loop()
        submission = self._room.admit(tuple(operations), loop.create_future())
        self._schedule_pump()
        timer = loop.call_later(timeout_s, self._expire, submission, timeout_s)
        try:
            return await submission.future
        except asyncio.CancelledError:
            self._room.withdraw(submission)
            raise
        finally:
            timer.cancel()

    def tick(self) -> None:
        """Let a batch leave as soon as one may, though nothing waits: the clock has something to tell. While open."""
        assert self._epoch, "only a leader ticks"
        self._tick_wanted = True
        self._schedule_pump()

    async def probe(self) -> None:
        """Go the way of a renewal that enters now; return when that would have been applied.

        Nothing is logged for it: it rides in the batch that the renewal would be in, or on the last one in flight.
        Raises `Overloaded` where a renewal would be refused, `NotLeader` when leadership is lost on the way.
        """
        self._check_open()
        probe: Probe = asyncio.get_running_loop().create_future()
        self._room.admit_probe(probe)
        self._schedule_pump()
        await probe

    def on_applied(self, applied: Applied, epoch: int) -> None:
        """Hear of every batch that `apply` met, whoever proposed it; `epoch` is the machine's afterwards."""
        if applied.proposer == self._proposer.id:
            batch = self._in_flight.pop(applied.sequence, None) or self._adrift.pop(applied.sequence, None)
            if batch is not None:
                self._settle(batch, applied)
        if self._adrift:
            for sequence in [number for number, batch in self._adrift.items() if batch.epoch < epoch]:
                self._refuse(self._adrift.pop(sequence), _lost)
        self._schedule_pump()

    def lose_track(self) -> None:
        """The machine went on from a snapshot. What was in flight may be in it, or not: nobody will know."""
        assert not self._in_flight, "a leader's log is never replaced"
        adrift, self._adrift = self._adrift, {}
        for batch in adrift.values():
            for part in batch.parts:
                self._room.withdraw(part.submission)
                if not part.submission.future.done():
                    message = (
                        "this node lost track of it when it caught up from a snapshot; it may or may not be applied"
                    )
                    part.submission.future.set_exception(OutcomeUnknown(message))
            _fail_all(batch.probes, _lost)

    # -- sealing ----------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._epoch:
            raise NotLeader("this node does not lead; nothing was applied")

    def _check_space(self, operations: Sequence[Operation]) -> None:
        """What begins something waits for space on the disks; what ends or keeps it does not."""
        low = self._low_on_space()
        if low and any(isinstance(operation, BEGINNINGS) for operation in operations):
            names = ", ".join(sorted(low))
            raise StorageLow(
                f"the disk of {names} is almost full: no lease or session is begun until there is space again; renewals"
                " and releases go on; nothing was applied"
            )

    def _schedule_pump(self) -> None:
        """Seal after everything that is ready on the loop has entered, and not before."""
        if self._epoch and not self._pump_scheduled and (self._room or self._tick_wanted):
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump_or_die)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._epoch and (self._room or self._tick_wanted):
            if len(self._in_flight) >= self._batches_in_flight_max:
                return
            parts, probes = self._room.take()
            if parts or self._tick_wanted:
                self._seal(parts, probes)
            elif self._in_flight:
                next(reversed(self._in_flight.values())).probes.extend(probes)
            else:
                _resolve(probes)

    def _seal(self, parts: list[Part], probes: list[Probe]) -> None:
        self._tick_wanted = False
        batch = _Batch(self._epoch, parts, probes, self._meter())
        at_ms = self._clock.now_ms()
        operations = [operation for part in parts for operation in part.operations]
        try:
            sequence = self._proposer.propose(epoch=self._epoch, at_ms=at_ms, operations=operations)
        except RaftError as error:
            message = f"the log did not take the batch: {error}; nothing was applied"
            self._refuse(batch, lambda: NotSealed(message))
            return
        self._stamped_ms = at_ms
        self._in_flight[sequence] = batch

    # -- outcomes ---------------------------------------------------------------------------------------------

    def _settle(self, batch: _Batch, applied: Applied) -> None:
        if applied.refused is not None:
            assert applied.refused.reason is Reason.STALE_EPOCH, f"an own batch was refused: {applied.refused}"
            self._refuse(batch, _lost)
            return
        start = 0
        for part in batch.parts:
            end = start + len(part.operations)
            submission = part.submission
            submission.outcomes.extend(applied.outcomes[start:end])
            if len(submission.outcomes) == submission.expected and not submission.future.done():
                submission.future.set_result(tuple(submission.outcomes))
            start = end
        batch.metered()
        assert start == len(applied.outcomes), "there is one outcome for each operation"
        _resolve(batch.probes)

    def _refuse(self, batch: _Batch, error: Callable[[], OperatingError]) -> None:
        """Nothing of this batch was applied, nor will be."""
        for part in batch.parts:
            part.submission.sealed -= 1
            self._fail(part.submission, error)
        _fail_all(batch.probes, error)

    def _fail(self, submission: Submission, error: Callable[[], OperatingError]) -> None:
        """End a submission of which some part was not applied. What of its other parts?"""
        self._room.withdraw(submission)
        if submission.future.done():
            return
        if submission.sealed:
            message = "leadership was lost while a part of it was in flight; it may or may not be applied"
            submission.future.set_exception(OutcomeUnknown(message))
        else:
            submission.future.set_exception(error())

    def _expire(self, submission: Submission, timeout_s: float) -> None:
        if submission.future.done():
            return
        self._room.withdraw(submission)
        if submission.sealed:
            error: OperatingError = OutcomeUnknown(
                f"sealed into a batch, but no outcome within {timeout_s:.3f} s; it may or may not be applied"
            )
        else:
            error = NotSealed(f"not sealed into a batch within {timeout_s:.3f} s; nothing was applied")
        submission.future.set_exception(error)


def _lost() -> NotLeader:
    return NotLeader("this node lost leadership before the operation was applied; nothing was applied")


def _fail_all(probes: Iterable[Probe], error: Callable[[], OperatingError]) -> None:
    for probe in probes:
        if not probe.done():
            probe.set_exception(error())


def _resolve(probes: Iterable[Probe]) -> None:
    for probe in probes:
        if not probe.done():
            probe.set_result(None)
