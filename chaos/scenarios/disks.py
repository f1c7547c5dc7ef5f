"""Scenarios of disks that are full, broken or slow."""

import contextlib
from collections.abc import Callable

from garbagetruck.chaos.faults.disks import EXIT_DISK, DiskFails, DiskSlow, disk_full, sync_fails
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 1.5
SLOW_SYNC_S = 0.1
STALLED_SYNC_S = 1.5


@scenario("disk-full", covers=(18,), times=1)
async def disk_full_(stage: Stage) -> None:
    """A follower's disk is full, then the leader's: the node ends with 74, the others go on, and it comes back."""
    await _ended_by(stage, disk_full)


@scenario("fsync-fails", covers=(18,), times=1)
async def fsync_fails(stage: Stage) -> None:
    """A follower's fsync fails, then the leader's: the node ends with 74 and what it had not synced was not acknowledged."""
    await _ended_by(stage, sync_fails)


@scenario("slow-disk", covers=(18,), times=1, outage_s=8.0)
async def slow_disk(stage: Stage) -> None:
    """Every fsync of a follower, then of the leader, takes 100 ms longer: work goes on, and nothing ends early."""
    for _ in range(stage.plan.times):
        for who in (stage.follower, stage.leader):
            await stage.load(LOAD_S)
            async with stage.under(DiskSlow(await who(), SLOW_SYNC_S)):
                await stage.load(stage.plan.outage_s)


@scenario("stalled-disks", covers=(18,), times=2, outage_s=12.0)
async def stalled_disks(stage: Stage) -> None:
    """Every fsync of every node takes 1.5 s longer, three times an election timeout: all is slow, and nobody is deposed."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        leader, term = await stage.leader(), await stage.term()
        async with contextlib.AsyncExitStack() as disks:
            for node_id in stage.cluster.ids:
                await disks.enter_async_context(stage.under(DiskSlow(node_id, STALLED_SYNC_S), recovers=False))
            await stage.load(stage.plan.outage_s)
        leader_now, term_now = await stage.leader(), await stage.term()
        stage.check(
            f"{leader} led in term {term}, and {leader_now} does in {term_now}",
            holds=(leader, term) == (leader_now, term_now),
        )
        await stage.load(LOAD_S)


async def _ended_by(stage: Stage, fault_of: Callable[[str], DiskFails]) -> None:
    for _ in range(stage.plan.times):
        for who in (stage.follower, stage.leader):
            await stage.load(LOAD_S)
            fault = fault_of(await who())
            async with stage.under(fault):
                await stage.progress()
            if fault.proof:
                stage.check(f"it ended with {fault.code}, and said why", holds=fault.code == EXIT_DISK and fault.said)
    await stage.load(LOAD_S)
