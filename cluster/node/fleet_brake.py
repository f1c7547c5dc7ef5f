"""The fleet's brake comes with the cluster, or with the upgrade that brought it.

Duty: while this node leads, and every member can read it, have the brake made, with its defaults; but not before there are as
many holders as it takes to engage, so that nothing newer is in the log of a cluster that has no use for it. Once it is there,
it is the operators': what they have set is never set again.
Must not know: when it engages.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine.brake_operations import SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetSettings
from garbagetruck.cluster.machine.features import LEVELS
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import Operation
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.log import LogStatus

SUBMIT_TIMEOUT_S = 5.0
RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class Proposals(Protocol):
    """The leader's own way to the log."""

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]: ...


class FleetBrakeMaker(ApplyListener):
    """Runs on the node's main loop, beside `run`."""

    def __init__(self, *, machine: Machine, queue: Proposals, leadership: Leadership, clock: ClusterClock) -> None:
        self._machine = machine
        self._queue = queue
        self._leadership = leadership
        self._clock = clock
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """For as long as the node runs."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not self._is_wanted():
                continue
            asked = SetFleetBrake(self._clock.now_ms(), "", "", FleetSettings())
            try:
                await self._queue.submit((asked,), timeout_s=SUBMIT_TIMEOUT_S)
            except OperatingError as error:
                _log.info("fleet_brake_not_made", reason=str(error))
                await asyncio.sleep(RETRY_S)  # the next entry of the log brings it here again

    def _is_wanted(self) -> bool:
        machine = self._machine
        if machine.fleet_brake is not None or not self._leadership.leading:
            return False
        if min(machine.feature_level, machine.level) < LEVELS[SetFleetBrake]:
            return False
        return machine.holders >= FleetSettings().holders_min

    # -- what the applier tells -------------------------------------------------------------------------------

    @override
    def on_applied(self, applied: Applied) -> None:
        """The end of the slice is soon enough."""

    @override
    def on_restored(self) -> None:
        """Nothing: whoever leads has the whole log, and restores nothing."""

    @override
    def on_progress(self) -> None:
        if self._is_wanted():
            self._wanted.set()

    @override
    def on_status(self, status: LogStatus) -> None:
        """The leader's own first entry follows."""
