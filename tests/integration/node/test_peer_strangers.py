"""Who is no peer of this node is not heard on the peers' port."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from garbagetruck.cluster.node.peers.mesh import MemberDisks
from garbagetruck.cluster.node.peers.port import (
    SubmitRequest,
)
from garbagetruck.cluster.node.peers.wire import FRAME_BYTES_MAX, PEER, StatusRequest
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.frames import Frame, frame_of
from tests.integration.node.peer_nodes import (
    SETTINGS,
    Node,
    free_members,
    record,
)
from tests.integration.raft.authorities import certificates


def hello(**changes: object) -> wire.Hello:
    fields = {
        "protocol": PEER.protocol,
        "cluster_id": "c",
        "incarnation": 1,
        "node_id": "n2",
        "disk_id": "disk-n2",
        "to": "n1",
        "format": wire.FORMAT,
    }
    return wire.Hello(**(fields | changes))  # type: ignore[arg-type]


async def call(address: str, *messages: Frame) -> bytes:
    """Connect, say something, and return what is answered until the other side ends it."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for message in messages:
        writer.write(frame_of(message, PEER))
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (hello(cluster_id="other"), b"another cluster"),
        (hello(incarnation=2), b"another incarnation"),
        (hello(protocol=wire.PROTOCOL), b"another protocol"),
        (hello(node_id="n9"), b"not a member"),
        (hello(to="n3"), b"meant for another node"),
        (hello(disk_id="another"), b"another disk"),
        (StatusRequest(1), b"no greeting"),
    ],
)
async def test_who_is_no_peer_is_refused_and_told_why(greeting: Frame, reason: bytes) -> None:
    members = free_members()
    node = Node("n1", members, SETTINGS, disks=MemberDisks(lambda: (record("n2", "disk-n2"),)))
    await node.mesh.start()
    answer = await call(members[0].address, greeting, SubmitRequest(1, b"\x90", 1_000))
    assert reason in answer
    assert node.handler.asked == 0
    await node.stop()


async def test_what_fits_no_frame_or_is_no_message_ends_the_connection_unread() -> None:
    members = free_members()
    node = Node("n1", members, SETTINGS)
    await node.mesh.start()
    for rest in ((FRAME_BYTES_MAX + 1).to_bytes(4, "big"), b"\0\0\0\x01\xc1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", members[0].port)
        writer.write(frame_of(hello(), PEER) + rest)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()
    assert node.handler.asked == 0
    await node.stop()


async def test_without_the_clusters_certificate_nobody_is_heard(tmp_path: Path) -> None:
    members = free_members()
    node = Node("n1", members, replace(SETTINGS, tls=certificates(tmp_path, "n1")("n1")))
    await node.mesh.start()
    assert await call(members[0].address, hello(), SubmitRequest(1, b"\x90", 1_000)) == b""
    assert node.handler.asked == 0
    assert node.mesh.connected == frozenset()
    await node.stop()


def test_the_machines_record_says_which_disk_a_peer_has() -> None:
    disks = MemberDisks(lambda: (record("n1", "disk-1"), record("n2", "")))
    assert disks.is_known_or_new("n1", "disk-1")
    assert not disks.is_known_or_new("n1", "disk-2")
    assert disks.is_known_or_new("n2", "any"), "it was never met"
    assert disks.is_known_or_new("n3", "any"), "the log is not applied so far yet"
