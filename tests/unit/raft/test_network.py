"""Hazards 20 and 21: frames, accepting, connecting, and names; on a real loop, over loopback."""

import asyncio
import errno
import os
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysyncobj.pipe_notifier import PipeNotifier
from typing_extensions import override

from garbagetruck.cluster.raft import network as network_module
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.dialling import Backoff
from garbagetruck.cluster.raft.frames import RAFT, Frame, FrameReader, FrameRefusedError, frame_of
from garbagetruck.cluster.raft.link import Channel, Link
from garbagetruck.cluster.raft.network import TcpNetwork
from garbagetruck.cluster.raft.poller import NoPoller
from garbagetruck.cluster.raft.settings import APPEND_BATCH_BYTES, PROPOSAL_BYTES_MAX, Member
from garbagetruck.cluster.raft.transport import ENTRIES_MAX
from tests.unit.raft.stage import Stage, appending


class TestFrames:
    MESSAGES: tuple[wire.Message, ...] = (wire.Vote(3), wire.Alive(), appending(3, 4, 2, [2, 3]), wire.Probe(3, 2**40))

    @given(st.lists(st.integers(1, 7), max_size=200))
    def test_messages_come_out_whole_however_the_stream_is_cut(self, cuts: list[int]) -> None:
        stream = b"".join(frame_of(message) for message in self.MESSAGES)
        reader, begin = FrameReader(4_096), 0
        read: list[Frame] = []
        for cut in [*cuts, len(stream)]:
            read += reader.feed(stream[begin : begin + cut])
            begin += cut
        assert read == list(self.MESSAGES)

    def test_a_frame_is_refused_by_its_announced_length_before_it_is_read(self) -> None:
        reader = FrameReader(10)
        assert list(reader.feed((10).to_bytes(4, "big"))) == []
        with pytest.raises(FrameRefusedError, match="oversize frame: 11 bytes, 10 are allowed"):
            list(FrameReader(10).feed((11).to_bytes(4, "big")))

    def test_what_was_read_before_a_bad_frame_is_heard(self) -> None:
        feed = FrameReader(4_096).feed(frame_of(wire.Vote(3)) + (1).to_bytes(4, "big") + b"\xc1")
        assert next(feed) == wire.Vote(3)
        with pytest.raises(FrameRefusedError, match="malformed frame"):
            next(feed)

    def test_the_fullest_message_of_entries_fits_a_frame(self) -> None:
        size_bytes = (APPEND_BATCH_BYTES - 1) // (ENTRIES_MAX - 1)
        far = 2**62
        entries = [(bytes(size_bytes), far + number, far) for number in range(1, ENTRIES_MAX)]
        entries.append((b"\0" * (PROPOSAL_BYTES_MAX + 1), far + ENTRIES_MAX, far))
        frame_of(wire.AppendEntries(far, far, far, far, entries))


