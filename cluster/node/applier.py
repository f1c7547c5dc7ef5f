"""Feeds the log's entries to the machine, in slices, and tells whoever waits for them.

Duty: be the log's listener. Entries are applied at once; a long backlog (a restart, a follower that fell behind) is cut
into slices, between which the loop serves everything else.
Invariants: every entry is applied exactly once, in order; `applied_index` never claims an entry that the machine has
not seen. An exception out of `apply`, or out of whoever listens, is a bug: nothing more is applied and the node ends.
Must not know: who proposed an entry, who leads.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol
from zlib import crc32

import structlog
from typing_extensions import override

from garbagetruck.cluster.machine.codec import FormatTooNew
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.node.endings import EntryNotApplied, EntryTooNew
from garbagetruck.cluster.raft.log import Entry, LogListener, LogStatus

NS_PER_S = 1_000 * NS_PER_MS
NOTHING_SKIPPED: Mapping[int, int] = MappingProxyType({})
SLICE_NS_MAX = 10 * NS_PER_MS
"""How long entries are applied before the loop gets a turn. One entry's own time comes on top."""

_log = structlog.get_logger(__name__)


class ApplyListener(Protocol):
    """Hears, on the main loop, what was applied. Must not raise: what it raises ends the node."""

    def on_applied(self, applied: Applied) -> None:
        """One entry was applied; the machine stands right behind it."""

    def on_restored(self) -> None:
        """The machine's state was replaced by a later one: what happened in between is heard by nobody here."""

    def on_progress(self) -> None:
        """A slice is over: a good moment to look at the machine."""

    def on_status(self, status: LogStatus) -> None:
        """The log's status changed. Entries it counts as applied may still wait for their slice here."""


def _unmetered(seconds: float) -> None:
    """Count nothing."""


