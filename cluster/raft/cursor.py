"""Committed entries, read from the log by who copies them elsewhere; and snapshots, for the same.

Duty: give runs of entries from an index on; keep the log's beginning until what was copied reaches beyond it; have a
snapshot taken on demand.

Invariants: what is given was applied here, so it is committed, and is what a leader proposed: entries that only stand for
what a snapshot holds (`format.COMMAND`) are told as gone. The log never waits: a run is bounded, and what has to be
kept is bounded by the journal's size.

Threads: the coroutines are for the main loop, and what they ask happens on the Raft thread. When that has ended they wait for ever:
a caller is cancelled, or sets a deadline.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from typing_extensions import override

from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader, is_hollow
from garbagetruck.cluster.raft.snapshots.taking import Taking
from garbagetruck.cluster.raft.wire import REGULAR

RUN_ENTRIES_MAX = 2_000
RUN_BYTES_MAX = 2 * 1024 * 1024
"""A run ends with the entry that goes beyond this: so one is larger by one entry at most."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class CommittedEntry:
    """One entry. Raft's own have no payload."""

    index: int
    term: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Entries without a gap, and where they stand."""

    entries: Sequence[CommittedEntry]
    available_from: int
    """Where to go on when there are none: beyond the index that was asked for if the log does not have that any more."""
    applied_index: int
    """As far as there are any."""


class LogCursor(Protocol):
    """What a node sees of it."""

    async def read(self, from_index: int) -> Run:
        """A run from `from_index` on; empty when that is behind the last applied, or gone."""

    async def take_snapshot(self) -> SnapshotHeader | None:
        """Take a snapshot of this moment or later. The newest there is then; None when nothing came of it."""

    def keep_from(self, index: int, journal_bytes_max: int) -> None:
        """Keep entries from `index` on, until the journal is larger than `journal_bytes_max` on disk."""

    @property
    def newest_snapshot(self) -> SnapshotHeader | None:
        """The newest that is durable here."""


class Cursor(LogCursor):
    """`call_in` has something called on the Raft thread."""

    def __init__(self, call_in: Callable[[Callable[[], None]], None]) -> None:
        self._call_in = call_in
        self._journal: Journal | None = None
        self._taking: Taking | None = None
        self._applied_index: Callable[[], int] = lambda: 0
        self._newest: Callable[[], SnapshotHeader | None] = lambda: None

    def join(
        self,
        journal: Journal,
        taking: Taking,
        applied_index: Callable[[], int],
        newest: Callable[[], SnapshotHeader | None],
    ) -> None:
        """The log is open. On the Raft thread; before, nothing that is asked comes to anything."""
        self._journal, self._taking, self._applied_index, self._newest = journal, taking, applied_index, newest

    @override
    async def read(self, from_index: int) -> Run:
        return await self._ask(lambda: self._read(from_index))

    @override
    async def take_snapshot(self) -> SnapshotHeader | None:
        answer: Future[SnapshotHeader | None] = Future()

        def begin() -> None:
            assert self._taking is not None
            self._taking.want(answer)

        self._call_in(begin)
        return await asyncio.wrap_future(answer)

    @override
    def keep_from(self, index: int, journal_bytes_max: int) -> None:
        def keep() -> None:
            assert self._taking is not None
            self._taking.keep_from(index, journal_bytes_max)

        self._call_in(keep)

    @property
    @override
    def newest_snapshot(self) -> SnapshotHeader | None:
        return self._newest()

    async def _ask(self, question: Callable[[], ResultT]) -> ResultT:
        answer: Future[ResultT] = Future()

        def reply() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(question())

        self._call_in(reply)
        return await asyncio.wrap_future(answer)

    def _read(self, from_index: int) -> Run:
        journal = self._journal
        assert journal is not None
        applied_index = min(self._applied_index(), journal.last_index)
        first_index = journal.last_index - len(journal) + 1
        if from_index < first_index:
            return self._gone(journal, first_index, applied_index)
        entries: list[CommittedEntry] = []
        size_bytes = 0
        for index in range(from_index, min(applied_index, from_index + RUN_ENTRIES_MAX - 1) + 1):
            entry = journal.entry_at(index)
            if is_hollow(entry, journal.term_at(index - 1)):
                if not entries:
                    return self._gone(journal, index, applied_index)
                break
            command, _, term = entry
            entries.append(CommittedEntry(index, term, command[1:] if command[0] == REGULAR else b""))
            size_bytes += len(command)
            if size_bytes > RUN_BYTES_MAX:
                break
        return Run(entries, from_index, applied_index)

    def _gone(self, journal: Journal, index: int, applied_index: int) -> Run:
        """Nothing, and the first index from which on there is something."""
        while index <= applied_index and is_hollow(journal.entry_at(index), journal.term_at(index - 1)):
            index += 1
        return Run((), index, applied_index)