class Host:
    """Owns links, and remembers what happened."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[Channel] = asyncio.Queue()
        self.links: list[Channel] = []
        self.heard: list[Frame] = []
        self.lost = 0

    def on_open(self, link: Channel) -> None:
        self.links.append(link)
        self.opened.put_nowait(link)

    def on_message(self, link: Channel, message: Frame) -> None:
        self.heard.append(message)

    def on_malformed(self, link: Channel, error: FrameRefusedError) -> None: ...

    def on_lost(self, link: Channel) -> None:
        self.lost += 1


@pytest.fixture
def refused() -> list[str]:
    return []


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    yield host
    for link in host.links:
        link.abort()
    async with asyncio.timeout(20):
        while host.lost < len(host.links):  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.001)


@pytest.fixture
async def network(refused: list[str]) -> AsyncIterator[TcpNetwork]:
    bugs: list[BaseException] = []
    made = TcpNetwork(
        tls=None,
        handshake_s=5.0,
        strangers_max=4,
        monotonic_ns=lambda: 0,
        refuse=lambda cause, address, why: refused.append(cause),
        on_bug=bugs.append,
    )
    yield made
    await made.close()
    assert bugs == []


def free_member(host: str = "127.0.0.1") -> Member:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return Member("n1", f"{host}:{taken.getsockname()[1]}")


class ClosedUnawares(asyncio.Transport):
    """As uvloop's can be: its socket is closed, and nobody was told yet."""

    aborted = False

    @override
    def is_closing(self) -> bool:
        return False

    @override
    def write(self, data: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    @override
    def abort(self) -> None:
        self.aborted = True


def test_a_link_whose_socket_is_closed_already_is_lost_and_no_bug() -> None:
    host, bugs = Host(), list[BaseException]()
    transport = ClosedUnawares()
    link = Link(language=RAFT, owner=host, expected="n2", address="", monotonic_ns=lambda: 0, on_bug=bugs.append)
    link.connection_made(transport)
    link.send(wire.Alive())
    assert (transport.aborted, bugs) == (True, [])


class TestAccepting:
    async def test_an_accept_that_fails_is_counted_and_accepting_goes_on(
        self, network: TcpNetwork, host: Host, refused: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """pysyncobj alone stops listening for good (tcp_server.py 62)."""
        monkeypatch.setattr(network_module, "ACCEPT_PAUSE_S", 0.001)
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "no descriptors"), OSError(errno.ECONNABORTED, "")]

        async def failing(listening: socket.socket) -> Any:
            if failures:
                raise failures.pop(0)
            return await accept(listening)

        monkeypatch.setattr(loop, "sock_accept", failing)
        member = free_member()
        await network.listen(member, host)
        await network.dial(member, host)
        for _ in range(2):
            async with asyncio.timeout(20):
                await host.opened.get()
        assert refused == ["accept failed"]

    async def test_a_socket_is_closed_whose_greeting_is_cancelled_before_it_began(
        self, network: TcpNetwork, host: Host
    ) -> None:
        """A task that is cancelled before its first step runs none of its own handlers."""
        sockets: list[socket.socket] = []
        ended = asyncio.Event()

        class Cancelling(set[Any]):
            def add(self, task: Any) -> None:  # type: ignore[explicit-override]
                super().add(task)
                sockets.append(task.get_coro().cr_frame.f_locals["accepted"])
                task.add_done_callback(lambda _: ended.set())
                task.cancel()

        network._securing = Cancelling()
        member = free_member()
        await network.listen(member, host)
        await network.dial(member, host)
        async with asyncio.timeout(20):
            await ended.wait()
        assert [each.fileno() for each in sockets] == [-1]
        assert not network._securing

    async def test_what_one_side_says_the_other_hears_until_it_ends(self, network: TcpNetwork, host: Host) -> None:
        member = free_member()
        await network.listen(member, host)
        await network.dial(member, host)
        links = [await host.opened.get(), await host.opened.get()]
        (calling,) = (link for link in links if link.expected == "n1")
        calling.send(wire.Vote(3))
        calling.close()
        async with asyncio.timeout(20):
            while host.lost < 2:  # noqa: ASYNC110  # no bell
                await asyncio.sleep(0.001)
        assert host.heard == [wire.Vote(3)]


class TestConnecting:
    async def test_a_name_is_resolved_anew_for_every_attempt(
        self, network: TcpNetwork, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A member may have moved. pysyncobj alone remembers names, and resolves them while it ticks."""
        loop = asyncio.get_running_loop()
        member = free_member()
        await network.listen(member, host)
        resolved: list[Any] = []
        addresses = iter(["127.0.0.2", "127.0.0.1"])

        async def getaddrinfo(name: Any, port: Any, **_: Any) -> list[Any]:
            resolved.append(name)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses), port))]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        moved = Member("n1", f"n1.example:{member.port}")
        with pytest.raises(OSError, match=r"127\.0\.0\.2"):
            await network.dial(moved, host)
        await network.dial(moved, host)
        assert resolved == ["n1.example", "n1.example"]

    async def test_a_name_that_takes_too_long_to_resolve_is_given_up(
        self, network: TcpNetwork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            await asyncio.sleep(3_600)
            return []

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        network._handshake_s = 0.01
        with pytest.raises(TimeoutError):
            await network.dial(Member("n1", "n1.example:7301"), Host())

    def test_waits_double_up_to_a_bound_and_differ(self) -> None:
        backoff = Backoff(100, 1_000, random.Random(1))
        waits = [backoff.next_ms() for _ in range(8)]
        for wait_ms, longest_ms in zip(waits, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000], strict=True):
            assert longest_ms / 2 <= wait_ms <= longest_ms
        assert len(set(waits)) == len(waits)
        backoff.reset()
        assert backoff.next_ms() <= 100


class TestNoPipe:
    """Hazard 21: pysyncobj's notifier writes to a pipe that nobody reads here."""

    def test_pysyncobj_has_no_notifier(self, stage: Stage) -> None:
        assert not hasattr(stage.node("n1").consensus, "_SyncObj__pipeNotifier")

    def test_pysyncobj_alone_fails_when_the_pipe_is_full(self) -> None:
        notifier = PipeNotifier(NoPollerThatSubscribes())
        for _ in range(65_536):
            notifier.notify()
        with pytest.raises(BlockingIOError):
            notifier.notify()
        for side in ("R", "W"):
            os.close(getattr(notifier, f"_PipeNotifier__pipe{side}"))


class NoPollerThatSubscribes(NoPoller):
    def subscribe(self, *_: object) -> None:
        """Never calls back."""
