"""Scenarios in which a node is away, and comes back."""

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.faults.network import isolated
from garbagetruck.chaos.faults.processes import Stop
from garbagetruck.chaos.processes.settings import CALM
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage
from garbagetruck.chaos.workload.clients import TTLS_MS

LOAD_S = 1.5
LONGER_THAN_EVERY_TTL_S = 2 * max(TTLS_MS) / 1_000


@scenario("stop-leader", covers=(2, 23), times=2, outage_s=LONGER_THAN_EVERY_TTL_S)
async def stop_leader(stage: Stage) -> None:
    """The leader is stopped for longer than every TTL while clients renew at the others, and goes on: it ends and deletes nothing."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        stopped = await stage.leader()
        async with stage.under(Stop(stopped)):
            await stage.load(stage.plan.outage_s)
        await stage.load(LOAD_S)


@scenario("stop-follower", covers=(23,), times=1, outage_s=30.0, settings=CALM)
async def stop_follower(stage: Stage) -> None:
    """A follower is stopped, and goes on: the term changes once at most, and the leader is not deposed by its return."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await _away_and_back(stage, Stop(await stage.follower()))


@scenario("cut-node", times=1, outage_s=30.0, settings=CALM)
async def cut_node(stage: Stage) -> None:
    """A follower is cut off, and comes back: the term changes once at most, and the leader is not deposed by its return."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await _away_and_back(stage, isolated(await stage.follower()))


@scenario("minority-leader", covers=(4,), times=3, outage_s=8.0)
async def minority_leader(stage: Stage) -> None:
    """The leader is cut off from the others, not from clients: it acknowledges nothing, ends nothing and deletes nothing."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        leader, term = await stage.leader(), await stage.term()
        async with stage.under(isolated(leader)):
            await stage.load(stage.plan.outage_s)
        stage.check(f"the others elected a leader after term {term}", holds=await stage.term() > term)


async def _away_and_back(stage: Stage, fault: Fault) -> None:
    """Let a follower be away; look at who leads before it comes back, and some time after that."""
    leader, term = await stage.leader(), await stage.term()
    async with stage.under(fault):
        await stage.load(stage.plan.outage_s)
        leader_then = await stage.leader()
    await stage.load(2 * LOAD_S)
    leader_now, term_now = await stage.leader(), await stage.term()
    stage.check(f"the term went from {term} to {term_now}, by one at most", holds=term_now <= term + 1)
    stage.check(f"{leader_then} led before its return, and {leader_now} does after it", holds=leader_now == leader_then)
    stage.check(
        f"{leader} led from the beginning, and {leader_now} does", holds=leader_now == leader or term_now > term
    )
