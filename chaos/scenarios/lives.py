"""Scenarios of a cluster that is taken for dead, and lives (I9, I10)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import grpc.aio

from garbagetruck.chaos.faults.databases import DatabaseCutOff
from garbagetruck.chaos.faults.lives import FOLLOWED, RestoredElsewhere
from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.history import NS_PER_MS, Attempt
from garbagetruck.chaos.processes import elsewhere, operating
from garbagetruck.chaos.scenarios.catching_up import caught_up, keeps_the_password
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage
from garbagetruck.chaos.workload.caller import Caller
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import resource_pb2

FILES = 6
"""Of holders that move, and as many of holders who never come back."""
SHORT_MS = 500
TTL_MS, LONGER_MS = 15_000, 60_000
"""Longer than a restore takes; and longer than the old cluster is cut off, too."""
LOAD_S = 2.0
SOON_S_MAX = 30.0
RESUMED_S = 12.0
"""Longer than the old cluster waits before it asks PostgreSQL again."""
LANDED_S = 3.0
"""Longer than an attempt that had begun before the pause may take."""
LOOK_S = 0.2


@scenario("mistaken-loss", covers=(19, 22), postgres=True, ends_serving=False)
async def mistaken_loss(stage: Stage) -> None:
    """The cluster is restored elsewhere while it lives, and holders move there: it pauses, whatever its operator does, and deletes nothing."""
    await _restored_beside(stage, TTL_MS, cut_off=False)


@scenario("mistaken-loss-cut-off", covers=(19, 22), postgres=True, ends_serving=False)
async def mistaken_loss_cut_off(stage: Stage) -> None:
    """The same while the old cluster cannot reach PostgreSQL: it pauses when it can again, before what moved is over there."""
    await _restored_beside(stage, LONGER_MS, cut_off=True)


async def _restored_beside(stage: Stage, ttl_ms: int, *, cut_off: bool) -> None:
    await stage.load(LOAD_S)
    await _leased(stage, "control", SHORT_MS)
    await _until(stage, "a file whose lease has ended is deleted", lambda: "control" not in stage.shelf.keys)
    holders = _Holders([await _leased(stage, f"moves-{number}", ttl_ms) for number in range(FILES)])
    left = [await _leased(stage, f"left-{number}", ttl_ms) for number in range(FILES)]
    await caught_up(stage)
    keys = [each.key for each in (*holders.leases, *left)]
    life = RestoredElsewhere()
    async with AsyncExitStack() as away:
        if cut_off:
            await away.enter_async_context(stage.under(DatabaseCutOff(noticed=True), recovers=False))
        async with stage.under(life, recovers=False), asyncio.TaskGroup() as moved:
            assert life.elsewhere is not None, "it was injected"
            around = replace(stage.caller.around, nodes={elsewhere.ID: life.elsewhere.stubs})
            holding = moved.create_task(holders.hold(Caller("moved", around, stage.random), ttl_ms))
            await away.aclose()
            await _old_one_deletes_nothing(stage, keys)
            holding.cancel()
    await keeps_the_password(stage)
    stage.check(
        f"who moved renewed {holders.renewed} times, and was refused {holders.refused} times", holds=holders.well
    )


async def _old_one_deletes_nothing(stage: Stage, keys: list[str]) -> None:
    """Neither by itself, nor after another leads it, nor when its own operator resumes what it has paused."""
    await _paused(stage, "the old cluster pauses its cleanups")
    await asyncio.sleep(LANDED_S)
    before = stage.deleted
    await _all_due(stage, keys)
    async with stage.under(Kill([await stage.leader()]), recovers=False):
        await stage.leader()
    await _paused(stage, "it is paused under its next leader")
    await asyncio.sleep(RESUMED_S)  # so that the next leader asks as seldom as it ever does
    await operating.resume_cleanups(stage.cluster)
    await asyncio.sleep(RESUMED_S)
    await _paused(stage, "it has paused again after its operator resumed")
    gone = [key for key in keys if key not in stage.shelf.keys]
    stage.check(
        f"I9, I10: of {len(keys)} files that are due there {len(gone)} were deleted, and {stage.deleted - before} others",
        holds=not gone and stage.deleted == before,
    )


@dataclass(slots=True)
class _Holders:
    """Who holds leases on, at whatever cluster they are told to."""

    leases: list[Attempt]
    renewed: int = 0
    refused: int = 0

    @property
    def well(self) -> bool:
        return self.renewed >= len(self.leases) and not self.refused

    async def hold(self, caller: Caller, ttl_ms: int) -> None:
        """Until cancelled."""
        while True:
            for each in self.leases:
                attempt = await caller.renew(each.lease_id, ttl_ms=ttl_ms)
                self.renewed += attempt.ok
                self.refused += not attempt.ok
            await asyncio.sleep(ttl_ms / 5_000)


async def _leased(stage: Stage, key: str, ttl_ms: int) -> Attempt:
    """A lease on a file, and the file."""
    lease = await stage.acquire(key, ttl_ms=ttl_ms, handler="file", parameters={"path": key})
    until_ns = lease.sent_ns + lease.remaining_ms * NS_PER_MS
    stage.shelf.put(key, client=lease.client, lease_id=lease.lease_id, token=lease.token, until_ns=until_ns)
    return lease


async def _paused(stage: Stage, what: str) -> None:
    """Wait until the old cluster says that it has paused, and why."""
    reason = ""
    try:
        async with asyncio.timeout(SOON_S_MAX):
            while FOLLOWED not in reason:
                await asyncio.sleep(LOOK_S)
                status = await stage.cluster.status(await stage.leader())
                reason = status.cleanup.pause_reason if status is not None else ""
    except TimeoutError:
        stage.fail(f"{what} within {SOON_S_MAX:g} s; it says {reason!r}")
    stage.check(f"{what}: {reason}", holds=True)


async def _all_due(stage: Stage, keys: list[str]) -> None:
    """Wait until the old cluster would delete all of these, if it were not paused."""
    waiting = set(keys)
    within_s = LONGER_MS / 1_000 + SOON_S_MAX
    try:
        async with asyncio.timeout(within_s):
            while waiting:
                stubs = stage.cluster.nodes[await stage.leader()].stubs
                waiting = {key for key in waiting if not await _is_due(stubs, key)}
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        stage.fail(f"{', '.join(sorted(waiting))} fall due at the old cluster within {within_s:g} s")
    stage.check(f"{len(keys)} files are due at the old cluster", holds=True)


async def _is_due(stubs: Stubs, key: str) -> bool:
    request = resource_pb2.GetResourceRequest(resource=key)
    try:
        answer = await stubs.resource.GetResource(request, timeout=2.0)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.resource.state == resource_pb2.RESOURCE_STATE_DUE)


async def _until(stage: Stage, what: str, holds: Callable[[], bool]) -> None:
    if not await stage.within(SOON_S_MAX, holds):
        stage.fail(f"{what} within {SOON_S_MAX:g} s")
