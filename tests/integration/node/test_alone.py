"""One node of three, alone: whatever it is asked, it says within the call's time that there is no leader."""

import asyncio
import itertools
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from garbagetruck.cluster.node.compose import compose
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.identity import DataFolder
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.cluster.node.world import World
from garbagetruck.v1 import header_pb2, lease_pb2, lease_pb2_grpc, namespace_pb2, namespace_pb2_grpc
from tests.cluster_fixtures.ports import free_base_port
from tests.unit.api.stand import Told, refusal

DEFAULT_TIMEOUT_S = 1.0
"""What the node gives a call that brings no deadline."""
LOOK_S = 0.005
LATE_S_MAX = 0.02


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[aio.Channel]:
    """A channel to n1 of three, whose peers were never started."""
    died: list[BaseException] = []
    options = UpOptions(data_dir=tmp_path, nodes=3, base_port=free_base_port(3))
    cluster = plan(options, new_cluster_id="tests")
    prepare(cluster, options)
    settings = load_settings(cluster.nodes[0].config, {"GARBAGETRUCK_API_TIMEOUT": f"{DEFAULT_TIMEOUT_S:g}s"}).settings
    world = World(
        monotonic_ns=time.monotonic_ns,
        boottime_ns=time.monotonic_ns,
        random=random.SystemRandom(),
        make_thread=lambda target, name: threading.Thread(target=target, name=name, daemon=True),
        run_blocking=lambda call: asyncio.ensure_future(asyncio.to_thread(call)),
        snapshot_executor=ThreadPoolExecutor(1),
        storage_executor=ThreadPoolExecutor(1),
        environ=os.environ,
        on_fatal=died.append,
    )
    with DataFolder(settings.node.data_dir) as folder:
        identity = folder.open(cluster_id="tests", node_id="n1", bootstrap_disk_id="disk-1")
        node = compose(settings, identity, folder, world)
        await node.start()
        try:
            async with aio.insecure_channel(str(settings.api_listen)) as channel:
                yield channel
        finally:
            await node.stop()
    assert died == []


def acquire(channel: aio.Channel, timeout_s: float | None, request_id: str) -> Any:
    request = lease_pb2.AcquireRequest(resource="r", holder="h", ttl_ms=1_000, request_id=request_id)
    return lease_pb2_grpc.LeaseServiceStub(channel).Acquire(request, timeout=timeout_s)


def get_lease(channel: aio.Channel, timeout_s: float | None, request_id: str) -> Any:
    return lease_pb2_grpc.LeaseServiceStub(channel).GetLease(
        lease_pb2.GetLeaseRequest(lease_id="unknown"), timeout=timeout_s
    )


def renew(channel: aio.Channel, timeout_s: float | None, request_id: str) -> Any:
    request = lease_pb2.BatchRenewRequest(lease_ids=["a", "b"], request_id=request_id)
    return lease_pb2_grpc.LeaseServiceStub(channel).BatchRenew(request, timeout=timeout_s)


def set_namespace(channel: aio.Channel, timeout_s: float | None, request_id: str) -> Any:
    request = namespace_pb2.NamespaceServiceSetRequest(namespace="new", request_id=request_id)
    return namespace_pb2_grpc.NamespaceServiceStub(channel).Set(request, timeout=timeout_s)


async def asked_in_peace(call: Callable[[], Any]) -> tuple[Told, float]:
    """What a call was told, and after how long; again when the machine kept this process from running meanwhile.

    Client and node share a loop here: one that stands still for longer than the node's margin proves nothing.
    """
    async with asyncio.timeout(60):
        while True:
            began_s = time.monotonic()
            asked = asyncio.create_task(refusal(call()))
            late_s = 0.0
            while not asked.done():
                looked_s = time.monotonic()
                await asyncio.wait({asked}, timeout=LOOK_S)
                late_s = max(late_s, time.monotonic() - looked_s - LOOK_S)
            if late_s < LATE_S_MAX:
                return await asked, time.monotonic() - began_s
            print(f"this process stood still for {late_s:.3f} s; asking again")


@pytest.mark.parametrize("ask", [acquire, get_lease, renew, set_namespace])
async def test_a_node_without_a_leader_says_so_within_the_timeout(alone: aio.Channel, ask: Any) -> None:
    await alone.channel_ready()
    for timeout_s, request_id in itertools.product((0.1, 0.5, None), ("", "request-1")):
        told, took_s = await asked_in_peace(lambda: ask(alone, timeout_s, request_id))  # noqa: B023 - called at once
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_LEADER"), (timeout_s, told.message)
        assert told.retry is not None
        assert took_s < (timeout_s or DEFAULT_TIMEOUT_S)
        assert "garbagetruck-leader" not in told.trailing


async def test_a_node_that_never_heard_of_its_cluster_does_not_say_that_it_is_empty(alone: aio.Channel) -> None:
    request = lease_pb2.ListLeasesRequest(consistency=header_pb2.READ_CONSISTENCY_STALE)
    told = await refusal(lease_pb2_grpc.LeaseServiceStub(alone).ListLeases(request, timeout=0.5))
    assert told.reason == "NO_LEADER"
