"""A scenario of services that keep what they have by heartbeats, and of the network between them and the cluster."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.history import History, Outcome
from garbagetruck.chaos.processes.cluster import Cluster
from garbagetruck.chaos.processes.proxy import Direction, Wire
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage
from garbagetruck.chaos.workload.caller import Around, Caller
from garbagetruck.client.endpoints import CHANNEL_OPTIONS, Stubs
from garbagetruck.client.world import boottime_ns
from garbagetruck.v1 import cleanup_spec_pb2, cluster_pb2, namespace_pb2

SERVICES = 20
NAMESPACES = 10
"""Two services in each: too few for a namespace's own brake."""
TTL_MS = 3_000
GRACE_MS = 200
CUT_TTLS = 3
LOAD_S = 1.0
SOON_S_MAX = 45.0
CALL_S = 10.0
AGAIN_S = 0.1


@scenario("cut-fleet", covers=(26,))
async def cut_fleet(stage: Stage) -> None:
    """One of twenty services crashes and is cleaned up after; then all others are cut off for three TTLs: nothing is deleted."""
    async with _fleet(stage) as fleet:
        crashed, *others = fleet.services
        await _until(stage, "every service has its lease", lambda: all(each.holds for each in fleet.services))
        crashed.crash()
        await _until(
            stage, "I4: what a crashed service left is cleaned without an operator", lambda: not crashed.is_kept
        )
        fleet.check(others, "while one service has crashed")
        async with stage.under(_FleetCut(fleet.wires)):
            await asyncio.sleep(CUT_TTLS * TTL_MS / 1_000)
            fleet.check(others, f"after {CUT_TTLS} TTLs without the network")
            brake = await fleet.brake()
            stage.check(f"the fleet's brake is engaged: {brake.reason}", holds=brake.engaged)
            for each in others:
                each.holds = False  # by now that is so, and nobody could tell it
        await _until(stage, "every service has its lease again", lambda: all(each.holds for each in others))
        fleet.check(others, "when the network is back")
        await fleet.until_released()
        fleet.check(others, "when the fleet's brake is released")
    await stage.load(LOAD_S)


@dataclass(slots=True)
class _Service:
    """One holder, with one session, one lease, and the file that it is about."""

    name: str
    caller: Caller
    file: Path
    holds: bool = False
    """As far as it knows."""
    _crashed: bool = False

    @property
    def is_kept(self) -> bool:
        return self.file.exists()

    def crash(self) -> None:
        """Not heard of any more."""
        self._crashed = True

    async def run(self) -> None:
        """Take up what is its own whenever it has lost it, and prolong it three times in a TTL."""
        session = ""
        while not self._crashed:
            if not session:
                session = await self._take_up()
            else:
                renewed = await self.caller.renew_session(session, ttl_ms=TTL_MS)
                if renewed.outcome is Outcome.REFUSED:
                    session, self.holds = "", False
            await asyncio.sleep(TTL_MS / 3_000 if session else AGAIN_S)

    async def _take_up(self) -> str:
        opened = await self.caller.open_session(self.caller.fresh_request_id(), ttl_ms=TTL_MS)
        if not opened.ok:
            return ""
        cleanup = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": self.file.name})
        request_id = self.caller.fresh_request_id()
        taken = await self.caller.acquire(
            self.name, request_id, ttl_ms=TTL_MS, session_id=opened.session_id, cleanup=cleanup
        )
        self.holds = taken.ok
        return opened.session_id if taken.ok else ""


class _FleetCut(Fault):
    """Nothing passes between the services and the nodes. Between nodes all is well."""

    name = "cut the fleet off"

    def __init__(self, wires: Sequence[Wire]) -> None:
        self._wires = wires

    @override
    async def inject(self, cluster: Cluster) -> None:
        for wire in self._wires:
            wire.block(*Direction)

    @override
    async def heal(self, cluster: Cluster) -> None:
        for wire in self._wires:
            wire.unblock()
            wire.cut()

    @property
    @override
    def proof(self) -> str:
        held = sum(each.held_bytes for wire in self._wires for each in wire.weather.values())
        return f"{held} bytes of the services' had to wait" if held else ""


@dataclass(slots=True)
class _Fleet:
    """The services, and all that lies between them and the nodes."""

    stage: Stage
    wires: Sequence[Wire]
    services: Sequence[_Service]

    def check(self, services: Sequence[_Service], when: str) -> None:
        missing = [each.name for each in services if not each.is_kept]
        self.stage.check(f"I1: {when} nothing is deleted; missing are {missing}", holds=not missing)

    async def brake(self) -> cluster_pb2.FleetBrakeStatus:
        cluster = self.stage.cluster
        status = await cluster.status(await cluster.leader())
        return cluster_pb2.FleetBrakeStatus() if status is None else status.cleanup.fleet_brake

    async def until_released(self) -> None:
        try:
            async with asyncio.timeout(SOON_S_MAX):
                while (await self.brake()).engaged:  # noqa: ASYNC110 - another process judges
                    await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            self.stage.fail(f"the fleet's brake is released within {SOON_S_MAX:g} s by services that are back")


@asynccontextmanager
async def _fleet(stage: Stage) -> AsyncIterator[_Fleet]:
    """Services at work, each on a wire of the fleet's own to every node."""
    async with AsyncExitStack() as stack:
        wires, nodes = [], {}
        for node_id in stage.cluster.doors:
            host, _, port = stage.cluster.nodes[node_id].api.rpartition(":")
            wire = Wire((host, int(port)))
            await wire.open("127.0.0.1", 0)
            stack.push_async_callback(wire.close)
            channel = grpc.aio.insecure_channel(wire.address, options=CHANNEL_OPTIONS)
            stack.push_async_callback(channel.close)
            wires.append(wire)
            nodes[node_id] = Stubs(channel)
        # A history of its own: what these services do is judged here, by the files.
        around = Around(nodes=nodes, history=History(grace_ms=GRACE_MS), now_ns=boottime_ns)
        for number in range(NAMESPACES):
            await _set_up(stage, f"fleet-{number}")
        services = [_service(stage, around, number) for number in range(SERVICES)]
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = [group.create_task(each.run(), name=f"chaos-{each.name}") for each in services]
        try:
            yield _Fleet(stage, wires, services)
        finally:
            for task in running:
                task.cancel()


def _service(stage: Stage, around: Around, number: int) -> _Service:
    name = f"fleet-service-{number}"
    file = stage.cluster.files / name
    file.write_text(f"of {name}\n", encoding="utf-8")
    chance = random.Random(f"{stage.plan.seed}/{name}")
    return _Service(name, Caller(name, around, chance, f"fleet-{number % NAMESPACES}"), file)


async def _set_up(stage: Stage, namespace: str) -> None:
    request = namespace_pb2.NamespaceServiceSetRequest(
        namespace=namespace,
        request_id=f"chaos-{namespace}",
        cleanup=namespace_pb2.CleanupSettings(grace_ms_min=GRACE_MS),
    )
    leader = stage.cluster.nodes[await stage.leader()]
    await leader.stubs.namespace.Set(request, timeout=CALL_S)


async def _until(stage: Stage, what: str, holds: Callable[[], bool]) -> None:
    if not await stage.within(SOON_S_MAX, holds):
        stage.fail(f"{what} within {SOON_S_MAX:g} s")
    stage.check(what, holds=True)
