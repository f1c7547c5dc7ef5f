"""The executor's ledger on a real node: the machine for what is due, the commit queue for what is proposed.

Duty: answer the executor from the replicated state, and tell what is known when a proposal fails.
Invariants: only the leader's own queue is used: claims and reports are never forwarded, since a claim is valid only for
the leadership that proposed it (I8). A leader counts as leading here only while a majority has proved it lately, so that
one that was stopped for an hour starts no effect when it wakes.
Must not know: handlers, slots.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError, OutcomeUnknown
from garbagetruck.cluster.cleanup.ledger import CleanupOperation, Ledger, NotProposedError, ProposalUnknownError
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import Resource
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.clock import ClusterClock, NotLeadingError
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.log import LogStatus

PROPOSAL_TIMEOUT_S = 5.0
PROVED_WITHIN_MS = 1_000
"""How old the proof of leading may be: about one election timeout, since nobody else can lead sooner."""


class NodeLedger(Ledger, ApplyListener):
    """Runs on the node's main loop; `is_leading` may be called from any thread."""

    def __init__(
        self,
        *,
        machine: Machine,
        queue: CommitQueue,
        leadership: Leadership,
        clock: ClusterClock,
        proved_within_ms: int = PROVED_WITHIN_MS,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """`held`: whether no cleanup may start here, whatever the machine says. Safe to call from any thread."""
        self._held = held
        self._machine = machine
        self._queue = queue
        self._leadership = leadership
        self._clock = clock
        self._proved_within_ms = proved_within_ms
        self._work = asyncio.Event()

    @override
    def cluster_id(self) -> str:
        return self._machine.cluster_id

    @override
    def waiting_counts(self) -> Mapping[str, int]:
        return self._machine.ready_counts()

    @override
    def waiting(self, handler: str) -> Mapping[str, Iterator[Resource]]:
        return {} if self._held() else self._machine.waiting(handler)

    @override
    def has_breaker(self, handler: str) -> bool:
        return self._machine.breaker(handler) is not None

    @override
    async def propose(self, operations: Sequence[CleanupOperation]) -> Sequence[Outcome]:
        try:
            return await self._queue.submit(operations, timeout_s=PROPOSAL_TIMEOUT_S)
        except OutcomeUnknown as error:
            raise ProposalUnknownError(str(error)) from error
        except OperatingError as error:
            raise NotProposedError(str(error)) from error

    @override
    def is_leading(self) -> bool:
        try:
            if self._held():
                return False  # to the executor that is the same: no effect begins
            return self._leadership.leading and self._clock.uncredited_ms() <= self._proved_within_ms
        except NotLeadingError:
            return False  # asked from another thread, while leadership was being lost

    @override
    async def wait_for_work(self) -> None:
        await self._work.wait()
        self._work.clear()

    @override
    def clock_ms(self) -> int:
        return self._clock.now_ms() if self._clock.leading else self._machine.clock_ms

    @override
    def on_applied(self, applied: Applied) -> None:
        """One entry says little; `on_progress` looks at the machine once for a whole slice."""

    @override
    def on_restored(self) -> None:
        """Nothing: whoever leads has the whole log, and restores nothing."""

    @override
    def on_progress(self) -> None:
        if self._leadership.leading and self._machine.has_ready():
            self._work.set()

    @override
    def on_status(self, status: LogStatus) -> None:
        """Leadership tells the executor by itself."""
