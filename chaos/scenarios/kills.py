"""Scenarios of sudden death."""

from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 1.0
"""Load between two faults, so that there is something to lose."""
DOWN_S = 1.0


@scenario("kill-all", covers=(3,), times=10)
async def kill_all(stage: Stage) -> None:
    """Kill -9 of all nodes at once under load, again and again: every acknowledged lease is there, digests are equal."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await stage.during(Kill(stage.cluster.ids), 0.0)
    await stage.load(LOAD_S)


@scenario("kill-staggered", covers=(3,), times=3)
async def kill_staggered(stage: Stage) -> None:
    """Kill -9 of one node after the other, in any order, until none is left: every acknowledged lease is there."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        order = stage.random.sample(stage.cluster.ids, k=len(stage.cluster.ids))
        await stage.during(Kill(order, stagger_s=stage.random.uniform(0.1, 1.5)), 0.0)
    await stage.load(LOAD_S)


@scenario("kill-leader", covers=(3,), times=5)
async def kill_leader(stage: Stage) -> None:
    """Kill -9 of the leader under load, again and again: another one leads, and nothing acknowledged is lost."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        killed, term = await stage.leader(), await stage.term()
        async with stage.under(Kill([killed])):
            await stage.progress()
        stage.check(f"a later term than {term} began", holds=await stage.term() > term)


@scenario("kill-follower", times=5)
async def kill_follower(stage: Stage) -> None:
    """Kill -9 of a follower, and its return: the leader stays, and the term with it."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        leader, term = await stage.leader(), await stage.term()
        async with stage.under(Kill([await stage.follower()])):
            await stage.load(DOWN_S)
        await stage.load(LOAD_S)
        stage.check(f"{leader} leads, in term {term} or the next", holds=await _leads(stage, leader, term))


async def _leads(stage: Stage, leader: str, term: int) -> bool:
    return await stage.leader() == leader and await stage.term() <= term + 1
