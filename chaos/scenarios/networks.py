"""Scenarios of networks that fall apart, come and go, or are slow."""

import asyncio

from garbagetruck.chaos.faults.network import Cut, Slow, bridged, deaf, isolated, mute, split
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 2.0
SLOW_S = 0.05
"""Half of a heartbeat, there and back a whole one: slow, and no reason to elect anybody."""


@scenario("flapping", covers=(15,), duration_s=30.0)
async def flapping(stage: Stage) -> None:
    """The leader is cut off and comes back, every second or so: leases that are renewed live, those that are not end."""
    clock = asyncio.get_running_loop().time
    until_s = clock() + stage.plan.duration_s
    while clock() < until_s:
        await stage.during(isolated(await stage.leader()), stage.random.uniform(0.3, 2.0), recovers=False)
        await asyncio.sleep(stage.random.uniform(0.2, 1.5))
    await stage.cluster.until_healthy(timeout_s=60.0)
    await stage.load(LOAD_S)


@scenario("one-way", covers=(15,), times=1, outage_s=6.0)
async def one_way(stage: Stage) -> None:
    """The leader hears nothing, then is not heard; then a follower: whoever is cut off in one direction stops nobody else."""
    for _ in range(stage.plan.times):
        for victim in (deaf, mute):
            for who in (stage.leader, stage.follower):
                await stage.during(victim(await who()), stage.plan.outage_s)
                await stage.load(LOAD_S)


@scenario("bridge", covers=(15,), times=2, outage_s=8.0, nodes=5)
async def bridge(stage: Stage) -> None:
    """Of five nodes one connects two halves that do not hear each other; first the leader, then a follower."""
    for _ in range(stage.plan.times):
        for who in (stage.leader, stage.follower):
            await stage.during(bridged(await who()), stage.plan.outage_s)
            await stage.load(LOAD_S)


@scenario("halves", covers=(4, 15), times=2, outage_s=8.0, nodes=5)
async def halves(stage: Stage) -> None:
    """Of five nodes the leader and one more are cut off from three: those three go on, the two acknowledge nothing."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        minority = [await stage.leader(), await stage.follower()]
        async with stage.under(split(minority)):
            await stage.load(stage.plan.outage_s)


@scenario("slow-network", outage_s=10.0)
async def slow_network(stage: Stage) -> None:
    """Everything between nodes takes longer: the term stays, and work goes on."""
    await stage.load(LOAD_S)
    term = await stage.term()
    async with stage.under(Slow(SLOW_S)):
        await stage.load(stage.plan.outage_s)
    term_now = await stage.term()
    stage.check(f"the term went from {term} to {term_now}, by one at most", holds=term_now <= term + 1)


@scenario("cut-connections", duration_s=20.0)
async def cut_connections(stage: Stage) -> None:
    """All connections between nodes are cut, with what is under way on them, every second or so."""
    clock = asyncio.get_running_loop().time
    until_s = clock() + stage.plan.duration_s
    while clock() < until_s:
        await stage.during(Cut(), stage.random.uniform(0.2, 2.0), recovers=False)
    await stage.cluster.until_healthy(timeout_s=60.0)
    await stage.load(LOAD_S)
