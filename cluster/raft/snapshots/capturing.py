"""Writes one snapshot of the node's own state, on the main loop.

Duty: bring the chunks of a capture to the disk, one at a time, so that no more than one waits.

Invariants: nothing has a name before all of it is durable; what is not finished is deleted. Every step that touches the
disk runs on the executor's thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.port import Capture, Snapshots
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore

ResultT = TypeVar("ResultT")


async def write_capture(
    snapshots: Snapshots, store: SnapshotStore, describe: Callable[[int], Awaitable[SnapshotHeader | None]]
) -> SnapshotHeader | None:
    """Capture the machine's state now, and write it. None when nothing came of it: a newer one is there.

    Raises DiskFailed.
    """
    capture = snapshots.machine.capture()
    try:
        return await _write(snapshots, store, capture, await describe(capture.index))
    finally:
        capture.close()


async def _write(
    snapshots: Snapshots, store: SnapshotStore, capture: Capture, header: SnapshotHeader | None
) -> SnapshotHeader | None:
    async with aclosing(capture.chunks) as chunks:
        if header is None:
            return None
        writer = await _run(snapshots, lambda: store.begin_unless_newer(header))
        if writer is None:
            return None
        finished = False
        try:
            async for chunk in chunks:
                await _run(snapshots, lambda chunk=chunk: writer.write(chunk))  # type: ignore[misc]
            finished = True
            return header if await _run(snapshots, writer.finish) else None
        finally:
            if not finished:
                snapshots.executor.submit(writer.abandon)


def _run(snapshots: Snapshots, job: Callable[[], ResultT]) -> "asyncio.Future[ResultT]":
    return asyncio.wrap_future(snapshots.executor.submit(job))
