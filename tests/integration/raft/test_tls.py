"""Three replicas that talk over TLS, and callers that should not be heard."""

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.frames import frame_of
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.cluster.raft.tls import TlsFiles, load
from tests.integration.raft.authorities import certificates
from tests.integration.raft.replicas import CALM, IDS, Trio, trio, until_seen


async def refused(nodes: Trio, cause: str, *, by: str) -> None:
    """Wait until a node has counted a refusal."""
    await until_seen(lambda: bool(nodes.replicas[by].refusals.get(cause)))


async def call(port: int, context: ssl.SSLContext | None, *messages: wire.Message) -> bytes:
    """Connect, say something, and return what is answered until the other side ends it."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="" if context else None
    )
    for message in messages:
        writer.write(frame_of(message))
    try:
        return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""
    finally:
        writer.close()


def hello(node_id: str, to: str) -> wire.Hello:
    return wire.Hello(wire.PROTOCOL, "c", 1, node_id, f"disk-{node_id}", to, wire.FORMAT)


async def test_a_cluster_replicates_fails_over_and_hands_over_with_certificates(tmp_path: Path) -> None:
    async with trio(tmp_path, tls=certificates(tmp_path / "tls", *IDS)) as nodes:
        leader = await nodes.leader()
        large = [bytes([number]) * 1_000_000 for number in range(5)]
        nodes.propose(leader, *large, b"a")
        await nodes.heard(b"a", *large)
        follower = next(node_id for node_id in IDS if node_id != leader)
        assert await nodes.replicas[leader].transfer_leadership(follower)
        await nodes.stop(follower)
        successor = await nodes.leader()
        nodes.propose(successor, b"b")
        await nodes.heard(b"b")
        await nodes.start(follower)
        await nodes.heard(b"b")


@pytest.mark.parametrize(
    ("caller", "cause"),
    [
        pytest.param(lambda folder: None, "TLS handshake failed", id="no TLS at all"),
        pytest.param(
            lambda folder: certificates(folder / "a", "n3")("n3"), "TLS handshake failed", id="another authority"
        ),
        pytest.param(
            lambda folder: certificates(folder / "b", "n3", now=dt.datetime.now(dt.UTC) - dt.timedelta(days=9))("n3"),
            "TLS handshake failed",
            id="an expired one",
        ),
    ],
)
async def test_who_has_no_certificate_of_the_authority_is_not_even_heard(
    tmp_path: Path, caller: Callable[[Path], TlsFiles | None], cause: str
) -> None:
    files = caller(tmp_path)
    context = None
    if files is not None:
        context = load(files).client
        context.verify_mode = ssl.CERT_NONE
    async with trio(tmp_path, CALM, tls=certificates(tmp_path / "tls", *IDS)) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        assert (
            await call(nodes.port("n1"), context, hello("n3", "n1"), wire.RequestVote(99, 99, 99, transfer=True)) == b""
        )
        await refused(nodes, cause, by="n1")
        assert nodes.replicas[leader].status.term == term


async def test_who_has_no_certificate_at_all_is_not_even_heard(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    nodes = Trio(tmp_path, tls=certificates(tmp_path / "tls", *IDS))
    await nodes.start("n1")
    assert await call(nodes.port("n1"), context, hello("n3", "n1")) == b""
    await refused(nodes, "TLS handshake failed", by="n1")
    await nodes.stop("n1")


async def test_a_certificate_speaks_for_its_own_node_only(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls", *IDS)
    async with trio(tmp_path, tls=files) as nodes:
        await nodes.leader()
        answer = await call(nodes.port("n1"), load(files("n2")).client, hello("n3", "n1"))
        assert b"certificate of another node" in answer
        await refused(nodes, "certificate of another node", by="n1")


async def test_a_certificate_of_another_cluster_of_the_same_authority_is_refused(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls", *IDS, cluster_id="other")
    nodes = Trio(tmp_path, tls=files)
    await nodes.start("n1")
    answer = await call(nodes.port("n1"), load(files("n3")).client, hello("n3", "n1"))
    assert b"certificate of another node" in answer
    await nodes.stop("n1")


async def test_a_node_with_an_old_protocol_of_tls_is_refused(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls", *IDS)
    context = load(files("n3")).client
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    nodes = Trio(tmp_path, tls=files)
    await nodes.start("n1")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await call(nodes.port("n1"), context)
    await refused(nodes, "TLS handshake failed", by="n1")
    await nodes.stop("n1")


async def test_who_stops_in_the_middle_of_the_handshake_is_cut_off(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls", *IDS)
    settings = replace(RaftSettings(), strangers_max=4)
    nodes = Trio(tmp_path, settings, tls=files)
    await nodes.start("n1")
    silent = [await asyncio.open_connection("127.0.0.1", nodes.port("n1")) for _ in range(6)]
    await refused(nodes, "too many strangers", by="n1")
    for reader, writer in silent:
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    assert nodes.replicas["n1"].refusals["TLS handshake too slow"] == settings.strangers_max
    await nodes.stop("n1")


async def test_files_that_cannot_be_used_are_named_at_the_start(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls", "n1")
    nodes = Trio(tmp_path, tls=lambda _: replace(files("n1"), authority=tmp_path / "none.pem"))
    with pytest.raises(OSError, match=r"TLS authority .*none\.pem"):
        await nodes.start("n1")
    nodes = Trio(tmp_path, tls=lambda _: replace(files("n1"), key=files("n1").authority))
    with pytest.raises(OSError, match=r"TLS certificate .*n1\.pem with key .*ca\.pem"):
        await nodes.start("n1")
