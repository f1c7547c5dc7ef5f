"""One wire between two nodes, in our hands: a TCP proxy whose two directions can be blocked, slowed and cut.

Duty: accept what the dialling node says, carry it to the node that listens and back, and count what was kept from passing.
Invariants: bytes are never lost, changed or reordered within a connection that lives: a blocked direction holds them and
what comes after them, until it is let go or the connection is cut. While any direction is blocked, neither a connection's
end nor a new connection gets through: the other side learns of neither, as on a network that lost its way.
Must not know: what the bytes mean, which nodes these are.
Threads: the loop on which it was opened.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from typing_extensions import override

HELD_BYTES_MAX = 1 << 20
"""What a direction holds of one connection; then it stops reading, and the sender's own buffers fill."""
DIAL_TIMEOUT_S = 5.0


class Direction(StrEnum):
    """As seen from the node that dials."""

    OUT = "out"
    BACK = "back"


@dataclass(slots=True)
class Weather:
    """What one direction of a wire does to bytes, and what it has done."""

    blocked: bool = False
    delay_s: float = 0.0
    held_bytes: int = 0
    """That had to wait because it was blocked, ever."""
    delayed_bytes: int = 0
    passed_bytes: int = 0


class Wire:
    """All connections from one node to one port of another. `open` and `close` once."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.weather = {direction: Weather() for direction in Direction}
        self.cuts = 0
        """Connections that were cut while alive."""
        self.kept_out = 0
        """Connections that had to wait because a direction was blocked."""
        self.address = ""
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises `OSError`."""
        self._server = await asyncio.get_running_loop().create_server(self._accepted, host, port)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        for pair in list(self._pairs):
            pair.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def blocked(self) -> bool:
        return any(each.blocked for each in self.weather.values())

    def block(self, *directions: Direction) -> None:
        for direction in directions:
            self.weather[direction].blocked = True

    def unblock(self) -> None:
        """Let everything pass that was held, in its order; then whatever else had to wait."""
        for weather in self.weather.values():
            weather.blocked = False
        for pair in list(self._pairs):
            pair.let_go()

    def slow(self, delay_s: float) -> None:
        """Delay both directions by this; 0 ends it."""
        for weather in self.weather.values():
            weather.delay_s = delay_s

    def cut(self) -> int:
        """End every connection at once, with what is under way. Answers how many there were."""
        alive = [pair for pair in self._pairs if pair.joined]
        for pair in alive:
            pair.cut()
        self.cuts += len(alive)
        return len(alive)

    def _accepted(self) -> asyncio.Protocol:
        pair = _Pair(self)
        return pair.dialler

    # -- for pairs ----------------------------------------------------------------------------------------------

    @property
    def target(self) -> tuple[str, int]:
        return self._target

    def enter(self, pair: "_Pair") -> None:
        self._pairs.add(pair)

    def leave(self, pair: "_Pair") -> None:
        self._pairs.discard(pair)


class _Pair:
    """One connection of the dialling node, and ours to the node that listens."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.dialler = _End(self, Direction.OUT)
        self.listener = _End(self, Direction.BACK)
        self.dialler.other, self.listener.other = self.listener, self.dialler
        self._dialling: asyncio.Task[None] | None = None
        self.over = False

    @property
    def joined(self) -> bool:
        return self.dialler.transport is not None and self.listener.transport is not None

    def accepted(self) -> None:
        self.wire.enter(self)
        if self.wire.blocked:
            self.wire.kept_out += 1
        else:
            self._dial()

    def let_go(self) -> None:
        if self._dialling is None and not self.dialler.ended:
            self._dial()
        for end in (self.dialler, self.listener):
            end.let_go()
        self.settle()

    def settle(self) -> None:
        """End the connection when one side has ended, unless the other must not learn of it yet."""
        ended = self.dialler.ended or self.listener.ended
        if not ended or self.wire.blocked or self.dialler.waiting or self.listener.waiting:
            return
        self._end(abort=False)

    def cut(self) -> None:
        self._end(abort=True)

    def _dial(self) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._connect(), name="chaos-wire-dial")

    async def _connect(self) -> None:
        host, port = self.wire.target
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: self.listener, host, port)
        except (OSError, TimeoutError):
            self.cut()

    def _end(self, *, abort: bool) -> None:
        if self.over:
            return
        self.over = True
        self.wire.leave(self)
        if self._dialling is not None and not self._dialling.done() and asyncio.current_task() is not self._dialling:
            self._dialling.cancel()
        for end in (self.dialler, self.listener):
            if end.transport is not None:
                if abort:
                    end.transport.abort()
                else:
                    end.transport.close()


class _End(asyncio.Protocol):
    """One socket of a pair: what it reads is for the other."""

    other: "_End"

    def __init__(self, pair: _Pair, direction: Direction) -> None:
        self._pair = pair
        self._weather = pair.wire.weather[direction]
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._travelling: deque[tuple[float, bytes]] = deque()
        """What is delayed, with the loop's time at which it arrives."""
        self._arrival: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.ended = False

    @property
    def waiting(self) -> bool:
        """Whether something that was read has not been passed on, and could be."""
        return bool(self._held or self._travelling) and not self.other.ended

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # of the loop's own kind, which need not inherit
        if self._pair.over:
            self.transport.abort()
        elif self is self._pair.dialler:
            self._pair.accepted()
        else:
            self.other.let_go()

    @override
    def data_received(self, data: bytes) -> None:
        if self._weather.delay_s or self._travelling:
            self._weather.delayed_bytes += len(data)
            self._travelling.append((asyncio.get_running_loop().time() + self._weather.delay_s, data))
            self._await_arrival()
        else:
            self._arrive(data)

    @override
    def pause_writing(self) -> None:
        if self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        if self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._pair.settle()

    def let_go(self) -> None:
        """Pass on what was held, as far as there is somebody to pass it to."""
        if self._weather.blocked or self.other.transport is None:
            return
        while self._held:
            self._write(self._held.popleft())
        self._held_bytes = 0
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _await_arrival(self) -> None:
        if self._arrival is None and self._travelling:
            self._arrival = asyncio.get_running_loop().call_at(self._travelling[0][0], self._arrived)

    def _arrived(self) -> None:
        self._arrival = None
        now_s = asyncio.get_running_loop().time()
        while self._travelling and self._travelling[0][0] <= now_s:
            self._arrive(self._travelling.popleft()[1])
        self._await_arrival()
        self._pair.settle()

    def _arrive(self, data: bytes) -> None:
        if not self._weather.blocked and not self._held and self.other.transport is not None:
            self._write(data)
            return
        if self._weather.blocked:
            self._weather.held_bytes += len(data)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _write(self, data: bytes) -> None:
        transport = self.other.transport
        if transport is not None and not transport.is_closing():
            self._weather.passed_bytes += len(data)
            transport.write(data)
