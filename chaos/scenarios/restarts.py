"""Scenarios of operators at work, and of disks that are gone."""

import asyncio

from garbagetruck.chaos.faults.processes import Drain, Wipe
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 2.0
REFUSED_EXIT = 1


@scenario("rolling-restart", times=1)
async def rolling_restart(stage: Stage) -> None:
    """Every node is drained and started again, one after the other, the leader last: nothing is lost, nobody is killed."""
    for _ in range(stage.plan.times):
        leader = await stage.leader()
        for node_id in sorted(stage.cluster.ids, key=lambda each: each == leader):
            await stage.load(LOAD_S)
            await stage.during(Drain(node_id), 0.0)
    await stage.load(LOAD_S)


@scenario("drain-leader", times=3)
async def drain_leader(stage: Stage) -> None:
    """The leader is drained, again and again: it hands over, and the term changes by one."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        leader, term = await stage.leader(), await stage.term()
        async with stage.under(Drain(leader)):
            await stage.progress()
        term_now = await stage.term()
        stage.check(f"the term went from {term} to {term_now}, by one or two", holds=term < term_now <= term + 2)


@scenario("wiped-follower", covers=(10, 17))
async def wiped_follower(stage: Stage) -> None:
    """A follower loses its disk: started as before it refuses, and the others go on."""
    await stage.load(LOAD_S)
    fault = Wipe([await stage.follower()])
    async with stage.under(fault, recovers=False):
        await stage.load(LOAD_S)
    stage.check(f"it refused: {fault.codes}", holds=set(fault.codes.values()) == {REFUSED_EXIT})


@scenario("wiped-majority", covers=(10,), outage_s=5.0, ends_serving=False)
async def wiped_majority(stage: Stage) -> None:
    """A majority loses its disks: those refuse to start, and what is left acknowledges nothing."""
    await stage.load(LOAD_S)
    survivor = await stage.follower()
    fault = Wipe([node_id for node_id in stage.cluster.ids if node_id != survivor])
    async with stage.under(fault, recovers=False):
        await asyncio.sleep(stage.plan.outage_s)
    stage.check(f"they refused: {fault.codes}", holds=set(fault.codes.values()) == {REFUSED_EXIT})
