"""What a scenario plays on: a cluster under load, faults that are put down with their proof, and checks of its own.

Duty: the verbs of scenarios.
Invariants: after `under` every fault is healed, whatever happened inside; a fault whose cure did not bring the cluster back
within `RECOVERY_S_MAX` is a finding, not an error.
Must not know: what is right in general; checkers say that.
Threads: one loop.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Never

from garbagetruck.chaos.checkers.latency import Latency, latency_of
from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.history import NS_PER_S, Attempt, Disturbance, Finding, Gone, Outcome
from garbagetruck.chaos.processes.cluster import Cluster, ClusterFailed
from garbagetruck.chaos.workload.caller import Around, Caller
from garbagetruck.chaos.workload.shelf import Shelf
from garbagetruck.v1 import cleanup_spec_pb2

RECOVERY_S_MAX = 60.0
"""Until when all nodes must serve again after a fault is healed. They take a second or two on an idle machine."""
PROGRESS_S_MAX = 30.0
POLL_S = 0.05


class FaultUnavailable(Exception):
    """The fault cannot be injected here; the message says why. It is in the history, without a proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a scenario is played."""

    seed: int
    duration_s: float
    """For how long scenarios go on that end by time."""
    outage_s: float
    """How long one fault lasts, where a scenario does not say it itself."""
    times: int
    """How often a scenario repeats itself, where it ends by number."""
    nodes: int
    clients: int
    size: int
    """How much of it there is, where a scenario is about a mass."""


class Stage:
    """Everything a scenario may use."""

    def __init__(
        self, *, cluster: Cluster, around: Around, shelf: Shelf, plan: Plan, say: Callable[[str], None]
    ) -> None:
        self.cluster = cluster
        self.shelf = shelf
        self.plan = plan
        self.random = random.Random(f"{plan.seed}/scenario")
        self.caller = Caller("scenario", around, self.random)
        self._history = around.history
        self._now_ns = around.now_ns
        self._say = say

    @asynccontextmanager
    async def under(
        self, fault: Fault, *, recovers: bool = True, recovery_s_max: float = RECOVERY_S_MAX
    ) -> AsyncIterator[None]:
        """Run the body under a fault; then heal it, and wait until the cluster is whole again if it `recovers`."""
        why_not = fault.unavailable(self.cluster)
        if why_not:
            self._put_down(f"{fault.name} (cannot be had here: {why_not})", self._now_ns(), self._now_ns(), fault)
            raise FaultUnavailable(f"{fault.name}: {why_not}")
        began_ns = self._now_ns()
        self._say(fault.name)
        try:
            await fault.inject(self.cluster)
            yield
        finally:
            healed_ns = self._now_ns()
            await fault.heal(self.cluster)
            try:
                if recovers:
                    await self._recover(fault, recovery_s_max)
            finally:
                self._put_down(fault.name, began_ns, healed_ns, fault)

    async def during(self, fault: Fault, seconds: float, *, recovers: bool = True) -> None:
        """Let a fault last that long."""
        async with self.under(fault, recovers=recovers):
            await asyncio.sleep(seconds)

    async def load(self, seconds: float) -> None:
        """Let clients do their work that long, and something of it succeed."""
        await asyncio.sleep(seconds)
        await self.progress()

    @property
    def deleted(self) -> int:
        """How many objects have disappeared from the shelf so far."""
        return sum(1 for _ in self._history.of(Gone))

    async def measured(self, seconds: float) -> Latency:
        """Let clients do their work that long; answers how long their acquires took that were sent meanwhile."""
        since_ns = self._now_ns()
        await asyncio.sleep(seconds)
        return latency_of(self._history, since_ns, self._now_ns())

    async def progress(self) -> None:
        """Wait until a call succeeds that was sent after this one. Within `PROGRESS_S_MAX`, or it is a finding."""
        since_ns, seen = self._now_ns(), len(self._history.records)
        try:
            async with asyncio.timeout(PROGRESS_S_MAX):
                while True:
                    fresh = self._history.records[seen:]
                    if any(isinstance(each, Attempt) and each.ok and each.sent_ns >= since_ns for each in fresh):
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            self.check(f"some call succeeds within {PROGRESS_S_MAX:g} s", holds=False)

    async def acquire(self, key: str, *, ttl_ms: int, handler: str, parameters: dict[str, str]) -> Attempt:
        """A lease that the scenario itself holds. Asked for until it is granted, or it is a failure."""
        cleanup = cleanup_spec_pb2.CleanupSpec(handler=handler, parameters=parameters)
        try:
            async with asyncio.timeout(PROGRESS_S_MAX):
                request_id = self.caller.fresh_request_id()
                while True:
                    attempt = await self.caller.acquire(key, request_id, ttl_ms=ttl_ms, cleanup=cleanup)
                    if attempt.ok:
                        return attempt
                    if attempt.outcome is Outcome.REFUSED:
                        request_id = self.caller.fresh_request_id()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            self.fail(f"{key} can be leased within {PROGRESS_S_MAX:g} s")

    async def within(self, seconds: float, holds: Callable[[], bool]) -> bool:
        """Wait for something that nobody tells us of; answers whether it came."""
        until_ns = self._now_ns() + round(seconds * NS_PER_S)
        while not holds():
            if self._now_ns() > until_ns:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def cannot_tell(self, why: str) -> Never:
        """Leave the run undecided: what it would show is no fault's doing. Raises `FaultUnavailable`."""
        now_ns = self._now_ns()
        self._history.add(Disturbance(fault=why, began_ns=now_ns, healed_ns=now_ns, recovered_ns=now_ns, proof=""))
        self._say(f"  {why}")
        raise FaultUnavailable(why)

    def fail(self, what: str) -> Never:
        """Put down that something does not hold without which the scenario cannot go on. Raises `ClusterFailed`."""
        self.check(what, holds=False)
        raise ClusterFailed(f"it does not hold that {what}")

    def check(self, what: str, *, holds: bool) -> None:
        """Put down something that must hold, and whether it does."""
        self._history.add(Finding(what=what, holds=holds, at_ns=self._now_ns()))
        self._say(f"  {'holds' if holds else 'DOES NOT HOLD'}: {what}")

    def _put_down(self, name: str, began_ns: int, healed_ns: int, fault: Fault) -> None:
        self._history.add(
            Disturbance(
                fault=name,
                began_ns=began_ns,
                healed_ns=healed_ns,
                recovered_ns=self._now_ns(),
                proof=fault.proof,
                cut_off=fault.cut_off,
            )
        )
        self._say(f"  {fault.proof or 'it did not bite'}")

    # -- who is who ---------------------------------------------------------------------------------------------

    async def leader(self) -> str:
        return await self.cluster.leader()

    async def follower(self) -> str:
        """Any node that does not lead now."""
        leader = await self.leader()
        return self.random.choice([node_id for node_id in self.cluster.ids if node_id != leader])

    async def term(self) -> int:
        """The term of a cluster in which all nodes serve."""
        return (await self.cluster.until_healthy(timeout_s=RECOVERY_S_MAX)).term

    async def _recover(self, fault: Fault, recovery_s_max: float) -> None:
        try:
            await self.cluster.until_healthy(timeout_s=recovery_s_max)
        except ClusterFailed as error:
            self.check(f"all nodes serve within {recovery_s_max:g} s after {fault.name}: {error}", holds=False)
            raise
