"""SIGTERM under load: a node leaves a working cluster, and its clients notice no more than that they ask another one.

The clients here are plain gRPC, so that every single error is seen; each repeats under its request id what may be repeated.
"""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import psutil
import pytest
from grpc import aio

import garbagetruck
from garbagetruck.client import CleanupSettings
from garbagetruck.client.endpoints import Stubs
from garbagetruck.client.errors import GarbageTruckError
from garbagetruck.v1 import cleanup_spec_pb2, lease_pb2
from tests.cluster_fixtures.local import LocalCluster, Node
from tests.unit.api.stand import Told

CALL_S_MAX = 10.0
PATIENCE_S = 60.0
LOAD_S = 1.5
"""How long the load runs before the signal, and after the process is gone."""
KEPT, KEPT_TTL_MS = 10, 5_000
"""Leases that are renewed all the time, and their TTL: longer than a busy machine keeps this process from renewing."""
TTL_MS = 600_000


class Clients:
    """Calls to any node of the cluster, and what went wrong with them."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._channels = [aio.insecure_channel(node.api) for node in cluster.nodes.values()]
        self._stubs = [Stubs(channel) for channel in self._channels]
        self._numbers = itertools.count()
        self.repeated: Counter[str] = Counter()
        """Errors that may be repeated, by their reason; empty where the connection itself failed."""
        self.failed: list[str] = []
        """All others."""

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def call(self, select: Callable[[Stubs], Any], request: Any) -> Any:
        """Ask one node after the other until one answers."""
        number = next(self._numbers)
        request.request_id = f"request-{number}"
        deadline_s, attempt = time.monotonic() + PATIENCE_S, number
        while time.monotonic() < deadline_s:
            try:
                return await select(self._stubs[attempt % len(self._stubs)])(request, timeout=CALL_S_MAX)
            except aio.AioRpcError as error:
                told = Told(error)
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.failed.append(
                        f"{type(request).__name__}: {error.code().name} {told.info.reason} {told.message}"
                    )
                    raise
                self.repeated[told.info.reason] += 1
                attempt += 1
                await asyncio.sleep(0.02)
        raise TimeoutError(f"{type(request).__name__} was not answered in {PATIENCE_S} s: {dict(self.repeated)}")


class Load:
    """Clients that acquire, renew, and leave things to be cleaned, until they are told to stop."""

    def __init__(self, cluster: LocalCluster, clients: Clients) -> None:
        self._cluster = cluster
        self._clients = clients
        self._ending = asyncio.Event()
        self.acquired: list[lease_pb2.Lease] = []
        self.kept: list[lease_pb2.Lease] = []
        self.renewals = 0
        self.left: list[str] = []
        """Files that nobody holds any more."""

    async def begin(self) -> None:
        """Take what is going to be kept."""
        for number in range(KEPT):
            self.kept.append(await self._acquire(f"kept-{number}", KEPT_TTL_MS, cleaned=True))

    async def run(self) -> None:
        """Until `end`; raises what a client could not go on after."""
        async with asyncio.TaskGroup() as group:
            for worker in range(4):
                group.create_task(self._acquire_all_the_time(worker))
            for lease in self.kept:
                group.create_task(self._renew_all_the_time(lease))
            group.create_task(self._leave_all_the_time())

    def end(self) -> None:
        self._ending.set()

    async def _acquire(self, name: str, ttl_ms: int, *, cleaned: bool = False) -> lease_pb2.Lease:
        request = lease_pb2.AcquireRequest(resource=name, holder=f"holder of {name}", ttl_ms=ttl_ms)
        if cleaned:
            request.cleanup.CopyFrom(cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": name}))
        lease: lease_pb2.Lease = (await self._clients.call(lambda stubs: stubs.lease.Acquire, request)).lease
        if cleaned:
            (self._cluster.files / name).write_text(name)
        return lease

    async def _acquire_all_the_time(self, worker: int) -> None:
        for number in itertools.count():
            self.acquired.append(await self._acquire(f"acquired-{worker}-{number}", TTL_MS))
            if self._ending.is_set():
                return

    async def _renew_all_the_time(self, lease: lease_pb2.Lease) -> None:
        while not self._ending.is_set():
            await self._clients.call(lambda stubs: stubs.lease.Renew, lease_pb2.RenewRequest(lease_id=lease.id))
            self.renewals += 1
            await asyncio.sleep(0.1)

    async def _leave_all_the_time(self) -> None:
        for number in itertools.count():
            lease = await self._acquire(f"left-{number}", TTL_MS, cleaned=True)
            await self._clients.call(lambda stubs: stubs.lease.Release, lease_pb2.ReleaseRequest(lease_id=lease.id))
            self.left.append(f"left-{number}")
            if self._ending.is_set():
                return


@asynccontextmanager
async def loaded(cluster: LocalCluster) -> AsyncIterator[tuple[Clients, Load]]:
    """A load that has run for a while, and that runs on for a while after the body."""
    clients = Clients(cluster)
    try:
        load = Load(cluster, clients)
        await load.begin()
        running = asyncio.create_task(load.run())
        await asyncio.sleep(LOAD_S)
        yield clients, load
        await asyncio.sleep(LOAD_S)
        load.end()
        await running
    finally:
        await clients.close()


async def started_by_this_test(cluster: LocalCluster, *, leads: bool) -> Node:
    """A node that was stopped and served again, so that its exit code will be seen; and that leads, or does not."""
    node = cluster.nodes["n2"]
    cluster.signal(node.id, signal.SIGTERM)
    await until(lambda: not psutil.pid_exists(node.pid))
    cluster.serve(node.id)
    await cluster.until_all_serve()
    to = node.id if leads else "n1"
    async with garbagetruck.connect(cluster.endpoints, timeout=PATIENCE_S) as truck, asyncio.timeout(PATIENCE_S):
        while await cluster.leader() != to:
            # It comes to nothing when leadership moves by itself meanwhile.
            with suppress(GarbageTruckError):
                await truck.transfer_leadership(to)
    return node


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - files and processes ring no bell
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
async def test_i1_i2_i4_a_node_that_is_told_to_stop_under_load_costs_its_clients_nothing(
    cluster: LocalCluster, leads: bool
) -> None:
    leaving = await started_by_this_test(cluster, leads=leads)
    async with garbagetruck.connect(cluster.endpoints, timeout=PATIENCE_S) as truck:
        await truck.namespaces.set(cleanup=CleanupSettings(grace_ms_min=0))
    process = leaving.process
    assert process is not None
    logged = len(cluster.log_of(leaving.id))
    async with loaded(cluster) as (clients, load):
        before = len(load.acquired), load.renewals, len(load.left)
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0
    after = len(load.acquired), load.renewals, len(load.left)
    print(
        f"acquired, renewed, left: {before} before the signal, {after} at the end; repeated: {dict(clients.repeated)}"
    )
    assert clients.failed == []
    assert all(more > less > 0 for less, more in zip(before, after, strict=True)), "the load was one before and after"

    events = [line["event"] for line in cluster.log_of(leaving.id)[logged:]]
    assert events[-1] == "stopped"
    assert ("leadership_handed_over" in events) is leads
    assert not {"leadership_not_handed_over", "cleanups_cut_off", "node_died"} & set(events)

    async with garbagetruck.connect(cluster.endpoints, timeout=PATIENCE_S) as truck:
        found = {lease.id: lease async for lease in truck.list_leases()}
        for lease in (*load.acquired, *load.kept):
            assert lease.id in found, f"{lease.resource} was acknowledged, and is gone"
            assert found[lease.id].fencing_token == lease.fencing_token
        assert len(found) == len(load.acquired) + len(load.kept), "a repeated acquire is one lease"
    assert all((cluster.files / lease.resource).exists() for lease in load.kept)
    await until(lambda: not any((cluster.files / name).exists() for name in load.left))
