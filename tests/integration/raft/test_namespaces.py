"""Three processes in network namespaces of their own, over TLS, with a cable that a test pulls out.

Unlike a connection that ends, a pulled cable says nothing: both sides are half-open until they notice.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.raft.authorities import certificates
from tests.integration.raft.processes import Site, processes
from tests.integration.raft.replicas import CALM_MS, IDS

PORT = 7301
TAG = f"{os.getpid() % 100_000:05d}"
"""In every name, so that two runs do not meet: names of interfaces are short."""


def ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


class Switchboard:
    """A bridge in a namespace of its own, and a cable from it to each node's."""

    def __init__(self) -> None:
        self._middle = f"gt{TAG}m"
        self.namespaces = {node_id: f"gt{TAG}{node_id}" for node_id in IDS}
        self.addresses = {node_id: f"10.213.77.{number}" for number, node_id in enumerate(IDS, 1)}

    def lay(self) -> bool:
        middle = ("-n", self._middle)
        done = ip("netns", "add", self._middle) and ip(*middle, "link", "add", "bridge", "type", "bridge")
        done = done and ip(*middle, "link", "set", "bridge", "up")
        for node_id, namespace in self.namespaces.items():
            inside = ("-n", namespace)
            done = (
                done
                and ip("netns", "add", namespace)
                and ip(*middle, "link", "add", node_id, "type", "veth", "peer", "name", "cable", "netns", namespace)
                and ip(*middle, "link", "set", node_id, "master", "bridge", "up")
                and ip(*inside, "address", "add", f"{self.addresses[node_id]}/24", "dev", "cable")
                and ip(*inside, "link", "set", "cable", "up")
                and ip(*inside, "link", "set", "lo", "up")
            )
        return done

    def take_up(self) -> None:
        for namespace in (*self.namespaces.values(), self._middle):
            ip("netns", "delete", namespace)

    def pull(self, node_id: str) -> None:
        assert ip("-n", self._middle, "link", "set", node_id, "down")

    def plug(self, node_id: str) -> None:
        assert ip("-n", self._middle, "link", "set", node_id, "up")


@pytest.fixture
def switchboard() -> Iterator[Switchboard]:
    switchboard = Switchboard()
    try:
        if shutil.which("ip") is None or not switchboard.lay():
            pytest.skip("network namespaces cannot be made here")
        yield switchboard
    finally:
        switchboard.take_up()


@pytest.fixture
def site(switchboard: Switchboard, tmp_path: Path) -> Site:
    files = certificates(tmp_path / "tls", *IDS)

    def paths(node_id: str) -> list[Path]:
        own = files(node_id)
        return [own.certificate, own.key, own.authority]

    return Site(
        members={node_id: f"{address}:{PORT}" for node_id, address in switchboard.addresses.items()},
        prefix=lambda node_id: ["ip", "netns", "exec", switchboard.namespaces[node_id]],
        tls=paths,
    )


async def test_a_follower_whose_cable_was_out_deposes_nobody_when_it_is_back(
    tmp_path: Path, switchboard: Switchboard, site: Site
) -> None:
    """Hazard 13."""
    async with processes(tmp_path, site, **CALM_MS) as nodes:
        leader = await nodes.leader()
        away = next(node_id for node_id in IDS if node_id != leader)
        nodes.propose("a")
        await nodes.bell.until(lambda: all("a" in process.applied for process in nodes.running.values()))
        term = nodes.running[leader].term
        switchboard.pull(away)
        await asyncio.sleep(5.0)  # longer than elections take, and longer than connections last
        nodes.propose("b")
        await nodes.bell.until(lambda: "b" in nodes.running[leader].applied)
        switchboard.plug(away)
        await nodes.bell.until(lambda: "b" in nodes.running[away].applied)
        assert await nodes.leader() == leader
        assert {process.term for process in nodes.running.values()} == {term}


async def test_i8_a_leader_whose_cable_is_out_stops_and_deposes_nobody_when_it_is_back(
    tmp_path: Path, switchboard: Switchboard, site: Site
) -> None:
    async with processes(tmp_path, site, **CALM_MS) as nodes:
        first = await nodes.leader()
        term = nodes.running[first].term
        switchboard.pull(first)
        await nodes.bell.until(lambda: nodes.running[first].role != "leader")
        second = await nodes.leader(but=first)
        later = nodes.running[second].term
        nodes.propose("meanwhile")
        await nodes.bell.until(lambda: "meanwhile" in nodes.running[second].applied)
        assert "meanwhile" not in nodes.running[first].applied
        switchboard.plug(first)
        await nodes.bell.until(lambda: "meanwhile" in nodes.running[first].applied)
        assert await nodes.leader() == second
        assert {process.term for process in nodes.running.values()} == {later}
        assert later > term
