"""One whole node in this process, the only member of its cluster, driven through its real gRPC port."""

import asyncio
import os
import random
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import garbagetruck
from garbagetruck.client.errors import StorageLow, Unavailable
from garbagetruck.client.truck import Truck
from garbagetruck.cluster.machine.model import Tombstone
from garbagetruck.cluster.node.compose import compose
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.identity import DataFolder
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.cluster.node.server_node import ServerNode
from garbagetruck.cluster.node.world import World
from garbagetruck.cluster.raft.errors import JournalForeign, SnapshotDamaged
from tests.cluster_fixtures.ports import free_base_port

ResultT = TypeVar("ResultT")

LIFE_S_MAX = 90.0


@dataclass
class Place:
    """Where the node lives, over several of its lives."""

    folder: Path
    base_port: int
    died: list[BaseException] = field(default_factory=list)

    @property
    def api(self) -> str:
        return f"127.0.0.1:{self.base_port + 1}"

    @property
    def files(self) -> Path:
        return self.folder / "files"


def prepared(folder: Path, *, handlers: Path | None = None) -> Place:
    folder.mkdir(exist_ok=True)
    place = Place(folder, free_base_port(1))
    options = UpOptions(data_dir=folder, nodes=1, base_port=place.base_port, handlers=handlers)
    prepare(plan(options, new_cluster_id="tests"), options)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return prepared(tmp_path)


@asynccontextmanager
async def running(
    place: Place, *, bootstrap: bool, disk_id: str = "disk-1", node: Mapping[str, str] | None = None, **raft: int
) -> AsyncIterator[ServerNode]:
    """`raft` and `node` are settings of those sections.

    It ends by itself before the test's own time is up: that would leave the node's thread and ports to the tests behind it.
    """
    environ = {f"GARBAGETRUCK_RAFT_{key.upper()}": str(value) for key, value in raft.items()}
    environ |= {f"GARBAGETRUCK_NODE_{key.upper()}": value for key, value in (node or {}).items()}
    settings = load_settings(place.folder / "n1.toml", environ).settings
    folder = DataFolder(settings.node.data_dir)
    with folder:
        identity = folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id=disk_id if bootstrap else None)
        composed = compose(settings, identity, folder, world(place))
        await composed.start()
        try:
            async with asyncio.timeout(LIFE_S_MAX):
                yield composed
        finally:
            await composed.stop()


def world(place: Place) -> World:
    def run_blocking(call: Callable[[], ResultT], /) -> "asyncio.Future[ResultT]":
        return asyncio.ensure_future(asyncio.to_thread(call))

    return World(
        monotonic_ns=time.monotonic_ns,
        boottime_ns=time.monotonic_ns,
        random=random.SystemRandom(),
        make_thread=lambda target, name: threading.Thread(target=target, name=name, daemon=True),
        run_blocking=run_blocking,
        snapshot_executor=ThreadPoolExecutor(1),
        storage_executor=ThreadPoolExecutor(1),
        environ=os.environ,
        on_fatal=place.died.append,
    )


def snapshots_of(place: Place) -> list[Path]:
    """The oldest first."""
    return sorted((place.folder / "n1" / "raft" / "snapshots").glob("*.snap"))


def http_handler(base_url: str) -> str:
    """The configuration of one named `index`, whose service is on this machine."""
    return f'[handlers.index]\nkind = "http"\nbase_url = "{base_url}"\nallow_addresses = ["127.0.0.1"]\n'


async def until_cleaned(truck: Truck, resource: str) -> None:
    async with aclosing(truck.watch(from_index=1, types=["cleanup_done"])) as events:
        async with asyncio.timeout(20):
            async for event in events:
                if event.resource == resource:
                    return


async def test_a_node_creates_its_cluster_and_serves_the_main_job(place: Place) -> None:
    async with running(place, bootstrap=True) as node:
        assert node.health.reasons_not_ready()
        await node.become_ready()
        assert not node.health.reasons_not_ready()
        assert node.core.machine.cluster_id == "tests"
        assert [(member.id, member.disk_id) for member in node.core.machine.members()] == [("n1", "disk-1")]
        async with garbagetruck.connect(place.api) as truck:
            lease = await truck.acquire(
                "thumb/1", holder="tests", ttl=1.0, cleanup=garbagetruck.Cleanup("file", path="thumb")
            )
            (place.files / "thumb").write_text("x")
            await truck.renew(lease.id)
            assert (await truck.resources.get("thumb/1")).state == "live"
            await until_cleaned(truck, "thumb/1")
        assert not (place.files / "thumb").exists()
        await node.drain()
        assert node.health.reasons_not_ready() == ("the node is shutting down",)
    assert place.died == []


async def test_a_drained_node_refuses_and_its_state_is_back_after_a_restart(place: Place) -> None:
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            lease = await truck.acquire("kept", holder="tests", ttl=60.0)
            await node.drain()
            with pytest.raises(Unavailable):
                await truck.acquire("late", holder="tests", ttl=60.0, timeout=2.0)
    async with running(place, bootstrap=False) as node:
        await node.become_ready()
        machine = node.core.machine
        found = machine.lease(lease.id, machine.clock_ms)
        assert found is not None
        assert (found.fencing_token, found.state) == (lease.fencing_token, "active")
    assert place.died == []


