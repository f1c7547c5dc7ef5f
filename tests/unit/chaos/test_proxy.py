"""Wires between real sockets: what is blocked waits, what is slow keeps its order, what is cut is gone."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from garbagetruck.chaos.processes.proxy import HELD_BYTES_MAX, Direction, Wire

TIMEOUT_S = 10.0
HOST = "127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Bench:
    """A wire, the listener behind it, and every end of a connection, so that none is left open."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.arrived: asyncio.Queue[Streams] = asyncio.Queue()
        self.ends: list[asyncio.StreamWriter] = []

    async def dial(self) -> Streams:
        host, _, port = self.wire.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self.ends.append(writer)
        return reader, writer

    async def pair(self) -> tuple[Streams, Streams]:
        """Both ends of a new connection."""
        dialled = await self.dial()
        async with asyncio.timeout(TIMEOUT_S):
            return dialled, await self.arrived.get()


@asynccontextmanager
async def laid(port: int | None = None) -> AsyncIterator[Bench]:
    """A wire to a listener of this test, or to a port that somebody else has, or nobody."""

    def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bench.ends.append(writer)
        bench.arrived.put_nowait((reader, writer))

    async with await asyncio.start_server(arrived, HOST, 0) as listener:
        wire = Wire((HOST, port or listener.sockets[0].getsockname()[1]))
        bench = Bench(wire)
        await wire.open(HOST, 0)
        try:
            yield bench
        finally:
            await wire.close()
            for end in bench.ends:
                end.close()
            with contextlib.suppress(OSError):
                await asyncio.gather(*(end.wait_closed() for end in bench.ends))


async def read(reader: asyncio.StreamReader, count: int) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        return await reader.readexactly(count)


async def until_held(wire: Wire, direction: Direction, count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while wire.weather[direction].held_bytes < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_wire_carries_both_directions_and_counts() -> None:
    async with laid() as bench:
        (reader, writer), (other_reader, other_writer) = await bench.pair()
        writer.write(b"there")
        assert await read(other_reader, 5) == b"there"
        other_writer.write(b"back")
        assert await read(reader, 4) == b"back"
        assert bench.wire.weather[Direction.OUT].passed_bytes == 5
        assert bench.wire.weather[Direction.BACK].passed_bytes == 4


async def test_what_is_blocked_waits_and_the_other_direction_does_not() -> None:
    async with laid() as bench:
        (reader, writer), (other_reader, other_writer) = await bench.pair()
        bench.wire.block(Direction.OUT)
        writer.write(b"one")
        await until_held(bench.wire, Direction.OUT, 3)
        other_writer.write(b"heard")
        assert await read(reader, 5) == b"heard"
        writer.write(b"two")
        await until_held(bench.wire, Direction.OUT, 6)
        assert bench.wire.weather[Direction.OUT].passed_bytes == 0
        bench.wire.unblock()
        assert await read(other_reader, 6) == b"onetwo"


async def test_more_than_is_held_stays_with_the_sender_and_arrives_whole() -> None:
    async with laid() as bench:
        (_, writer), (other_reader, _) = await bench.pair()
        bench.wire.block(Direction.OUT)
        sent = bytes(range(256)) * (4 * HELD_BYTES_MAX // 256)
        writer.write(sent)
        await until_held(bench.wire, Direction.OUT, HELD_BYTES_MAX)
        bench.wire.unblock()
        assert await read(other_reader, len(sent)) == sent


async def test_an_end_is_not_told_while_the_wire_is_blocked() -> None:
    async with laid() as bench:
        (_, writer), (other_reader, _) = await bench.pair()
        bench.wire.block(Direction.OUT, Direction.BACK)
        writer.write(b"last words")
        await until_held(bench.wire, Direction.OUT, 10)
        writer.close()
        await writer.wait_closed()
        assert not other_reader.at_eof()
        bench.wire.unblock()
        assert await read(other_reader, 10) == b"last words"
        async with asyncio.timeout(TIMEOUT_S):
            assert await other_reader.read() == b""


async def test_a_new_connection_waits_for_the_wire_and_then_gets_through() -> None:
    async with laid() as bench:
        bench.wire.block(Direction.OUT, Direction.BACK)
        _, writer = await bench.dial()
        writer.write(b"hello")
        await until_held(bench.wire, Direction.OUT, 5)
        assert bench.wire.kept_out == 1
        assert bench.arrived.empty()
        bench.wire.unblock()
        async with asyncio.timeout(TIMEOUT_S):
            other_reader, _ = await bench.arrived.get()
        assert await read(other_reader, 5) == b"hello"


async def test_who_gave_up_while_the_wire_was_blocked_never_arrives() -> None:
    async with laid() as bench:
        bench.wire.block(Direction.OUT)
        _, writer = await bench.dial()
        writer.close()
        async with asyncio.timeout(TIMEOUT_S):
            while not [pair for pair in bench.wire._pairs if pair.dialler.ended]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        bench.wire.unblock()
        await bench.pair()  # the next one does, and alone
        assert bench.arrived.empty()


async def test_what_is_slow_is_late_and_in_order() -> None:
    async with laid() as bench:
        (_, writer), (other_reader, _) = await bench.pair()
        bench.wire.slow(0.05)
        began_s = time.monotonic()
        for number in range(50):
            writer.write(bytes([number]))
            await asyncio.sleep(0)
        assert await read(other_reader, 50) == bytes(range(50))
        assert time.monotonic() - began_s >= 0.05
        assert bench.wire.weather[Direction.OUT].delayed_bytes == 50


async def test_what_is_cut_ends_at_both_ends() -> None:
    async with laid() as bench:
        (reader, _), (other_reader, _) = await bench.pair()
        assert bench.wire.cut() == 1
        for end in (reader, other_reader):
            async with asyncio.timeout(TIMEOUT_S):
                # A connection that is cut with something under way ends with an error.
                with contextlib.suppress(ConnectionResetError):
                    assert await end.read() == b""
        assert bench.wire.cut() == 0


async def test_nobody_listening_is_told_to_the_dialler() -> None:
    async with laid(port=1) as bench:
        reader, _ = await bench.dial()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await read(reader, 1)
