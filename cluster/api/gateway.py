"""The door's port to the cluster, and the operating errors that it may raise.

The servicers of this package know only this port. The node implements it (`cluster.node.gateway`); tests may
implement it over a bare machine. Everything here runs on the node's main loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import ClientOperation
from garbagetruck.cluster.machine.outcomes import Outcome


class OperatingError(Exception):
    """Root of what goes wrong in the world: network, quorum, load. Never a refusal, never a bug."""

    retry_after_ms: int = 200

    def __init__(self, message: str, *, leader: str | None = None) -> None:
        super().__init__(message)
        self.leader = leader
        """API address of the leader, where one is known."""


class NoLeader(OperatingError):
    """No leader is known, or it could not be reached, within the deadline. Nothing was applied."""


class NoQuorum(OperatingError):
    """There is a leader, and no majority answers it. Nothing was applied."""


class Starting(OperatingError):
    """The node has not caught up with the log. Nothing was applied."""


class NotLeader(OperatingError):
    """The node asked is not the leader (any more). Nothing was applied."""


class Overloaded(OperatingError):
    """The commit queue is full. Nothing was applied."""


class StorageLow(OperatingError):
    """A node's disk is almost full: nothing new is taken, so that renewals still find room. Nothing was applied."""


class FeatureNotEnabled(OperatingError):
    """Not every member's feature level is as high as an operation needs. Nothing was applied."""


class Draining(OperatingError):
    """The node is shutting down and takes no new work. Nothing was applied."""


class NotSealed(OperatingError):
    """The operation was not yet sealed into a batch at its deadline. Nothing was applied."""


class TransferFailed(OperatingError):
    """Leadership was not handed over: the node cannot take it, or did not in time. No operation is concerned."""


class StorageAbsent(OperatingError):
    """The node is told to keep no copies outside the nodes."""


class StorageAway(OperatingError):
    """The storage outside the nodes cannot be reached, or does not answer."""

    retry_after_ms = 1_000


class StorageRefused(OperatingError):
    """The storage outside the nodes answers, and does not take it. Repeating does not help."""


class SnapshotNotTaken(OperatingError):
    """The node could not take a snapshot now."""

    retry_after_ms = 1_000


class MemberUnreachable(OperatingError):
    """The node that a call names does not answer this one."""

    retry_after_ms = 1_000


class OutcomeUnknown(OperatingError):
    """The operation was sealed, or sent to the leader, and no answer came. It may or may not be applied."""


class Consistency(Enum):
    LINEARIZABLE = "linearizable"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ReadView:
    """What a read may answer from. Use it before the next await: the machine moves on."""

    machine: Machine
    clock_ms: int
    """Cluster time to count remaining times from: never before the machine's own."""
    applied_index: int
    age_ms: int
    """Bound on how old the view is: 0 for a linearizable one; time since the last word of a leader otherwise, -1 unknown."""


@dataclass(frozen=True, slots=True)
class Header:
    """What every answer tells of the node and the moment."""

    cluster_id: str
    node_id: str
    leader_id: str
    leader_api: str
    term: int
    applied_index: int
    clock_ms: int
    age_ms: int
    incarnation: int
    """Which life of the cluster this node is of; 0 while nothing of it has reached it."""


class Gateway(Protocol):
    """Any node's way to the replicated machine."""

    def header(self) -> Header: ...

    def entered_ms(self) -> int:
        """Cluster time for `entered_ms` of an operation made now: never ahead of the leader's."""
        ...

    async def submit(self, operations: Sequence[ClientOperation], *, timeout_s: float) -> Sequence[Outcome]:
        """Apply the operations in order, one outcome each; together in one batch where it has room.

        Raises `OperatingError` subclasses as their names say. `timeout_s` is positive.
        """
        ...

    async def read(self, consistency: Consistency, *, timeout_s: float) -> ReadView:
        """Wait until the machine may answer. Raises `NoLeader`, `NoQuorum`, `Starting`, `NotLeader`."""
        ...

    async def transfer_leadership(self, to: str, *, timeout_s: float) -> str:
        """Have `to` lead, or with an empty one whichever other node is most up to date; the answer is who leads then.

        Raises `TransferFailed`, and what `submit` raises. Harmless to repeat.
        """
        ...

    async def wait_applied_past(self, event_index: int) -> None:
        """Return when the machine's last event index exceeds `event_index` (for Watch)."""
        ...