async def test_a_node_comes_back_from_its_snapshot_and_the_log_behind_it(place: Place) -> None:
    async with running(place, bootstrap=True, snapshot_entries=100) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            kept = [await truck.acquire(f"kept/{number}", holder="tests", ttl=600.0) for number in range(250)]
            while len(snapshots_of(place)) < 2:
                kept.append(await truck.acquire(f"kept/{len(kept)}", holder="tests", ttl=600.0))
            released = await truck.acquire("released", holder="tests", ttl=600.0)
            await truck.release(released.id)
        clock_ms = node.core.machine.clock_ms
    indexes = [int(path.stem) for path in snapshots_of(place)]
    assert len(indexes) == 2
    async with running(place, bootstrap=False) as node:
        await node.core.applier.wait_applied(indexes[-1])
        await node.become_ready()
        machine = node.core.machine
        assert machine.clock_ms >= clock_ms
        assert all(machine.lease(lease.id, machine.clock_ms) for lease in kept)
        assert machine.summary().leases == len(kept)
    assert place.died == []


async def test_a_node_whose_only_snapshots_are_empty_refuses_to_start(place: Place) -> None:
    """Hazard 6."""
    async with running(place, bootstrap=True, snapshot_entries=100, segment_bytes=65_536) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            journal = place.folder / "n1" / "raft" / "journal"
            while (journal / "0000000001-00000000000000000001.seg").exists():
                await asyncio.gather(*(truck.acquire(f"r/{n}", holder="h", ttl=600.0) for n in range(20)))
    for path in snapshots_of(place):
        path.write_bytes(b"")
    with pytest.raises(SnapshotDamaged, match="it ends after 0 bytes"):
        async with running(place, bootstrap=False):
            raise AssertionError("it started")
    assert place.died == []


async def test_with_little_space_nothing_new_begins_and_renewals_go_on(place: Place) -> None:
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            lease = await truck.acquire("kept", holder="tests", ttl=600.0)
            other = await truck.acquire("other", holder="tests", ttl=600.0)
    alarm_bytes = 1_099_511_627_776
    assert shutil.disk_usage(place.folder).free < alarm_bytes, "this test needs a disk with less than a TiB free"
    async with running(place, bootstrap=False, free_bytes_alarm=alarm_bytes) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck, asyncio.timeout(20):
            while not node.core.log.status.low_on_space:
                await truck.status()
            with pytest.raises(StorageLow, match="the disk of n1 is almost full"):
                await truck.acquire("late", holder="tests", ttl=60.0)
            with pytest.raises(StorageLow):
                await truck.sessions.open(holder="tests", ttl=60.0)
            await truck.renew(lease.id)
            await truck.release(other.id)
            assert any("almost full" in warning for warning in (await truck.status()).warnings)
    assert place.died == []


async def test_a_node_whose_journal_is_of_another_disk_refuses_to_start(place: Place) -> None:
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
    record = place.folder / "n1" / "node.json"
    record.write_text(record.read_text().replace("disk-1", "disk-2"))
    with pytest.raises(JournalForeign, match="disk disk-1, and this folder to cluster tests, disk disk-2"):
        async with running(place, bootstrap=False):
            raise AssertionError("it started")
    assert place.died == []


async def test_no_task_and_no_thread_outlives_a_node(place: Place) -> None:
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with running(place, bootstrap=True) as node:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            await truck.acquire("kept", holder="tests", ttl=60.0)
    left = {task for task in asyncio.all_tasks() - tasks if not task.done()}
    assert not {task.get_name() for task in left if "grpc" not in repr(task)}
    assert not {thread.name for thread in set(threading.enumerate()) - threads if thread.name.startswith("raft")}


async def test_a_draining_node_lets_a_running_cleanup_end_and_reports_it(tmp_path: Path) -> None:
    called, answered = asyncio.Event(), asyncio.Event()

    async def remove(request: web.Request) -> web.Response:
        called.set()
        await asyncio.sleep(1.0)
        answered.set()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_delete("/rows/{id}", remove)
    async with TestServer(app) as service:
        more = tmp_path / "more.toml"
        more.write_text(http_handler(f"http://127.0.0.1:{service.port}"))
        place = prepared(tmp_path / "cluster", handlers=more)
        async with running(place, bootstrap=True) as node:
            await node.become_ready()
            async with garbagetruck.connect(place.api) as truck:
                cleanup = garbagetruck.Cleanup("index", path="rows/1")
                lease = await truck.acquire("row/1", holder="tests", ttl=30.0, cleanup=cleanup)
                await truck.release(lease.id)
            await asyncio.wait_for(called.wait(), 20)
            await node.drain()
            assert answered.is_set()
            machine = node.core.machine
            assert machine.summary().claimed == 0
            assert isinstance(machine.resource("default", "row/1"), Tombstone)
    assert place.died == []


async def test_metrics_and_probes_tell_what_happened(place: Place) -> None:
    async with running(place, bootstrap=True) as node, aiohttp.ClientSession() as http:
        await node.become_ready()
        async with garbagetruck.connect(place.api) as truck:
            await truck.acquire("kept", holder="tests", ttl=60.0)
        base = f"http://127.0.0.1:{place.base_port + 101}"
        async with http.get(f"{base}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}
        assert values["garbagetruck_leases"] == 1
        assert values["garbagetruck_server_is_leader"] == 1
        assert values["garbagetruck_commit_latency_seconds_count"] >= 1
        assert values["garbagetruck_apply_duration_seconds_count"] >= 2
        assert values["garbagetruck_oldest_overdue_cleanup_seconds"] == 0
        async with http.get(f"{base}/readyz") as answer:
            assert answer.status == 200
        async with http.get(f"{base}/livez") as answer:
            assert answer.status == 200
        await node.drain()
        async with http.get(f"{base}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["reasons"] == ["the node is shutting down"]
