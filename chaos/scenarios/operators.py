"""Scenarios of operators who change a cluster in use."""

from garbagetruck.chaos.faults.operators import LetIn, Remove, Replace, Transfer, Upgrade
from garbagetruck.chaos.processes.settings import CALM
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import RECOVERY_S_MAX, Stage

LOAD_S = 1.5
OLDER, NEWER = 1, 2


@scenario("member-replaced", covers=(17,), times=1, spare=1)
async def member_replaced(stage: Stage) -> None:
    """A node is let in and the leader removed; then a follower is replaced at its own address, on an empty disk."""
    await stage.load(LOAD_S)
    (fresh,) = stage.cluster.spares
    await stage.during(LetIn(fresh), 0.0)
    await stage.load(LOAD_S)
    await stage.during(Remove(await stage.leader()), 0.0)
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        await stage.during(Replace(await stage.follower()), 0.0)
    await stage.load(LOAD_S)


@scenario("rolling-upgrade", covers=(16,), times=1, feature_level=OLDER)
async def rolling_upgrade(stage: Stage) -> None:
    """A node is upgraded and taken back before anything new is used; then all are, one after the other, the leader last."""
    await stage.load(LOAD_S)
    first = await stage.follower()
    for level in (NEWER, OLDER):
        await stage.during(Upgrade(first, level), 0.0)
        await stage.load(LOAD_S)
        stage.check(f"the cluster is at level {OLDER}", holds=await _level(stage) == OLDER)
    leader = await stage.leader()
    for node_id in sorted(stage.cluster.ids, key=lambda each: each == leader):
        await stage.load(LOAD_S)
        await stage.during(Upgrade(node_id, NEWER), 0.0)
    await stage.load(LOAD_S)
    stage.check(f"the cluster is at level {NEWER}", holds=await _level(stage) == NEWER)


@scenario("leader-transfer", times=5, settings=CALM)
async def leader_transfer(stage: Stage) -> None:
    """Leadership is handed over through the API, again and again: the node that was named leads, one term later."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        term = await stage.term()
        target = await stage.follower()
        async with stage.under(Transfer(target)):
            await stage.progress()
        leader_now, term_now = await stage.leader(), await stage.term()
        stage.check(f"{leader_now} leads, and {target} should", holds=leader_now == target)
        stage.check(f"the term went from {term} to {term_now}, by one or two", holds=term < term_now <= term + 2)


async def _level(stage: Stage) -> int:
    return (await stage.cluster.until_healthy(timeout_s=RECOVERY_S_MAX)).feature_level
