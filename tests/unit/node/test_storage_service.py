"""What a node keeps outside the nodes keeps no node from ending, whatever the storage does (I10)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from garbagetruck.cluster.node.archiving import service as module
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.node.archiving.service import Archiving, StorageService
from garbagetruck.storage.errors import StorageUnreachable
from garbagetruck.storage.memory import MemoryStorage, Vault
from garbagetruck.storage.records import Incarnation, StoredSnapshot
from tests.unit.node.rig import turns

SHORT_S = 0.05
IN_TIME_S = 5.0


class Archiver:
    def __init__(self) -> None:
        self.caught_up = False

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def catch_up(self) -> None:
        self.caught_up = True


class Copier:
    """Copies as the test says. `holds` is for how long it goes on when it is told to stop, as a driver does."""

    def __init__(self, *, hangs: bool = False, holds: asyncio.Event | None = None, fails: bool = False) -> None:
        self.hangs = hangs
        self.holds = holds
        self.fails = fails
        self.copied = 0

    async def copy(self, incarnation: Incarnation, *, fresh: bool) -> StoredSnapshot:
        assert fresh
        if self.fails:
            raise StorageUnreachable("nobody answers")
        try:
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            if self.holds is not None:
                await self.holds.wait()
        self.copied += 1
        return None  # type: ignore[return-value]  # nobody looks at it


class Life:
    present = Incarnation(1, "i")


@asynccontextmanager
async def served(copier: Copier, archiver: Archiver) -> AsyncIterator[StorageService]:
    parts: Any = Archiving(
        MemoryStorage(Vault(), "c"),
        Life(),  # type: ignore[arg-type]
        archiver,  # type: ignore[arg-type]
        copier,  # type: ignore[arg-type]
        ArchiveProgress(),
        "in memory",
    )
    service = StorageService(
        parts, snapshot_interval_s=3_600.0, random=random.Random(1), monotonic_ns=time.monotonic_ns
    )
    await service.start()
    await turns()  # its task opens the storage
    try:
        yield service
    finally:
        await service.stop()


async def test_a_drained_node_leaves_a_copy_and_sees_the_log_archived() -> None:
    copier, archiver = Copier(), Archiver()
    async with served(copier, archiver) as service, asyncio.timeout(IN_TIME_S):
        await service.drain(IN_TIME_S)
    assert (copier.copied, archiver.caught_up) == (1, True)


@pytest.mark.parametrize("holds", [False, True])
async def test_i10_a_storage_that_hangs_holds_no_node_that_is_drained_and_stopped(
    monkeypatch: pytest.MonkeyPatch, *, holds: bool
) -> None:
    """Not even when what was begun does not let go: giving up a snapshot asks the storage once more."""
    monkeypatch.setattr(module, "STOP_S_MAX", SHORT_S)
    let_go = asyncio.Event()
    copier, archiver = Copier(hangs=True, holds=let_go if holds else None), Archiver()
    async with asyncio.timeout(IN_TIME_S), served(copier, archiver) as service:
        await service.drain(SHORT_S)
    assert not archiver.caught_up
    let_go.set()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*left, return_exceptions=True)


async def test_i10_a_storage_that_is_away_is_told_and_the_node_goes_on() -> None:
    copier, archiver = Copier(fails=True), Archiver()
    async with served(copier, archiver) as service, asyncio.timeout(IN_TIME_S):
        await service.drain(IN_TIME_S)
    assert not archiver.caught_up
