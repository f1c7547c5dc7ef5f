"""The leader's word that resources' stories are kept from here on, once every member can read them.

Duty: when all members have the feature level, and nothing of it was used yet, log `KeepChronicles`: an entry of that
level, so that whoever is older refuses the log by name instead of going on with a state that the others do not have (I3).
Must not know: what a chronicle is. Runs on the node's main loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine.features import LEVELS
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import KeepChronicles, Operation
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.raft.log import LogStatus

TIMEOUT_S = 5.0
"""Of the entry."""
PAUSE_MS = 1_000
"""Before another attempt."""

_log = structlog.get_logger(__name__)


class Leading(Protocol):
    """Whether this node leads."""

    @property
    def leading(self) -> bool: ...


class Proposals(Protocol):
    """The leader's own way to the log."""

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]: ...


class Chronicler(ApplyListener):
    """Writes at most one entry in the life of a cluster, as a rule."""

    def __init__(
        self, *, machine: Machine, leading: Leading, queue: Proposals, monotonic_ns: Callable[[], int]
    ) -> None:
        self._machine = machine
        self._leading = leading
        self._queue = queue
        self._monotonic_ns = monotonic_ns
        self._under_way: asyncio.Task[None] | None = None
        self._quiet_until_ns = 0

    async def stop(self) -> None:
        """Send nothing more. Idempotent."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    @override
    def on_applied(self, applied: Applied) -> None:
        """Nothing: it is asked for when the node has caught up with what there is."""

    @override
    def on_restored(self) -> None:
        """Nothing: likewise."""

    @override
    def on_status(self, status: LogStatus) -> None:
        """Nothing: likewise."""

    @override
    def on_progress(self) -> None:
        if self._machine.keeps_chronicles or not self._leading.leading or self._under_way is not None:
            return
        if self._monotonic_ns() < self._quiet_until_ns or self._machine.feature_level < LEVELS[KeepChronicles]:
            return
        self._under_way = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> None:
        try:
            await self._queue.submit((KeepChronicles(),), timeout_s=TIMEOUT_S)
        except OperatingError as error:
            _log.debug("chronicles_not_begun", reason=str(error))
        finally:
            self._quiet_until_ns = self._monotonic_ns() + PAUSE_MS * NS_PER_MS
            self._under_way = None
