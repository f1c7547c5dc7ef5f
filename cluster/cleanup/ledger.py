"""The executor's port to the replicated machine, and the two ways in which a proposal can fail.

Duty: say what the executor needs of the node that leads. The node implements it over the commit queue and the machine;
tests implement it over a bare machine or a fake. Everything here runs on the node's main loop, `is_leading` excepted.

Must not know: how proposals are replicated, what a handler is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.model import Resource
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import Outcome

CleanupOperation = ClaimCleanup | ReportCleanup | OpenBreaker


class ProposalError(Exception):
    """Root of what can go wrong with a proposal."""


class NotProposedError(ProposalError):
    """Nothing was applied, and nothing will be: no longer the leader, or the queue is full. May be tried again."""


class ProposalUnknownError(ProposalError):
    """The proposal was sealed and its outcome did not come in time. It may or may not be applied."""


class Ledger(Protocol):
    """What the node that leads offers the executor."""

    def cluster_id(self) -> str:
        """Which cluster this is; known wherever leading has begun."""
        ...

    def waiting_counts(self) -> Mapping[str, int]:
        """How many cleanups wait for a claim, by handler, whether or not they may be claimed now. Costs no look at them."""
        ...

    def waiting(self, handler: str) -> Mapping[str, Iterator[Resource]]:
        """What could be claimed now of one handler: for each namespace that has any, the longest due first.

        To be read before anything else happens on the loop. Cheap however long the lists are: what is not read costs
        nothing.
        """
        ...

    def has_breaker(self, handler: str) -> bool:
        """Whether the handler's breaker is open. What `waiting` tells under it is for one trial."""
        ...

    async def propose(self, operations: Sequence[CleanupOperation]) -> Sequence[Outcome]:
        """Apply the operations in order, one outcome each, preferably in one batch.

        Answers within a bounded time. Raises `NotProposedError`, `ProposalUnknownError`.
        """
        ...

    def is_leading(self) -> bool:
        """Whether this node leads, as far as it can know. Cheap, and safe to call from any thread."""
        ...

    async def wait_for_work(self) -> None:
        """Return when a cleanup may have become claimable since the last return of this method.

        What happens while nobody waits is kept for the next call. May return for nothing, but not all the time.
        """
        ...

    def clock_ms(self) -> int:
        """Cluster time now, in milliseconds, for measuring lateness."""
        ...
