"""Which life of the cluster writes to the storage: named in the log, reserved in the storage, and how it finds out that it
was followed by another.

Duty: give the incarnation that writes, after it was reserved; pause the cluster's own cleanups when a later one is there
(I10's one exception). Only a leader's node asks.

Invariants: nothing is written before the incarnation is reserved. Whatever the storage says, nothing but a pause comes of it:
that of the cluster, in its log, which an operator may end; and that of this process, which knows what it has seen, and ends with it.
Must not know: what is written.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

import structlog

from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine.features import LEVELS
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import NameIncarnation, Operation, PauseCleanups
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.storage.errors import Fenced, IncarnationTaken
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import Incarnation

ID_BYTES = 16
SUBMIT_TIMEOUT_S = 5.0
ACTOR = "storage"

_log = structlog.get_logger(__name__)


class NotYet(Exception):
    """Nothing can be written yet; the message says what it waits for."""


class Proposals(Protocol):
    """The leader's own way to the log."""

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]: ...


class Life:
    """Runs on the node's main loop."""

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        queue: Proposals,
        storage: Storage,
        random: Random,
        now_ms: Callable[[], int],
    ) -> None:
        """`now_ms` is the leader's cluster time."""
        self._node_id = node_id
        self._machine = machine
        self._queue = queue
        self._storage = storage
        self._random = random
        self._now_ms = now_ms
        self.followed = False
        """Whether another life of this cluster was seen: then this process starts no cleanup any more. Any thread may ask."""

    @property
    def present(self) -> Incarnation | None:
        """As the log has it; None while it has no id."""
        machine = self._machine
        return Incarnation(machine.incarnation, machine.incarnation_id) if machine.incarnation_id else None

    async def reserve(self) -> Incarnation:
        """The incarnation of this cluster, which may write now. Raises NotYet, IncarnationTaken, StorageFailed, OperatingError."""
        machine = self._machine
        if not machine.incarnation_id:
            needed = LEVELS[NameIncarnation]
            if machine.feature_level < needed:
                raise NotYet(
                    f"every member has to read feature level {needed}, and the cluster is at {machine.feature_level}"
                )
            drawn = NameIncarnation(self._random.randbytes(ID_BYTES).hex())
            await self._queue.submit((drawn,), timeout_s=SUBMIT_TIMEOUT_S)
        incarnation = self.present
        if incarnation is None:
            raise NotYet("the cluster's incarnation has no id yet")
        await self._storage.incarnations.reserve(incarnation, by=self._node_id)
        return incarnation

    async def refused(self, error: Fenced | IncarnationTaken) -> str:
        """What a refusal means, as a clause. When another life of the cluster is behind it, cleanups pause."""
        own = self._machine.incarnation
        highest = error.highest if isinstance(error, IncarnationTaken) else error.incarnation
        if isinstance(error, Fenced) and highest == own and error.term:
            return str(error)  # a later leader of this very life
        if highest < own:
            return str(error)
        told = f"the storage holds incarnation {highest} of this cluster, and this is incarnation {own} of another id"
        if highest > own:
            told = (
                f"the storage holds incarnation {highest} of this cluster, and this is {own}: it was restored elsewhere"
            )
        self.followed = True  # from now on, not from when the log says so, nor only until somebody resumes
        await self._pause(told)
        return told

    async def _pause(self, told: str) -> None:
        if self._machine.cleanups_paused:
            return
        _log.error("another_incarnation", reason=told, what="cleanups are paused")
        reason = f"{told}; stop this cluster if that one is served"
        try:
            pausing = PauseCleanups(self._now_ms(), "", "", ACTOR, reason)
            await self._queue.submit((pausing,), timeout_s=SUBMIT_TIMEOUT_S)
        except OperatingError as error:
            _log.warning("cleanups_not_paused", reason=str(error))  # the next refusal brings it here again
