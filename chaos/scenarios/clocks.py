"""Scenarios of clocks that jump, or go too fast or too slow."""

import asyncio
import itertools

from garbagetruck.chaos.faults.clocks import ClockRate, WallClock
from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.faults.operators import Transfer
from garbagetruck.chaos.history import NS_PER_MS, Attempt, Outcome
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 1.0
DAY_S = 86_400.0
NTP_STEP_S = 0.128
"""From where on the usual daemons step a clock, and no longer steer it."""
DRIFT_PPM = 50_000
"""A hundred times what oscillators do, so that it can be told from what a machine under load does."""
TTL_MS = 5_000
LATE_MS_MAX = 5_000
"""How late a lease may be seen to end, beyond what a slow clock explains. A tenth of a second on an idle machine."""
END_S_MAX = 60.0
LOOK_S = 0.02


@scenario("wall-clock-jumps", covers=(11,), times=1)
async def wall_clock_jumps(stage: Stage) -> None:
    """Wall clocks jump by a day or a step of NTP, and back, at the leader, a follower, all nodes: no lease ends early or late."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await _leases_live_their_time(stage, WallClock([await stage.leader()], DAY_S))
        await _leases_live_their_time(stage, WallClock([await stage.leader()], -DAY_S))
        await _leases_live_their_time(stage, WallClock([await stage.follower()], NTP_STEP_S))
        await _leases_live_their_time(stage, WallClock(stage.cluster.ids, -DAY_S))
        # Nor does it matter to whoever leads after one whose wall clock jumped.
        successor = await stage.follower()
        async with stage.under(WallClock([await stage.leader()], DAY_S)):
            await stage.during(Transfer(successor), LOAD_S)


@scenario("clock-rates", covers=(11,), times=1, settings={"clock": {"drift_ppm_max": DRIFT_PPM}})
async def clock_rates(stage: Stage) -> None:
    """The leader's clock is as fast as `clock.drift_ppm_max` allows, then as slow, then a follower's is: no lease ends early."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await _leases_live_their_time(stage, ClockRate(await stage.leader(), DRIFT_PPM))
        await _leases_live_their_time(stage, ClockRate(await stage.leader(), -DRIFT_PPM))
        await _leases_live_their_time(stage, ClockRate(await stage.follower(), DRIFT_PPM))


async def _leases_live_their_time(stage: Stage, fault: Fault) -> None:
    """One that was taken before the clocks went wrong, and one afterwards: nobody renews them, and every node is asked of them."""
    leases = [await _lease(stage)]
    async with stage.under(fault):
        leases.append(await _lease(stage))
        answered = set[str]()
        for lived_ms in await asyncio.gather(*(_lived_ms(stage, each, answered) for each in leases)):
            # A leader as slow as is allowed, and slowed once more by what it might be fast, is a tenth late.
            bounds = TTL_MS <= lived_ms <= TTL_MS * 1.12 + LATE_MS_MAX
            stage.check(f"I7: a lease of {TTL_MS} ms was over {lived_ms} ms after it was asked for", holds=bounds)
        unheard = ", ".join(sorted({*stage.cluster.ids} - answered)) or "nobody"
        stage.check(f"every node answers meanwhile; silent: {unheard}", holds=unheard == "nobody")


async def _lease(stage: Stage) -> Attempt:
    key = f"scenario-{stage.random.getrandbits(32):08x}"
    return await stage.acquire(key, ttl_ms=TTL_MS, handler="file", parameters={"path": key})


async def _lived_ms(stage: Stage, lease: Attempt, answered: set[str]) -> int:
    """How long after it was asked for it was seen to be over."""
    try:
        async with asyncio.timeout(END_S_MAX):
            for node_id in itertools.cycle(stage.cluster.ids):
                seen = await stage.caller.read(lease.lease_id, node_id)
                if seen.outcome in {Outcome.OK, Outcome.REFUSED}:
                    answered.add(node_id)
                if seen.outcome is Outcome.REFUSED:
                    return (seen.ended_ns - lease.sent_ns) // NS_PER_MS
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        pass
    return stage.fail(f"a lease of {TTL_MS} ms is over within {END_S_MAX:g} s")