class Applier(LogListener):
    """Runs on the node's main loop. `on_fatal` ends the process; it is called at most once.

    `monotonic_ns` measures slices and ages. `meter` is told how many seconds the machine took for an entry. `skip` tells
    entries that an operator has ordered to do without: index, and the CRC32 of the payload, which must be the entry's.
    """

    def __init__(
        self,
        *,
        machine: Machine,
        monotonic_ns: Callable[[], int],
        on_fatal: Callable[[BaseException], None],
        meter: Callable[[float], None] = _unmetered,
        skip: Mapping[int, int] = NOTHING_SKIPPED,
    ) -> None:
        self._meter = meter
        self._skip = skip
        self._machine = machine
        self._monotonic_ns = monotonic_ns
        self._end_node = on_fatal
        self._listeners: tuple[ApplyListener, ...] = ()
        self._backlog: deque[tuple[int, bytes | None, int]] = deque()
        """(index, payload or None for "up to here", when it came)."""
        self._drain_scheduled = False
        self._dead = False
        self._applied_index = 0
        self._leader_known = False
        self._fresh_ns: int | None = None
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_serial = 0
        self._progress: asyncio.Future[None] | None = None

    def listen(self, *listeners: ApplyListener) -> None:
        """Say who hears of what is applied, in this order. Before the log starts."""
        self._listeners = listeners

    @property
    def applied_index(self) -> int:
        """The machine has seen every entry up to this index."""
        return self._applied_index

    @property
    def backlog_entries(self) -> int:
        """Entries that are committed and wait for their slice."""
        return len(self._backlog)

    def age_ms(self) -> int:
        """Time since what is applied came in from a leader, in milliseconds; -1 when none has been heard."""
        if self._fresh_ns is None:
            return -1
        return max(0, self._monotonic_ns() - self._fresh_ns) // NS_PER_MS

    async def wait_applied(self, index: int) -> None:
        """Return when everything up to `index` has been applied."""
        if self._applied_index >= index:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter_serial += 1
        heapq.heappush(self._waiters, (index, self._waiter_serial, future))
        await future

    async def wait_applied_past(self, event_index: int) -> None:
        """Return when the machine's last event has an index above `event_index`."""
        while self._machine.event_index <= event_index:
            if self._progress is None:
                self._progress = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._progress)

    # -- the log's listener -----------------------------------------------------------------------------------

    @override
    def on_restored(self, state: object, index: int) -> None:
        if self._dead:
            return
        assert index >= self._applied_index, "a snapshot never goes back"
        assert isinstance(state, State), "the log restores what this node's own machine decoded"
        self._backlog.clear()  # all of it is in the state
        self._machine.restore(state)
        self._applied_index = index
        self._tell(lambda listener: listener.on_restored())
        self._wake(events=True)

    @override
    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        if self._dead:
            return
        now_ns = self._monotonic_ns()
        self._backlog.extend((entry.index, entry.payload, now_ns) for entry in entries)
        self._backlog.append((applied_index, None, now_ns))
        self._drain_unless_scheduled()

    @override
    def on_status(self, status: LogStatus) -> None:
        if self._dead:
            return
        self._leader_known = status.leader is not None
        last_index = self._backlog[-1][0] if self._backlog else self._applied_index
        if status.applied_index > last_index:
            self._backlog.append((status.applied_index, None, self._monotonic_ns()))
        self._drain_unless_scheduled()
        self._tell(lambda listener: listener.on_status(status))

    @override
    def on_fatal(self, error: BaseException) -> None:
        if not self._dead:
            self._dead = True
            self._backlog.clear()
            self._end_node(error)

    # -- slices -----------------------------------------------------------------------------------------------

    def _drain_unless_scheduled(self) -> None:
        if self._backlog and not self._drain_scheduled:
            self._drain()

    def _drain(self) -> None:
        self._drain_scheduled = False
        if self._dead:
            return
        until_ns = self._monotonic_ns() + SLICE_NS_MAX
        events_before = self._machine.event_index
        try:
            while self._backlog:
                self._apply(*self._backlog.popleft())
                if self._monotonic_ns() >= until_ns:
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug, and the node must not outlive it
            self.on_fatal(error)
            return
        if self._backlog:
            self._drain_scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)
        self._wake(events=self._machine.event_index > events_before)
        self._tell(lambda listener: listener.on_progress())

    def _apply(self, index: int, payload: bytes | None, came_ns: int) -> None:
        assert index >= self._applied_index, "the log never goes back"
        if payload is not None:
            assert index > self._applied_index, "the log hands each entry over once"
            began_ns = self._monotonic_ns()
            applied = self._met(index, payload)
            self._meter((self._monotonic_ns() - began_ns) / NS_PER_S)
            self._applied_index = index
            for listener in self._listeners:
                listener.on_applied(applied)
        self._applied_index = index
        if self._leader_known:
            self._fresh_ns = came_ns

    def _met(self, index: int, payload: bytes) -> Applied:
        """What becomes of an entry: it is applied, or skipped by order, or this node ends at it and says how to go on."""
        ordered = self._skip.get(index)
        if ordered is not None:
            checksum = crc32(payload)
            if checksum == ordered:
                _log.error("entry_skipped", index=index, checksum=f"{checksum:08x}", bytes=len(payload))
                return self._machine.skip(index, checksum)
            _log.error("entry_not_skipped", index=index, checksum=f"{checksum:08x}", ordered=f"{ordered:08x}")
        try:
            return self._machine.apply(payload)
        except FormatTooNew as error:
            raise EntryTooNew(index, error) from error
        except Exception as error:
            raise EntryNotApplied(index, payload, error) from error

    def _tell(self, what: Callable[[ApplyListener], None]) -> None:
        try:
            for listener in self._listeners:
                what(listener)
        except Exception as error:  # noqa: BLE001 - as above
            self.on_fatal(error)

    def _wake(self, *, events: bool) -> None:
        while self._waiters and self._waiters[0][0] <= self._applied_index:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
        if events and self._progress is not None:
            self._progress.set_result(None)
            self._progress = None
