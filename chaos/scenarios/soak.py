"""A scenario that is long."""

import asyncio

from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

BETWEEN_KILLS_S = 60.0


@scenario("soak", covers=(25,), duration_s=600.0)
async def soak(stage: Stage) -> None:
    """Load for long, with a kill -9 of the leader every minute: memory, descriptors, threads and journals stay bounded."""
    clock = asyncio.get_running_loop().time
    until_s = clock() + stage.plan.duration_s
    while clock() < until_s:
        await stage.load(min(BETWEEN_KILLS_S, max(0.0, until_s - clock())))
        async with stage.under(Kill([await stage.leader()])):
            await stage.progress()
