"""Whatever knocks at a Raft port: it is refused, counted, logged once, and costs no memory."""

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.frames import FRAME_BYTES_MAX, GREETING_BYTES_MAX, frame_of
from garbagetruck.cluster.raft.log import Role
from tests.integration.raft.replicas import CALM, IDS, PATIENCE_S, Trio, trio

SETTINGS = replace(CALM, strangers_max=8)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def hello(node_id: str, to: str, **different: object) -> wire.Hello:
    return replace_hello(wire.Hello(wire.PROTOCOL, "c", 1, node_id, f"disk-{node_id}", to, wire.FORMAT), **different)


def replace_hello(message: wire.Hello, **different: object) -> wire.Hello:
    return msgspec.structs.replace(message, **different)


async def say(port: int, data: bytes) -> bytes:
    """Everything that is answered until the other side ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError):
            writer.write(data)
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read()
        return b""
    finally:
        writer.close()


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[tuple[Trio, str]]:
    """A cluster that works, and goes on working under its leader and term; and the id of the node to be abused."""
    async with trio(folder, SETTINGS) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        nodes.propose(leader, b"before")
        await nodes.heard(b"before")
        yield nodes, "n1"
        nodes.propose(leader, b"after")
        await nodes.heard(b"after")
        assert nodes.replicas[leader].status.role is Role.LEADER
        assert nodes.replicas[leader].status.term == term


REFUSED: dict[str, list[Callable[[], bytes]]] = {
    "another cluster": [lambda: frame_of(hello("n3", "n1", cluster_id="other"))],
    "another incarnation of the cluster": [lambda: frame_of(hello("n3", "n1", incarnation=2))],
    "another protocol": [lambda: frame_of(hello("n3", "n1", protocol=wire.PROTOCOL + 1))],
    "not a member": [lambda: frame_of(hello("n9", "n1"))],
    "meant for another node": [lambda: frame_of(hello("n3", "n2"))],
    "another disk than before": [lambda: frame_of(hello("n3", "n1", disk_id="wiped"))],
    "no greeting": [lambda: frame_of(wire.RequestVote(99, 99, 99, transfer=True))],
    "oversize frame": [
        lambda: (2**32 - 1).to_bytes(4, "big"),
        lambda: (GREETING_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 100,
        lambda: b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
    ],
    "malformed frame": [lambda: (3).to_bytes(4, "big") + b"abc", lambda: (0).to_bytes(4, "big")],
}
TIMES = 20


async def test_what_does_not_belong_is_refused_counted_and_logged_once(tmp_path: Path) -> None:
    async with working(tmp_path) as (nodes, victim):
        before = dict(nodes.replicas[victim].refusals)
        with structlog.testing.capture_logs() as logs:
            for each in (data for ways in REFUSED.values() for data in ways):
                for _ in range(TIMES):
                    await say(nodes.port(victim), each())
        counted = {cause: nodes.replicas[victim].refusals.get(cause, 0) - before.get(cause, 0) for cause in REFUSED}
        assert counted == {cause: TIMES * len(ways) for cause, ways in REFUSED.items()}
        told = Counter(line["cause"] for line in logs if line["event"] == "raft_refused" and line["node"] == victim)
        assert {cause: told[cause] for cause in REFUSED} == dict.fromkeys(REFUSED, 1)


async def test_random_bytes_are_refused_and_cost_no_memory(tmp_path: Path) -> None:
    chance = random.Random(2026)
    async with working(tmp_path) as (nodes, victim):
        for _ in range(20):  # what is allocated once
            await say(nodes.port(victim), chance.randbytes(100_000))
        before = resident_bytes()
        for _ in range(200):
            await say(nodes.port(victim), chance.randbytes(chance.randrange(1, 100_000)) + b"\xff" * 4)
        assert resident_bytes() - before < 16 * 2**20
        counts = nodes.replicas[victim].refusals
        assert sum(counts.values()) >= 220


async def test_strangers_that_say_nothing_are_few_and_for_a_short_time(tmp_path: Path) -> None:
    async with working(tmp_path) as (nodes, victim):
        silent = [await asyncio.open_connection("127.0.0.1", nodes.port(victim)) for _ in range(50)]
        async with asyncio.timeout(PATIENCE_S):
            for reader, writer in silent:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        counts = nodes.replicas[victim].refusals
        assert counts["too many strangers"] >= 50 - SETTINGS.strangers_max - 2
        assert counts["greeting too slow"] >= SETTINGS.strangers_max - 2


async def test_one_that_greets_byte_by_byte_is_cut_off_in_time(tmp_path: Path) -> None:
    async with working(tmp_path) as (nodes, victim):
        reader, writer = await asyncio.open_connection("127.0.0.1", nodes.port(victim))

        frame = frame_of(hello("n3", "n1"))

        async def greet() -> None:
            for byte in frame:
                writer.write(bytes([byte]))
                await asyncio.sleep(3 * SETTINGS.handshake_ms_max / 1_000 / len(frame))

        greeting = asyncio.create_task(greet())
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                await reader.read()
        assert not greeting.done(), "the end did not wait for the greeting's"
        greeting.cancel()
        writer.close()
        assert nodes.replicas[victim].refusals["greeting too slow"] == 1


async def test_a_member_that_announces_too_much_is_cut_off_before_anything_is_kept(tmp_path: Path) -> None:
    """n3's place is taken by the test: a member, as far as anybody can tell."""
    async with trio(tmp_path, SETTINGS) as nodes:
        await nodes.leader()
        await nodes.stop("n3")
        before = resident_bytes()
        for _ in range(20):
            answer = await say(
                nodes.port("n1"), frame_of(hello("n3", "n1")) + (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 65_536
            )
            assert b"hello" in answer
        assert nodes.replicas["n1"].refusals["oversize frame"] == 20
        assert resident_bytes() - before < 16 * 2**20
        await nodes.leader()


async def test_a_member_that_reads_nothing_is_cut_off_and_its_share_of_memory_is_bounded(tmp_path: Path) -> None:
    """Half-open: it says that it lives, and takes nothing."""
    settings = replace(SETTINGS, outgoing_bytes_max=16 * 2**20)
    async with trio(tmp_path, settings) as nodes:
        await nodes.leader()
        await nodes.stop("n3")
        leader = await nodes.leader()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.connect(("127.0.0.1", nodes.port(leader)))
            deaf.sendall(frame_of(hello("n3", leader)))
            await nodes.bell.until(lambda: "n3" in nodes.replicas[leader].status.connected)
            payload = b"x" * 500_000
            for number in range(60):  # 30 MB, of which n3 takes none
                nodes.propose(leader, payload + b"%d" % number)
                await nodes.heard(payload + b"%d" % number, by=[leader])
                with suppress(OSError):
                    deaf.sendall(frame_of(wire.Alive()))
            replica = nodes.replicas[leader]
            peering = replica._engine._peering
            assert peering is not None
            session = peering.sessions.get("n3")
            assert session is None or session.link.waiting_bytes <= settings.outgoing_bytes_max
        await nodes.bell.until(lambda: "n3" not in replica.status.connected)
        await nodes.start("n3")
        await nodes.heard(payload + b"59", by=["n3"])
        assert set(IDS) - {"n3"} <= set(nodes.replicas)
