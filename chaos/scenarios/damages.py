"""Scenarios of disks that give back something else than was written to them."""

from pathlib import Path

from garbagetruck.chaos.faults.damage import Damage, log_begins_late, newest_segment, newest_snapshot, snapshots
from garbagetruck.chaos.faults.operators import Replace
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 2.0
EXIT_DAMAGED = 65
SNAPSHOTS = 2
"""As many are kept. As long as the log goes back to its beginning, a node needs none of them."""
SNAPSHOTS_S_MAX = 120.0


@scenario("corrupt-journal", covers=(10, 17), times=1)
async def corrupt_journal(stage: Stage) -> None:
    """A byte in the middle of a follower's journal turns over: it refuses with 65, and comes back with an empty disk."""
    for _ in range(stage.plan.times):
        await stage.load(LOAD_S)
        node_id = await stage.follower()
        await _refuses(stage, node_id, Damage(node_id, "the journal", newest_segment, refuses=True))
    await stage.load(LOAD_S)


@scenario("corrupt-snapshot", covers=(10, 17), times=1)
async def corrupt_snapshot(stage: Stage) -> None:
    """A follower's newest snapshot is damaged: it begins with the one before; all are: it refuses with 65, and comes back empty."""
    for _ in range(stage.plan.times):
        node_id = await stage.follower()
        data_dir = stage.cluster.nodes[node_id].data_dir
        await _has_snapshots(stage, data_dir)
        await stage.during(Damage(node_id, "the newest snapshot", newest_snapshot, refuses=False), 0.0)
        await stage.load(LOAD_S)
        await _refuses(stage, node_id, Damage(node_id, "every snapshot", snapshots, refuses=True))
    await stage.load(LOAD_S)


async def _has_snapshots(stage: Stage, data_dir: Path) -> None:
    def both() -> bool:
        return len(snapshots(data_dir)) >= SNAPSHOTS and log_begins_late(data_dir)

    if not await stage.within(SNAPSHOTS_S_MAX, both):
        stage.fail(f"{SNAPSHOTS} snapshots are taken, and the log before them let go, within {SNAPSHOTS_S_MAX:g} s")


async def _refuses(stage: Stage, node_id: str, damage: Damage) -> None:
    async with stage.under(damage, recovers=False):
        await stage.progress()
    stage.check(f"{node_id} ended with {damage.code}: {damage.said}", holds=damage.code == EXIT_DAMAGED)
    await stage.during(Replace(node_id), 0.0)
