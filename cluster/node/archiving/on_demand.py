"""Snapshots that somebody asked for, one for each request id.

Duty: have a snapshot taken for whoever asks, and go on when they do not wait for it; tell who asks again under the same id
what became of it.

Invariants: at most UNDER_WAY_MAX are under way, and REMEMBERED_MAX are remembered, in memory. A failure is not remembered:
asked again, it is tried again. Must not know: how one is taken, and who asks.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import count

from garbagetruck.cluster.api.gateway import OutcomeUnknown, Overloaded
from garbagetruck.storage.records import StoredSnapshot

UNDER_WAY_MAX = 16
REMEMBERED_MAX = 64


class SnapshotsOnDemand:
    """Runs on the node's main loop."""

    def __init__(self, create: Callable[[], Awaitable[StoredSnapshot]]) -> None:
        self._create = create
        self._under_way: dict[str, asyncio.Task[StoredSnapshot]] = {}
        self._done: OrderedDict[str, StoredSnapshot] = OrderedDict()
        self._nameless = count(1)

    async def snapshot(self, request_id: str, timeout_s: float) -> StoredSnapshot:
        """The snapshot of that request id; with an empty one, a new one.

        Raises what taking it raises; Overloaded, and OutcomeUnknown when it is not there within `timeout_s`.
        """
        name = f"id {request_id}" if request_id else f"number {next(self._nameless)}"
        if name in self._done:
            return self._done[name]
        task = self._under_way.get(name)
        if task is None:
            if len(self._under_way) >= UNDER_WAY_MAX:
                raise Overloaded(f"{UNDER_WAY_MAX} snapshots are asked for already; ask again later")
            task = asyncio.get_running_loop().create_task(self._take(name), name="snapshot-on-demand")
            self._under_way[name] = task
            task.add_done_callback(lambda ended: self._ended(name, ended))
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise OutcomeUnknown(
                "the snapshot is not there yet, and the node goes on; the same request_id asks for it again"
            )
        return task.result()

    @property
    def under_way(self) -> tuple[asyncio.Task[StoredSnapshot], ...]:
        """For who ends it all."""
        return tuple(self._under_way.values())

    async def _take(self, name: str) -> StoredSnapshot:
        stored = await self._create()
        if name.startswith("id "):
            self._done[name] = stored
            while len(self._done) > REMEMBERED_MAX:
                self._done.popitem(last=False)
        return stored

    def _ended(self, name: str, task: asyncio.Task[StoredSnapshot]) -> None:
        self._under_way.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; nobody may
