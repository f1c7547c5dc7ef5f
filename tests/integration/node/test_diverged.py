"""Three whole nodes in this process, one of which goes another way (I3): cleanups stop first, then the right one ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

import garbagetruck
from garbagetruck.client.truck import Truck
from garbagetruck.cluster.machine.model import Lease
from garbagetruck.cluster.node import digests
from garbagetruck.cluster.node.compose import compose
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.endings import StateDiverged
from garbagetruck.cluster.node.identity import DataFolder
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.cluster.node.server_node import ServerNode
from tests.cluster_fixtures.ports import free_base_port
from tests.integration.node.test_one_node import Place, world
from tests.unit.machine.integrity import state_of

NAMES = ("n1", "n2", "n3")


@dataclass
class Trio:
    """`died` tells what each node would have ended with: here it is stopped by the test."""

    folder: Path
    base_port: int
    nodes: dict[str, ServerNode] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    async def start(self, stack: AsyncExitStack) -> None:
        options = UpOptions(data_dir=self.folder, nodes=3, base_port=self.base_port)
        prepare(plan(options, new_cluster_id="tests"), options)
        for name in NAMES:
            settings = load_settings(self.folder / f"{name}.toml", {}).settings
            folder = stack.enter_context(DataFolder(settings.node.data_dir))
            identity = folder.open(cluster_id="tests", node_id=name, bootstrap_disk_id=f"disk-{name}")
            self.places[name] = Place(self.folder, self.base_port)
            self.nodes[name] = compose(settings, identity, folder, world(self.places[name]))
            await self.nodes[name].start()
            stack.push_async_callback(self.nodes[name].stop)
        await asyncio.gather(*(node.become_ready() for node in self.nodes.values()))

    @property
    def endpoints(self) -> str:
        return ",".join(f"127.0.0.1:{self.base_port + number}" for number in (1, 2, 3))

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def died(self) -> dict[str, list[BaseException]]:
        return {name: place.died for name, place in self.places.items() if place.died}

    def leader(self) -> str:
        return next(name for name, node in self.nodes.items() if node.core.leadership.leading)

    async def load_until(self, truck: Truck, condition: Callable[[], bool]) -> None:
        """Write entries, so that there is something to compare."""
        number = 0
        async with asyncio.timeout(60):
            while not condition():
                number += 1
                lease = await truck.acquire(f"load/{number}", holder="load", ttl=60.0)
                await truck.release(lease.id)


@pytest.fixture
async def trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trio]:
    assert "GARBAGETRUCK_NODE_FEATURE_LEVEL" not in os.environ
    monkeypatch.setattr(digests, "NOTED_AFTER_ENTRIES", digests.EVERY_ENTRIES)
    async with AsyncExitStack() as stack:
        trio = Trio(tmp_path, free_base_port(3))
        await trio.start(stack)
        yield trio


def forget_a_lease_in_time(node: ServerNode, lease_id: str) -> None:
    """Plant what a bit that fell over would do: on this node the lease ends long before it may."""
    state = state_of(node.core.machine)
    lease = state.leases[lease_id]
    wrong: Lease = replace(lease, deadline_ms=state.clock_ms)
    state.hasten_lease(wrong)
    state.leases.prolong({lease_id: wrong})


@pytest.mark.slow
@pytest.mark.parametrize("who", ["leader", "follower"])
async def test_i1_i3_a_node_that_would_clean_what_is_in_use_is_stopped_and_ended(trio: Trio, who: str) -> None:
    async with garbagetruck.connect(trio.endpoints) as truck:
        await trio.load_until(truck, lambda: all(n.core.digests.agreed_index for n in followers(trio)))
        assert trio.died() == {}
        leader = trio.leader()
        wrong = leader if who == "leader" else next(name for name in NAMES if name != leader)
        right = [name for name in NAMES if name != wrong]
        lease = await truck.acquire(
            "kept", holder="tests", ttl=600.0, cleanup=garbagetruck.Cleanup("file", path="kept"), grace=60.0
        )
        (trio.files / "kept").write_text("in use")
        await trio.nodes[wrong].core.applier.wait_applied(trio.nodes[leader].core.applier.applied_index)
        forget_a_lease_in_time(trio.nodes[wrong], lease.id)
        await trio.load_until(truck, lambda: bool(trio.died()))
        assert list(trio.died()) == [wrong]
        (ending,) = trio.died()[wrong]
        assert isinstance(ending, StateDiverged)
        assert f"the state of {wrong} behind entry" in str(ending)
        assert f"the others, {', '.join(right)}, has" in str(ending)
        assert all(trio.nodes[name].core.machine.cleanups_paused for name in right), "before it ended"
        assert trio.nodes[wrong].core.digests.holds_cleanups
        await trio.nodes[wrong].stop()
        (warning,) = [each for each in (await truck.status()).warnings if "digests differ" in each]
        assert f"{wrong} has" in warning
        assert "cleanups stay paused until `cleanup resume --all-namespaces`" in warning
        assert (await metric(trio, right[0], "garbagetruck_digests_differ")) == 1
        assert (await metric(trio, right[0], "garbagetruck_digest_differences_total")) >= 1
        await truck.renew(lease.id)
        await truck.cleanups.resume(all_namespaces=True, reason=f"{wrong} is gone")
        await trio.load_until(truck, lambda: not any(trio.nodes[each].core.digests.holds_cleanups for each in right))
        assert (await truck.status()).cleanup.paused is False
        assert list(trio.died()) == [wrong]
    assert (trio.files / "kept").read_text() == "in use"


def followers(trio: Trio) -> list[ServerNode]:
    return [node for node in trio.nodes.values() if not node.core.leadership.leading]


async def metric(trio: Trio, name: str, metric_name: str) -> float:
    address = f"http://127.0.0.1:{trio.base_port + 100 + int(name[1:])}/metrics"
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{metric_name} "))
