"""Sessions of a client that lives through the loss of every disk, and go on in the restored cluster (I9).

The node, the PostgreSQL server and the restore are real; what the disaster costs is brought about by stopping the server first.
"""

import asyncio
import random
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.client import Cleanup, Lease, LeaseState, Truck
from garbagetruck.cluster.machine.model import TOKEN_COUNTER_BITS
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.recovery.from_storage import Wanted, restore_from_storage
from garbagetruck.cluster.node.recovery.stored import Point
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.integration.storage.storing import Kept, kept, until_archived

TTL_S = 30.0
"""Longer than a restore takes on a busy machine."""
PATIENCE_S = 60.0
SECOND_LIFE = 2 << TOKEN_COUNTER_BITS


@pytest.fixture
def cluster(tmp_path: Path, server: EmbeddedPostgres) -> Kept:
    return kept(tmp_path / "cluster", server)


async def restore(cluster: Kept, data_dir: Path) -> None:
    """All disks are lost; the node is configured to begin anew."""
    former = cluster.place.folder / "n1"
    shutil.rmtree(former)
    settings = load_settings(cluster.config, {}).settings
    wanted = Wanted(cluster.server.dsn, Point(), old_cluster_is_dead=True)
    await asyncio.to_thread(
        lambda: restore_from_storage(settings, wanted, random=random.SystemRandom(), data_dir=data_dir)
    )
    cluster.config.write_text(cluster.config.read_text().replace(str(former), str(data_dir)))


def file(cluster: Kept, name: str) -> Cleanup:
    (cluster.place.files / name).write_text("in use")
    return Cleanup("file", path=name)


async def active(truck: Truck) -> dict[str, Lease]:
    return {lease.resource: lease async for lease in truck.list_leases()}


async def test_i2_i9_sessions_carry_on_in_the_restored_cluster_with_what_it_lost(cluster: Kept, tmp_path: Path) -> None:
    async with AsyncExitStack() as holding, asyncio.timeout(PATIENCE_S):
        truck = await holding.enter_async_context(garbagetruck.connect(cluster.place.api, timeout=30.0))
        async with cluster.running(bootstrap=True) as node:
            known = await holding.enter_async_context(truck.session(holder="resizer-1", ttl=TTL_S))
            archived = await known.acquire("archived", cleanup=file(cluster, "archived"))
            await until_archived(node)
            cluster.server.stop()
            lost = await known.acquire("lost", cleanup=file(cluster, "lost"), labels={"of": "the last second"})
            unknown = await holding.enter_async_context(truck.session(holder="resizer-2", ttl=TTL_S))
            of_unknown = await unknown.acquire("of unknown", cleanup=file(cluster, "of-unknown"))
            given_back = await unknown.acquire("given back", cleanup=file(cluster, "given-back"))
            await unknown.release(given_back)
            alone = await truck.acquire("alone", holder="resizer-3", ttl=TTL_S)
        before = {each: (each.id, each.fencing_token) for each in (archived, lost, of_unknown)}
        cluster.server.start()
        await restore(cluster, tmp_path / "new")
        async with cluster.running() as node:
            after = await unknown.acquire("after")  # before any heartbeat is due
            assert await unknown.registered_anew() == 1
            assert await known.registered_anew() == 1
            assert (archived.id, archived.fencing_token) == before[archived]
            for each in (lost, of_unknown):
                assert each.id != before[each][0]
                assert each.fencing_token > SECOND_LIFE > before[each][1]
                assert not each.lost.is_set()
                assert each.remaining > 0
            found = await active(truck)
            assert {name: lease.id for name, lease in found.items()} == {
                "archived": archived.id,
                "lost": lost.id,
                "of unknown": of_unknown.id,
                "after": after.id,
            }
            assert (found["lost"].labels, found["lost"].session_id) == ({"of": "the last second"}, known.id)
            resource = await truck.resources.get("lost")
            assert resource.cleanup == Cleanup("file", path="lost")
            with pytest.raises(garbagetruck.NotFound):
                await truck.renew(alone)
            assert alone.lost.is_set(), "a lease that stands alone is its holder's to acquire again"
            assert node.core.machine.cleanups_paused
            names = ("archived", "lost", "of-unknown", "given-back")
            assert all((cluster.place.files / name).exists() for name in names)
            await holding.aclose()
            assert node.core.machine.summary().sessions == 0, "each was closed under its present id"


async def test_i1_a_session_that_was_over_before_the_disaster_stays_over(cluster: Kept, tmp_path: Path) -> None:
    async with garbagetruck.connect(cluster.place.api, timeout=30.0) as truck, asyncio.timeout(PATIENCE_S):
        async with cluster.running(bootstrap=True) as node:
            session = truck.session(holder="resizer-1", ttl=TTL_S)
            await session.__aenter__()
            lease = await session.acquire("a")
            await truck.sessions.close(session.id)
            await until_archived(node)
        await restore(cluster, tmp_path / "new")
        async with cluster.running():
            with pytest.raises(garbagetruck.SessionEnded):
                await session.acquire("b")
            await lease.lost
            assert (await truck.get_lease(lease.id)).state is LeaseState.RELEASED
            assert await active(truck) == {}
            with pytest.raises(garbagetruck.SessionLost):
                await session.__aexit__(None, None, None)
