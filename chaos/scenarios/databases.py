"""Scenarios of a PostgreSQL that is away, slow, full or of another version, under nodes that keep copies there (I10)."""

import asyncio

from garbagetruck.chaos.faults.databases import (
    DatabaseCutOff,
    DatabaseFull,
    DatabaseKilled,
    DatabaseRefuses,
    DatabaseSlow,
    DatabaseStopped,
    schema_newer,
    schema_older,
)
from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.processes.copies import lag_within
from garbagetruck.chaos.scenarios.catching_up import caught_up, keeps_the_password
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

CALM_S = 5.0
OUTAGE_S = 10.0
WARNED_FROM_S = 8.0
"""A lag that is longer than five seconds is told in the status; shorter outages need not be."""
SLOW_S = 0.5


@scenario("postgres-killed", covers=(22,), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_killed(stage: Stage) -> None:
    """Kill -9 of PostgreSQL under load, and its return: acquires take as long, the term stays, and the archive catches up."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseKilled())


@scenario("postgres-stopped", covers=(22,), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_stopped(stage: Stage) -> None:
    """PostgreSQL is stopped, its connections stay: acquires take as long, the term stays, and the archive catches up."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseStopped())


@scenario("postgres-slow", covers=(22,), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_slow(stage: Stage) -> None:
    """Every statement takes 500 ms longer: acquires take as long, the term stays, and the archive keeps up, later."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseSlow(SLOW_S), lag_s_min=SLOW_S, warned=False)


@scenario("postgres-cut-off", covers=(22,), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_cut_off(stage: Stage) -> None:
    """Nothing passes between the nodes and PostgreSQL: acquires take as long, the term stays, and the archive catches up."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseCutOff())


@scenario("postgres-refuses", covers=(22,), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_refuses(stage: Stage) -> None:
    """PostgreSQL ends all sessions and lets nobody in: acquires take as long, the term stays, and the archive catches up."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseRefuses())


@scenario("postgres-full", covers=(18, 22), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_full(stage: Stage) -> None:
    """PostgreSQL has no space left: acquires take as long, the term stays, and the archive catches up when there is some."""
    for _ in range(stage.plan.times):
        await _in_nobodys_way(stage, DatabaseFull())


@scenario("postgres-schema", covers=(16, 22), times=1, outage_s=OUTAGE_S, postgres=True)
async def postgres_schema(stage: Stage) -> None:
    """The schema is of an older version, then of a newer: nothing is written until its owner has seen to it, then all of it."""
    for _ in range(stage.plan.times):
        for fault in (schema_older(), schema_newer()):
            await _in_nobodys_way(stage, fault)


@scenario("postgres-killed-with-leader", covers=(3, 22), times=1, outage_s=4.0, postgres=True)
async def postgres_killed_with_leader(stage: Stage) -> None:
    """The leader dies while PostgreSQL is dead: the next one archives from where the archive ends, and leaves no gap."""
    for _ in range(stage.plan.times):
        await caught_up(stage)
        async with stage.under(DatabaseKilled()):
            await stage.load(stage.plan.outage_s)
            async with stage.under(Kill([await stage.leader()]), recovers=False):
                await stage.progress()
            await stage.load(stage.plan.outage_s)
        await caught_up(stage)


async def _in_nobodys_way(
    stage: Stage, fault: Fault, *, lag_s_min: float | None = None, warned: bool | None = None
) -> None:
    """Play a fault of PostgreSQL that clients must not notice, and nobody has to repair anything after.

    `lag_s_min`: what lag must be seen; half of the outage if nothing is said. `warned`: whether the status has to warn;
    if nothing is said, when the outage is long enough.
    """
    outage_s = stage.plan.outage_s
    await caught_up(stage)
    term = await stage.term()
    calm_s = min(CALM_S, outage_s)
    before = await stage.measured(calm_s)
    if not before.calm or await stage.term() != term:
        stage.cannot_tell(f"a fault on a machine that is too busy without one: {before.told}")
    async with stage.under(fault):
        during, lag = await asyncio.gather(stage.measured(outage_s), lag_within(stage.cluster, outage_s))
    await caught_up(stage)
    after = await stage.measured(calm_s)
    least_s = outage_s / 2 if lag_s_min is None else lag_s_min
    stage.check(f"a lag of {lag.lag_s:.1f} s was in the metrics, at least {least_s:g} s", holds=lag.lag_s >= least_s)
    if outage_s >= WARNED_FROM_S if warned is None else warned:
        stage.check(f"the status warned: {lag.warning}", holds=bool(lag.warning))
    await keeps_the_password(stage)
    if not after.calm:
        stage.cannot_tell(f"a fault on a machine that was too busy after it: {after.told}")
    stage.check(
        f"I10: acquires took {before.told}; under it {during.told}; after it {after.told}",
        holds=during.within_noise_of(before, after),
    )
    term_now = await stage.term()
    stage.check(f"I10: the term was {term}, and is {term_now}", holds=term_now == term)
