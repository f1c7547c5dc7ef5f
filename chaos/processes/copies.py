"""What is kept outside the nodes, as a restore would find it; and how far behind the nodes say that it is.

Duty: read the archive and the list of snapshots, all of it verified; a node's gauges; the warnings of its status.
Invariants: what is read is read past the nodes, who may be wrong about it. Must not know: faults, what should be there.
"""

import asyncio
from dataclasses import dataclass

import aiohttp

from garbagetruck.chaos.processes.cluster import Cluster
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.verifying import verify_snapshot

LAG = "garbagetruck_snapshot_archive_lag_seconds"
WARNING = "nothing was archived for"
TIMEOUT_S = 2.0
LOOK_S = 0.25
FIRST = 1
"""The incarnation of a cluster that was never restored."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What there is."""

    spans: tuple[tuple[int, int], ...]
    """First and last index of each part of the archive that has no gap."""
    snapshot_index: int
    """How far the snapshot goes that goes furthest; 0 without one."""
    oldest_index: int
    """How far the one goes that goes least far; 0 without one."""

    @property
    def last_index(self) -> int:
        """As far as a restore gets."""
        return max((last for _, last in self.spans), default=0)

    @property
    def in_one_piece(self) -> bool:
        """Whether the archive has no gap, and begins no later than right behind the oldest snapshot: what is before was trimmed."""
        return len(self.spans) == 1 and self.spans[0][0] <= self.oldest_index + 1


@dataclass(slots=True)
class Lag:
    """The worst that nodes said of it."""

    lag_s: float = 0.0
    warning: str = ""


async def copies_in(storage: Storage) -> Copies:
    """A look at what is listed; nothing is read. Raises StorageError."""
    spans = tuple((each.first_index, each.last_index) for each in await storage.archive.spans(FIRST))
    whole = await storage.snapshots.whole()
    return Copies(spans, whole[0].header.index if whole else 0, whole[-1].header.index if whole else 0)


async def read_all(storage: Storage) -> int:
    """Read every entry of the archive, and the snapshot that goes furthest, all of it verified.

    Answers how many entries there are. Raises StorageError, which says what is wrong with them.
    """
    entries = 0
    for span in await storage.archive.spans(FIRST):
        async for _ in storage.archive.read(FIRST, span.first_index):
            entries += 1
    for stored in (await storage.snapshots.whole())[:1]:
        await verify_snapshot(storage, stored.header.snapshot_id)
    return entries


async def lag_within(cluster: Cluster, seconds: float) -> Lag:
    """Ask whoever leads, again and again for so long; the worst of it."""
    worst = Lag()
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while loop.time() < until_s:
        leader = await cluster.leader()
        worst.lag_s = max(worst.lag_s, await gauge(cluster, leader, LAG) or 0.0)
        status = await cluster.status(leader)
        told = [each for each in status.warnings if WARNING in each] if status is not None else []
        worst.warning = told[-1] if told else worst.warning
        await asyncio.sleep(LOOK_S)
    return worst


async def gauge(cluster: Cluster, node_id: str, name: str) -> float | None:
    """The value of a metric without labels; None when the node does not tell."""
    for line in (await page(cluster, node_id, "/metrics")).splitlines():
        found, _, value = line.partition(" ")
        if found == name:
            return float(value)
    return None


async def page(cluster: Cluster, node_id: str, path: str) -> str:
    """What a node's HTTP port answers; nothing when it does not."""
    url = f"http://{cluster.nodes[node_id].places.http}{path}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(url) as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return ""
