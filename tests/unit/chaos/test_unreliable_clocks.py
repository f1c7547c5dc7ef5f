"""The clocks of a chaos child: the system's without an order, wrong in just one way under one; and no other process has them."""

import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from garbagetruck.chaos.processes.clocks import FOLLOWED, LOOK_NS, NS_PER_MS, NS_PER_S, UnreliableClocks
from garbagetruck.chaos.processes.orders import Orders
from garbagetruck.cluster.node.__main__ import main
from garbagetruck.cluster.node.world import SYSTEM_CLOCKS, Clocks

WALL_NS = 1_000_000 * NS_PER_S


class Machine:
    """Whose clocks stand still until they are told to go on."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * NS_PER_S
        self.clocks = Clocks(
            monotonic_ns=lambda: self.now_ns,
            boottime_ns=lambda: self.now_ns + 7,
            wall_ns=lambda: WALL_NS + self.now_ns,
        )

    def later(self, ms: int) -> None:
        self.now_ns += ms * NS_PER_MS


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "n1.clocks")


@pytest.fixture
def clocks(orders: Orders, machine: Machine) -> Clocks:
    return UnreliableClocks(orders, machine.clocks).clocks()


def all_of(clocks: Clocks) -> tuple[int, int, int]:
    return clocks.monotonic_ns(), clocks.boottime_ns(), clocks.wall_ns()


def test_without_an_order_they_are_the_systems(clocks: Clocks, machine: Machine, orders: Orders) -> None:
    for _ in range(5):
        assert all_of(clocks) == all_of(machine.clocks)
        machine.later(500)
    assert orders.effects() == []


def test_a_wall_clock_jumps_forth_and_back_and_no_other_clock_does(
    clocks: Clocks, machine: Machine, orders: Orders
) -> None:
    orders.give("wall -86400")
    monotonic_ns, boottime_ns, wall_ns = all_of(clocks)
    assert (monotonic_ns, boottime_ns) == all_of(machine.clocks)[:2]
    assert wall_ns == machine.clocks.wall_ns() - 86_400 * NS_PER_S
    assert orders.take_back() == [FOLLOWED, "wall: it was read -86400 s off"]
    machine.later(LOOK_NS // NS_PER_MS)
    assert all_of(clocks) == all_of(machine.clocks)


@pytest.mark.parametrize(("ppm", "ms"), [(50_000, 1_050), (-50_000, 950)])
def test_an_oscillator_that_is_off_never_jumps_and_keeps_what_it_gained(
    clocks: Clocks, machine: Machine, orders: Orders, ppm: int, ms: int
) -> None:
    orders.give(f"rate {ppm}")
    before = all_of(clocks)
    assert before == all_of(machine.clocks), "it did not jump"
    machine.later(1_000)
    assert clocks.monotonic_ns() - before[0] == clocks.boottime_ns() - before[1] == ms * NS_PER_MS
    assert clocks.wall_ns() - before[2] == 1_000 * NS_PER_MS
    assert orders.take_back() == [FOLLOWED, f"rate: {ms - 1_000:+.3f} ms"]
    machine.later(LOOK_NS // NS_PER_MS)
    right_again_ns = clocks.monotonic_ns()
    machine.later(1_000)
    assert clocks.monotonic_ns() - right_again_ns == 1_000 * NS_PER_MS
    gained_ms = (clocks.monotonic_ns() - machine.clocks.monotonic_ns()) / NS_PER_MS
    assert gained_ms == pytest.approx((ms - 1_000) * 1.02)


def test_threads_see_one_clock_that_never_goes_back(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "n1.clocks")
    clocks = UnreliableClocks(orders).clocks()
    lock, last_ns, backward = threading.Lock(), 0, 0

    def read() -> None:
        nonlocal last_ns, backward
        for _ in range(2_000):
            with lock:
                now_ns = clocks.monotonic_ns()
                backward += now_ns < last_ns
                last_ns = now_ns

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for ppm in (90_000, -90_000, 50_000):
        orders.give(f"rate {ppm}")
    for thread in threads:
        thread.join()
    assert backward == 0


JUMPED = """
import asyncio, sys, time
from datetime import datetime, UTC
from pathlib import Path
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from garbagetruck.chaos.processes.clocks import UnreliableClocks
from garbagetruck.chaos.processes.orders import Orders

class Health(health_pb2_grpc.HealthServicer):
    async def Check(self, request, context):
        left_s.append(context.time_remaining())
        return health_pb2.HealthCheckResponse()

async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop(None)

left_s = []
orders = Orders(Path(sys.argv[1]))
orders.give("wall 86400")
UnreliableClocks(orders).install()
off_s = time.time() - datetime.now(UTC).timestamp()
asyncio.run(main())
print(round(off_s), round(time.time_ns() / 1e9 - datetime.now(UTC).timestamp()), round(left_s[0]))
"""


@pytest.fixture
def jumped(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", JUMPED, str(tmp_path / "n1.clocks")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_all_python_code_of_the_process_sees_the_jump_and_callers_keep_the_time_that_they_gave(
    jumped: "subprocess.Popen[str]",
) -> None:
    with jumped:
        assert jumped.stdin is not None
        assert jumped.stdout is not None
        port = int(jumped.stdout.readline())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            await health.Check(health_pb2.HealthCheckRequest(), timeout=60.0)
        jumped.stdin.write("\n")
        jumped.stdin.flush()
        assert jumped.stdout.read().split() == ["86400", "86400", "60"]


def test_a_node_has_the_systems_clocks_unless_its_starter_says_otherwise() -> None:
    assert inspect.signature(main).parameters["clocks"].default is SYSTEM_CLOCKS
