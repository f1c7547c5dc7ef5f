"""TCP as the log's own connections meet it: bytes in order, late, held up, reset, or into nothing.

Duty: carry bytes. A cut, a lost segment or a machine without power holds bytes back, and they are sent
again; nobody is told. A process that dies leaves its connections to its kernel, which ends or resets them. A machine that
lost power knows nothing of its connections any more, and says so when it is up again and asked: until then the other end
is half open. A process that is stopped does not read, and what was sent to it waits.

Invariants: chance is drawn for each direction between two machines from a stream of its own, so that the order in which
one node says something to its peers changes nothing.

Must not know: what is said.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from typing_extensions import override

from garbagetruck.chaos.simulator.network import Network as Weather
from garbagetruck.chaos.simulator.world import NS_PER_MS, Chance, Process, World
from garbagetruck.cluster.raft.link import Link

RETRY_NS = 100 * NS_PER_MS
"""What did not get through is sent again after this."""
SOCKET_BYTES = 128 * 1024
"""What the kernels of both ends take before a writer's own buffer fills."""
HIGH_BYTES, LOW_BYTES = 64 * 1024, 16 * 1024
"""Of a writer's own buffer: above the one it is told to pause, below the other to go on, as by asyncio."""

Accept = Callable[["End"], None]


class Station:
    """A machine's place on the network. `accept` is there while a process listens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dark = False
        self.accept: Accept | None = None
        self.listening: Process | None = None
        self.ends: list[End] = []


class Wires:
    """All connections of one kind. `tap` hears everything that is said, by whom and to whom, as it is said."""

    def __init__(self, world: World, weather: Weather, name: str = "wire") -> None:
        self.world = world
        self._name = name
        self.stations: dict[str, Station] = {}
        self.tap: Callable[[str, str, bytes], None] = lambda _source, _target, _data: None
        self.lost = 0
        self._weather = weather
        self._chances: dict[tuple[str, str], Chance] = {}

    def station(self, name: str) -> Station:
        """A place for a machine that was not there; who had the name has it no more."""
        self.stations[name] = Station(name)
        return self.stations[name]

    def passes(self, source: Station, target: Station) -> bool:
        """Whether what is sent now gets through."""
        loss = self._weather.weather.loss
        passes = (
            not source.is_dark
            and not target.is_dark
            and self._weather.passes(source.name, target.name)
            and not (loss and self._chance(source, target).happens(loss))
        )
        self.lost += not passes
        return passes

    def delay_ns(self, source: Station, target: Station) -> int:
        low, high = self._weather.weather.delay_ms
        return int(self._chance(source, target).uniform(low, high) * NS_PER_MS)

    def _chance(self, source: Station, target: Station) -> Chance:
        pair = (source.name, target.name)
        if pair not in self._chances:
            self._chances[pair] = self.world.random(f"{self._name}-{source.name}-{target.name}")
        return self._chances[pair]

    def killed(self, station: Station, chance: Chance) -> None:
        """The process is gone: the kernel ends its connections, or resets them."""
        self._leave(station)
        for end in [*station.ends]:
            if chance.happens(0.5):
                end.reset_other()
            else:
                end.finish()

    def went_dark(self, station: Station) -> None:
        """The machine is gone, and says nothing."""
        self._leave(station)
        for end in [*station.ends]:
            end.vanish()

    @staticmethod
    def _leave(station: Station) -> None:
        station.accept = station.listening = None


class _Half:
    """The way from one end to the other."""

    def __init__(self, wires: Wires, source: "End", target: "End") -> None:
        self._wires = wires
        self._source = source
        self._target = target
        self._queue: deque[bytes | None] = deque()
        self._arrived_ns = 0
        self._retrying = False
        self.dropped = False
        self.unread_bytes = 0

    def put(self, data: bytes | None) -> None:
        """Send it; None is the end of what is sent."""
        self._queue.append(data)
        self.unread_bytes += len(data or b"")
        if not self._retrying:
            self._pump()

    def drop(self) -> None:
        self.dropped = True
        self._queue.clear()

    def _pump(self) -> None:
        self._retrying = False
        world = self._wires.world
        while self._queue:
            if not self._wires.passes(self._source.station, self._target.station):
                self._retrying = True
                world.after(RETRY_NS, self._pump)
                return
            delay_ns = self._wires.delay_ns(self._source.station, self._target.station)
            self._arrived_ns = max(world.now_ns + delay_ns, self._arrived_ns + 1)
            world.after(self._arrived_ns - world.now_ns, partial(self._arrive, self._queue.popleft()))

    def _arrive(self, data: bytes | None) -> None:
        target = self._target
        if self.dropped:
            return
        if target.station.is_dark:
            self._wires.world.after(RETRY_NS, partial(self._arrive, data))
        elif target.is_gone:
            self.drop()
            target.reset_other()
        else:
            target.process.post(0, lambda: target.process.loop.call_soon(self._read, data))

    def _read(self, data: bytes | None) -> None:
        self.unread_bytes -= len(data or b"")
        self._source.relieve()
        self._target.read(data)


class End(asyncio.Transport):
    """One end of a connection, for the process that has it."""

    def __init__(self, wires: Wires, station: Station, process: Process) -> None:
        super().__init__()
        self._wires = wires
        self.station = station
        self.process = process
        self.is_gone = False
        """Whether the machine knows nothing of it any more."""
        self._other: End | None = None
        self._out: _Half | None = None
        self._link: Link | None = None
        self._is_closing = False
        self._is_full = False
        station.ends.append(self)

    def join(self, other: "End") -> None:
        self._other = other
        self._out = _Half(self._wires, self, other)

    def open(self, link: Link) -> None:
        """Give it to the process. Raises ConnectionResetError."""
        if self.is_gone:
            raise ConnectionResetError("reset while it was being opened")
        self._link = link
        link.connection_made(self)

    @property
    def out(self) -> _Half:
        assert self._out is not None
        return self._out

    @property
    def other(self) -> "End":
        assert self._other is not None
        return self._other

    # --- asyncio's transport ----------------------------------------------------------------------------------------

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self.is_gone:
            return
        content = bytes(data)
        self._wires.tap(self.station.name, self.other.station.name, content)
        self.out.put(content)
        if not self._is_full and self.get_write_buffer_size() > HIGH_BYTES and self._link is not None:
            self._is_full = True
            self._link.pause_writing()

    @override
    def get_write_buffer_size(self) -> int:
        return max(0, self.out.unread_bytes - SOCKET_BYTES)

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    @override
    def abort(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.reset_other()
            self.process.loop.call_soon(self._lose)

    @override
    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.finish()
            self.process.loop.call_soon(self._lose)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def read(self, data: bytes | None) -> None:
        if self.is_gone or self._link is None:
            return
        if data is None:
            self.close()
        else:
            self._link.data_received(data)

    def relieve(self) -> None:
        """What was written has been read, in part."""
        if self._is_full and self.get_write_buffer_size() < LOW_BYTES:
            self._is_full = False
            self.process.post(0, lambda: self.process.loop.call_soon(self._go_on))

    def _go_on(self) -> None:
        if self._link is not None:
            self._link.resume_writing()

    def vanish(self) -> None:
        """Nobody here knows of it any more, and nobody is told."""
        self.is_gone = True
        self.out.drop()
        if self in self.station.ends:
            self.station.ends.remove(self)

    def finish(self) -> None:
        """Say what was said, and that this was all. What comes in now is answered with a reset."""
        if not self.is_gone:
            self.is_gone = True
            self.station.ends.remove(self)
            self.out.put(None)

    def reset_other(self) -> None:
        """Tell the other end that it is over. If that is lost, the other end stays half open."""
        self.vanish()
        wires, other = self._wires, self.other
        if wires.passes(self.station, other.station):
            wires.world.after(wires.delay_ns(self.station, other.station), other.reset)

    def reset(self) -> None:
        """The connection is over, as if by itself."""
        if not self.is_gone:
            self.vanish()
            self._is_closing = True
            self.process.post(0, lambda: self.process.loop.call_soon(self._lose))

    def _lose(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.connection_lost(None)
