"""A simulated node's `Network`: listening, and connecting over the world's wires.

Duty: what `TcpNetwork` does, without sockets: an attempt to connect is held up by a cut, refused where nobody listens, and
answered by the kernel of a process that is stopped.

Must not know: what is said.
"""

import asyncio
from collections.abc import Callable

from typing_extensions import override

from garbagetruck.chaos.simulator.raft.wires import RETRY_NS, Accept, End, Station, Wires
from garbagetruck.chaos.simulator.world import Process
from garbagetruck.cluster.raft.frames import RAFT, Language
from garbagetruck.cluster.raft.link import Link, LinkOwner
from garbagetruck.cluster.raft.network import Network
from garbagetruck.cluster.raft.settings import Member


class WireNetwork(Network):
    """One process's way to the others. `on_bug` hears what a link's owner raised."""

    def __init__(
        self,
        *,
        wires: Wires,
        station: Station,
        process: Process,
        handshake_s: float,
        on_bug: Callable[[BaseException], None],
        language: Language = RAFT,
    ) -> None:
        self._wires = wires
        self._station = station
        self._process = process
        self._handshake_s = handshake_s
        self._on_bug = on_bug
        self._language = language

    @override
    async def listen(self, own: Member, owner: LinkOwner) -> None:
        self._station.listening = self._process
        self._station.accept = lambda end: end.open(self._link(owner, None, end))

    @override
    async def dial(self, peer: Member, owner: LinkOwner) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[End | None] = loop.create_future()
        _Knock(self._wires, self._station, self._wires.stations[peer.node_id], self._process, answer).knock()
        async with asyncio.timeout(self._handshake_s):
            end = await answer
        if end is None:
            raise ConnectionRefusedError("nobody listens there")
        end.open(self._link(owner, peer.node_id, end))

    @override
    async def close(self) -> None:
        if self._station.listening is self._process:
            self._station.accept = self._station.listening = None

    def _link(self, owner: LinkOwner, expected: str | None, end: End) -> Link:
        return Link(
            language=self._language,
            owner=owner,
            expected=expected,
            address=end.other.station.name,
            monotonic_ns=self._process.clock.monotonic_ns,
            on_bug=self._on_bug,
        )


class _Knock:
    """One attempt to connect."""

    def __init__(
        self, wires: Wires, here: Station, there: Station, process: Process, answer: "asyncio.Future[End | None]"
    ) -> None:
        self._wires = wires
        self._here = here
        self._there = there
        self._process = process
        self._answer = answer

    def knock(self) -> None:
        wires, here, there = self._wires, self._here, self._there
        if not self._process.alive or self._answer.done():
            return
        if wires.passes(here, there) and wires.passes(there, here):
            wires.world.after(wires.delay_ns(here, there), self._arrive)
        else:
            wires.world.after(RETRY_NS, self.knock)

    def _arrive(self) -> None:
        wires, there = self._wires, self._there
        if there.is_dark:
            self.knock()
            return
        mine = None
        if there.accept is not None and there.listening is not None and self._process.alive:
            accept, process = there.accept, there.listening
            mine, other = End(wires, self._here, self._process), End(wires, there, process)
            mine.join(other)
            other.join(mine)
            process.post(0, lambda: process.loop.call_soon(self._accept, accept, other))
        self._process.post(wires.delay_ns(there, self._here), lambda: self._process.loop.call_soon(self._settle, mine))

    @staticmethod
    def _accept(accept: Accept, end: End) -> None:
        if not end.is_gone:
            accept(end)

    def _settle(self, end: End | None) -> None:
        if not self._answer.done():
            self._answer.set_result(end)
        elif end is not None and not end.is_gone:
            end.reset_other()
