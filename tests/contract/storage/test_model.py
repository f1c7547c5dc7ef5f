"""Random histories against a simple model: nothing acknowledged is lost, nothing is out of order, nothing torn."""

import asyncio
import random
from typing import Any

from typing_extensions import override

from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.postgres.storage import PostgresStorage
from tests.contract.storage.model import Model, run_model
from tests.contract.storage.processes import kill, stopped
from tests.contract.storage.rigs import SHORT, PostgresRig, Rig

TERMS = 24


def told(model: Model) -> None:
    print(
        f"{len(model.acknowledged)} entries, {model.term} terms, {model.fenced} fenced, {model.unknown} unknown, "
        f"{len(model.snapshots)} snapshots, {model.reads} reads"
    )


async def test_leaders_that_depose_each_other_leave_one_history(rig: Rig, seed: int) -> None:
    model = await run_model(rig, seed, TERMS)
    told(model)
    assert model.last_index > 0
    assert model.reads > 1


class ShortRig(PostgresRig):
    """With timeouts that pass while a server is stopped."""

    @override
    def open(self, cluster_id: str = "c-1", **changes: Any) -> PostgresStorage:
        return super().open(cluster_id, **(SHORT | changes))


async def test_a_server_that_is_killed_and_stopped_loses_nothing_acknowledged(
    server: EmbeddedPostgres, seed: int
) -> None:
    rng = random.Random(seed)

    async def disturb() -> None:
        for _ in range(2):
            await asyncio.sleep(rng.uniform(0.1, 0.6))
            await asyncio.to_thread(kill, server)
            await asyncio.to_thread(server.start)
            await asyncio.sleep(rng.uniform(0.1, 0.3))
            with stopped(server):
                await asyncio.sleep(1.0)

    model = await run_model(ShortRig(server), seed, TERMS, disturb)
    told(model)
    assert model.last_index > 0
    assert model.unknown > 0, "nothing happened to anybody"
