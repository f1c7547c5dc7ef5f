"""Where operations wait for the leader's next batch: bounded, in order, with room kept for renewals.

Duty: admit or refuse, keep order, hand out what fits into one batch, forget what was withdrawn.
Invariants: at most `operations_max` operations and `WAITING_BATCHES_MAX` full batches of bytes wait; a share
`renewals_reserved` of both is for renewals only, so that load never ends a lease.
Must not know: stamps, epochs, the log.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from garbagetruck.cluster.api.gateway import Overloaded
from garbagetruck.cluster.machine.codec import encode_operations
from garbagetruck.cluster.machine.operations import Operation, ReleaseLeases, RenewLeases, RenewSessions
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.config.settings import QueueSection

RENEWALS = (RenewLeases, RenewSessions, ReleaseLeases)
"""What may use the reserved room: what keeps leases alive, and what makes room."""

OperationT = TypeVar("OperationT", bound=Operation)

WAITING_BATCHES_MAX = 64
"""The bytes that may wait, in full batches. At it, more is refused, as at the bound on operations."""


class Submission:
    """One caller's operations, and what became of them so far."""

    __slots__ = ("expected", "future", "outcomes", "sealed", "serials")

    def __init__(self, expected: int, future: "asyncio.Future[tuple[Outcome, ...]]") -> None:
        self.expected = expected
        self.future = future
        self.outcomes: list[Outcome] = []
        self.serials: list[int] = []
        """Of its parts that wait."""
        self.sealed = 0
        """How many of its parts were sealed into a batch and may have been, or may yet be, applied."""


@dataclass(slots=True)
class Part:
    """What goes into one batch together: a whole submission, or as much of a large one as fits."""

    submission: Submission
    operations: tuple[Operation, ...]
    size_bytes: int


Probe = asyncio.Future[None]
"""Waits in line like a renewal, takes no room and leaves no trace in the log."""


class WaitingRoom:
    """Runs on the node's main loop."""

    def __init__(self, bounds: QueueSection) -> None:
        self._bounds = bounds
        self._bytes_max = bounds.batch_bytes_max * WAITING_BATCHES_MAX
        self._line: OrderedDict[int, Part | Probe] = OrderedDict()
        self._serial = 0
        self._operations = 0
        self._size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._line)

    @property
    def operations(self) -> int:
        """How many operations wait."""
        return self._operations

    def admit(self, operations: tuple[Operation, ...], future: "asyncio.Future[tuple[Outcome, ...]]") -> Submission:
        """Let the operations wait, in one part if that fits into one batch. Raises `Overloaded`."""
        size_bytes = len(encode_operations(operations))
        renewals = all(isinstance(operation, RENEWALS) for operation in operations)
        self._check_room(len(operations), size_bytes, renewals=renewals)
        submission = Submission(len(operations), future)
        if len(operations) <= self._bounds.batch_operations_max and size_bytes <= self._bounds.batch_bytes_max:
            self._put(Part(submission, operations, size_bytes))
        else:
            bounds = self._bounds
            for some, some_bytes in cut(operations, bounds.batch_operations_max, bounds.batch_bytes_max):
                self._put(Part(submission, some, some_bytes))
        return submission

    def admit_probe(self, probe: Probe) -> None:
        """Let a probe wait where a renewal that came now would. Raises `Overloaded` where that would be refused."""
        self._check_room(1, 0, renewals=True)
        self._serial += 1
        self._line[self._serial] = probe

    def withdraw(self, submission: Submission) -> None:
        """Forget what of it still waits."""
        for serial in submission.serials:
            part = self._line.pop(serial)
            assert isinstance(part, Part)
            self._count(part, -1)
        submission.serials.clear()

    def take(self) -> tuple[list[Part], list[Probe]]:
        """Close a batch: remove from the front what fits into one, and the probes on the way."""
        parts: list[Part] = []
        probes: list[Probe] = []
        operations = size_bytes = 0
        while self._line:
            serial, first = next(iter(self._line.items()))
            if isinstance(first, Part):
                operations += len(first.operations)
                size_bytes += first.size_bytes
                full = operations > self._bounds.batch_operations_max or size_bytes > self._bounds.batch_bytes_max
                if parts and full:
                    break
                parts.append(first)
                self._count(first, -1)
                first.submission.serials.remove(serial)
                first.submission.sealed += 1
            else:
                probes.append(first)
            del self._line[serial]
        return parts, probes

    def clear(self) -> tuple[list[Submission], list[Probe]]:
        """Remove everything: the answer is whom to tell."""
        submissions: dict[int, Submission] = {}
        probes: list[Probe] = []
        while self._line:
            _, first = self._line.popitem(last=False)
            if isinstance(first, Part):
                self._count(first, -1)
                first.submission.serials.clear()
                submissions[id(first.submission)] = first.submission
            else:
                probes.append(first)
        return list(submissions.values()), probes

    def _check_room(self, operations: int, size_bytes: int, *, renewals: bool) -> None:
        share = 1.0 if renewals else 1.0 - self._bounds.renewals_reserved
        operations_max, bytes_max = int(self._bounds.operations_max * share), int(self._bytes_max * share)
        if self._operations + operations > operations_max or self._size_bytes + size_bytes > bytes_max:
            raise Overloaded(
                f"{self._operations} operations ({self._size_bytes} bytes) wait at the leader, which lets "
                f"{operations_max} ({bytes_max} bytes) of this kind wait; nothing was applied"
            )

    def _put(self, part: Part) -> None:
        self._serial += 1
        self._line[self._serial] = part
        part.submission.serials.append(self._serial)
        self._count(part, 1)

    def _count(self, part: Part, change: int) -> None:
        self._operations += change * len(part.operations)
        self._size_bytes += change * part.size_bytes


def cut(
    operations: tuple[OperationT, ...], operations_max: int, bytes_max: int
) -> list[tuple[tuple[OperationT, ...], int]]:
    """Cut what is too large to go together into pieces that are not, each with its encoded size; none is empty."""
    pieces: list[tuple[tuple[OperationT, ...], int]] = []
    taken: list[OperationT] = []
    taken_bytes = 0
    for operation in operations:
        size_bytes = len(encode_operations((operation,)))
        if taken and (len(taken) == operations_max or taken_bytes + size_bytes > bytes_max):
            pieces.append((tuple(taken), taken_bytes))
            taken, taken_bytes = [], 0
        taken.append(operation)
        taken_bytes += size_bytes
    pieces.append((tuple(taken), taken_bytes))
    return pieces
