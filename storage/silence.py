"""Whether a cluster still writes, told without any clock but one's own.

Duty: let a restore refuse while the old cluster lives. A cluster that is alive archives at least its own clock's entries,
one a second or so; a leader that lost its connection for longer than the watch is not seen, which is why a restore pauses
cleanups all the same (I9).
"""

from collections.abc import Awaitable, Callable

from garbagetruck.storage.errors import StillWriting
from garbagetruck.storage.protocol import Storage

LOOKS = 5
"""Looks during a watch, so that one that finds something ends early."""


async def watch(storage: Storage, watch_ms: int, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Return when nothing was written for `watch_ms`. `sleep` takes seconds. Raises StillWriting and StorageFailed."""
    first = await storage.incarnations.activity()
    for _ in range(LOOKS):
        await sleep(watch_ms / LOOKS / 1_000)
        if (await storage.incarnations.activity()).mark != first.mark:
            raise StillWriting(
                f"cluster {storage.cluster_id} wrote within the last {watch_ms} ms: it is alive. Stop all of its nodes, "
                "or say that it is dead if you are sure"
            )
