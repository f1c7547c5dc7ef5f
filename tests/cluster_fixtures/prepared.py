"""Things in a cluster that only time or a program brings about, for tests that look at them from outside.

Duty: dead letters and sessions to find. It must not know: who looks at them, and how.
"""

import asyncio

import garbagetruck
from garbagetruck.client import CleanupSettings, ResourceState, Truck
from tests.cluster_fixtures.local import LocalCluster

ATTEMPTS_MAX_DEFAULT = 8
GRACE_MS_MIN_DEFAULT = 2_000


async def leave_dead_letters(cluster: LocalCluster, truck: Truck, *names: str) -> None:
    """Resources whose cleanup has failed for good: they name folders, which the `file` handler leaves alone."""
    await truck.namespaces.set(cleanup=CleanupSettings(attempts_max=1, grace_ms_min=0))
    for name in names:
        (cluster.files / name).mkdir(parents=True)
        cleanup = garbagetruck.Cleanup("file", path=name)
        lease = await truck.acquire(name, holder="gone", ttl=30.0, cleanup=cleanup)
        await truck.release(lease)
    async with asyncio.timeout(30):
        for name in names:
            while (await truck.resources.get(name)).state is not ResourceState.DEAD_LETTER:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await truck.namespaces.set(
        cleanup=CleanupSettings(attempts_max=ATTEMPTS_MAX_DEFAULT, grace_ms_min=GRACE_MS_MIN_DEFAULT)
    )


def prepare(cluster: LocalCluster, *, dead_letters: tuple[str, ...], sessions: tuple[str, ...]) -> None:
    """Leave dead letters, and a session of each holder in `sessions` that lasts for an hour."""

    async def work() -> None:
        async with garbagetruck.connect(cluster.endpoints) as truck:
            await leave_dead_letters(cluster, truck, *dead_letters)
            for holder in sessions:
                await truck.sessions.open(holder=holder, ttl=3_600.0)

    asyncio.run(work())
