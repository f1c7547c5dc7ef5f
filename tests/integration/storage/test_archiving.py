"""A node that archives to a real PostgreSQL, which is killed, stopped and slow under it (I10)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import garbagetruck
from garbagetruck.client import CleanupSettings, Truck
from garbagetruck.cluster.node.server_node import ServerNode
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.records import Incarnation
from garbagetruck.storage.verifying import verify_snapshot
from tests.integration.storage.storing import Kept, kept, until, until_archived

SLOW_S = 0.5
MANY = 200
"""Acquires, one after the other. Had each to wait for the storage, they would take more than three times `SOON_S_MAX`."""
SOON_S_MAX = 30.0


@pytest.fixture
def cluster(tmp_path: Path, server: EmbeddedPostgres) -> Kept:
    return kept(tmp_path / "cluster", server)


@asynccontextmanager
async def calling(cluster: Kept) -> AsyncIterator[Truck]:
    async with garbagetruck.connect(cluster.place.api) as truck:
        yield truck


async def acquire_some(truck: Truck, name: str, count: int = 20) -> None:
    for number in range(count):
        await truck.acquire(f"{name}/{number}", holder="tests", ttl=600.0)


def names(node_or_replayed: object) -> set[str]:
    state = node_or_replayed._state  # type: ignore[attr-defined]  # a test looks past the queries
    return {lease.resource for lease in state.leases.values()}


async def test_what_is_committed_is_archived_in_order_and_makes_the_same_state(cluster: Kept) -> None:
    async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
        await acquire_some(truck, "a")
        machine, index = node.core.machine, node.core.applier.applied_index
        await until_archived(node, index)
        assert machine.incarnation_id
        assert (await cluster.replayed()).incarnation_id == machine.incarnation_id
    first = await cluster.replayed()
    assert len(names(first)) == 20
    async with cluster.running() as node, calling(cluster) as truck:
        await acquire_some(truck, "b")
        await until_archived(node)
    assert len(names(await cluster.replayed())) == 40, "another life of the process goes on where the first ended"


@pytest.mark.parametrize("trouble", ["killed", "stopped"])
async def test_i10_a_server_that_is_gone_is_in_nobodys_way_and_is_caught_up_with(cluster: Kept, trouble: str) -> None:
    server = cluster.server
    async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
        storage, term = node.storage, node.core.log.status.term
        assert storage is not None
        await acquire_some(truck, "before")
        await until_archived(node)
        pid = server.pid
        assert pid is not None
        if trouble == "killed":
            server.stop()
        else:
            _signal_all(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(SOON_S_MAX):
                await acquire_some(truck, "during", MANY)
            await until(lambda: storage.lag_s > 1.0 and storage.failure != "")
            assert server.password_file.read_text().strip() not in storage.failure
        finally:
            if trouble == "killed":
                server.start()
            else:
                _signal_all(pid, signal.SIGCONT)
        if trouble == "killed":
            cluster.configure()
            assert server.pid != pid
        await until_archived(node)
        await until(lambda: storage.failure == "")
        assert storage.lag_s < 10
        assert (node.core.leadership.leading, node.core.log.status.term) == (True, term), "nobody else led meanwhile"
    assert len(names(await cluster.replayed())) == 20 + MANY


def _signal_all(pid: int, number: signal.Signals) -> None:
    """The server and its children: a stopped parent alone would still have its connections served."""
    children = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _parent(each) == pid]
    for each in (pid, *children):
        os.kill(each, number)


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


async def test_snapshots_are_copied_on_demand_listed_and_verified(cluster: Kept) -> None:
    async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
        assert node.storage is not None
        await acquire_some(truck, "a")
        await until_archived(node)
        stored = await node.storage.create_snapshot()
        assert stored.header.index >= 20
        assert stored.header.incarnation == Incarnation(1, node.core.machine.incarnation_id)
        assert stored.header.snapshot_id in [each.header.snapshot_id for each in await node.storage.list_snapshots()]
    async with cluster.open() as storage:
        assert await verify_snapshot(storage, stored.header.snapshot_id) == stored.size_bytes


async def test_a_gap_is_closed_by_a_snapshot(cluster: Kept) -> None:
    """The server is away for so long that the log lets go of what it did not get."""
    cluster.configure(archive_backlog_bytes_max=1_048_576)
    async with (
        cluster.running(bootstrap=True, snapshot_entries=100, segment_bytes=65_536) as node,
        calling(cluster) as truck,
    ):
        await acquire_some(truck, "before")
        await until_archived(node)
        archived = node.storage.archived_index if node.storage else 0
        cluster.server.stop()
        try:
            await _grow_beyond(node, truck, archived)
        finally:
            cluster.server.start()
        await until_archived(node)
    async with cluster.open() as storage:
        first, last = await storage.archive.spans(1)
        assert first.next_index < last.first_index
        assert any(each.header.index >= last.first_index - 1 for each in await storage.snapshots.whole())


async def _grow_beyond(node: ServerNode, truck: Truck, archived: int) -> None:
    """Until the log does not hold what follows `archived`."""
    async with asyncio.timeout(60):
        while (await node.core.cursor.read(archived + 1)).available_from == archived + 1:
            many = [truck.acquire(f"during/{n}", holder="tests", ttl=1.0, labels={"l": "x" * 200}) for n in range(50)]
            for found in await asyncio.gather(*many, return_exceptions=True):
                assert not isinstance(found, AssertionError)
            await asyncio.sleep(0.05)


async def test_i10_a_cluster_that_sees_a_later_incarnation_pauses_its_own_cleanups(cluster: Kept) -> None:
    async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
        await acquire_some(truck, "a")
        await until_archived(node)
        async with cluster.open() as storage:
            await storage.incarnations.reserve(Incarnation(2, "other"), by="a test")
        machine = node.core.machine
        await until(lambda: machine.cleanups_paused)
        assert "restored elsewhere" in machine.cleanups_pause_reason
        await acquire_some(truck, "b", 1)


async def test_i9_i10_a_cluster_that_was_restored_elsewhere_deletes_nothing_even_when_it_is_resumed(
    cluster: Kept,
) -> None:
    """Its operator may not know yet. What is due there may be in use by those who went to the other one."""
    async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
        await truck.namespaces.set(cleanup=CleanupSettings(grace_ms_min=0))
        await release_a_file(cluster, truck, "before")
        await until(lambda: not (cluster.place.files / "before").exists())
        await until_archived(node)
        async with cluster.open() as storage:
            await storage.incarnations.reserve(Incarnation(2, "other"), by="a test")
        machine = node.core.machine
        await until(lambda: machine.cleanups_paused)
        await release_a_file(cluster, truck, "after")
        for _ in range(2):
            await truck.cleanups.resume(all_namespaces=True)
            await until(lambda: machine.cleanups_paused)
        assert (cluster.place.files / "after").exists()


async def release_a_file(cluster: Kept, truck: Truck, name: str) -> None:
    """Nobody leases it any more; it is due at once."""
    (cluster.place.files / name).write_text("maybe in use")
    cleanup = garbagetruck.Cleanup("file", path=name)
    await truck.release((await truck.acquire(name, holder="tests", ttl=60.0, cleanup=cleanup)).id)


async def test_i10_a_server_that_takes_half_a_second_for_everything_is_in_nobodys_way(cluster: Kept) -> None:
    async with slowed(cluster.server.port, SLOW_S) as port:
        cluster.configure(
            dsn=cluster.server.dsn.replace(f":{cluster.server.port}/", f":{port}/"),
            connect_timeout="20s",
            statement_timeout="20s",
            answer_timeout="25s",
        )
        async with cluster.running(bootstrap=True) as node, calling(cluster) as truck:
            storage, term = node.storage, node.core.log.status.term
            assert storage is not None
            async with asyncio.timeout(SOON_S_MAX):
                await acquire_some(truck, "a", MANY)
            await until(lambda: storage.lag_s > SLOW_S)
            await until_archived(node)
            assert (node.core.leadership.leading, node.core.log.status.term) == (True, term)
    assert len(names(await cluster.replayed())) == MANY


@asynccontextmanager
async def slowed(to_port: int, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to `to_port`, whose every answer comes late."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float) -> None:
        while data := await reader.read(1 << 16):
            await asyncio.sleep(wait_s)
            writer.write(data)
            await writer.drain()
        writer.close()

    joined: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", to_port)
            try:
                await asyncio.gather(pump(reader, back, 0), pump(there, writer, delay_s), return_exceptions=True)
            finally:
                back.transport.abort()
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(join(reader, writer))
        joined.add(task)
        task.add_done_callback(joined.discard)

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as proxy:
        try:
            yield proxy.sockets[0].getsockname()[1]
        finally:
            for task in joined:
                task.cancel()
            await asyncio.gather(*joined, return_exceptions=True)
            await asyncio.sleep(0)  # so that aborted transports close
