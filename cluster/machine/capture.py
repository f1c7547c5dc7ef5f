"""Taking a snapshot a part at a time, while the machine goes on.

Duty: the state as it was at one applied index, as the chunks that `snapshot` reads.
Invariants: no part costs more than its rows; what changes meanwhile is set aside at its first change (`TableView`), so
applying costs a little more, and memory grows with what changed and was not read yet. What is small is copied at once.
It must not know: where the chunks go, and how long a caller waits between two parts.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from garbagetruck.cluster.machine.kinds import Header, Kind, Row
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.snapshot import ROWS_PER_CHUNK_MAX, frame
from garbagetruck.cluster.machine.state import State

Source = Callable[[int], list[Row]]
"""Gives the next rows of a kind, at most so many; fewer when there are no more."""


class Part(NamedTuple):
    """Some rows of a snapshot. They are immutable, so any thread may encode them."""

    kind: Kind
    rows: list[Row]

    def encoded(self) -> bytes:
        """A chunk: a millisecond or two for a thousand rows, most of it compression, which frees the interpreter."""
        return frame(self.kind, self.rows)


class Capture:
    """One snapshot on its way. `begin` it, take its parts until there are none; or `end` it early."""

    def __init__(self, state: State, applied_index: int, term: int) -> None:
        self._state = state
        self._applied_index = applied_index
        self._term = term
        self._small: deque[Part] = deque()
        self._sources: deque[tuple[Kind, Source]] = deque()
        self._count = 0
        self._begun = self._over = False

    def begin(self) -> Header:
        """Fix the moment. A capture of the same state must not be under way."""
        assert not self._begun, "a capture is of one moment"
        self._begun = True
        state = self._state
        header = header_of(state, self._applied_index, self._term)
        small = (
            Part(Kind.HEADER, [header]),
            Part(Kind.MEMBERS, [each.written() for each in state.members.values()]),
            Part(Kind.NAMESPACES, list(state.namespaces.values())),
            Part(
                Kind.EXPIRED_HOLDERS, [(name, list(recent.items())) for name, recent in state.expired_holders.items()]
            ),
            Part(Kind.BRAKE_MISSING, [(name, list(missing)) for name, missing in state.brake_missing.items()]),
            Part(Kind.EVENTS, list(state.events)),
            Part(Kind.BREAKERS, list(state.breakers.values())),
            Part(Kind.FLEET_MISSING, list(state.fleet_missing)),
        )
        self._small = deque(small)
        self._sources = deque(
            [
                (Kind.SESSIONS, state.sessions.view().read),
                (Kind.LEASES, state.leases.view().read),
                (Kind.RESOURCES, state.resources.view().read),
                (Kind.ENDED_LEASES, state.ended_leases.view().read),
                (Kind.ENDED_SESSIONS, state.ended_sessions.view().read),
                (Kind.TOMBSTONES, state.tombstones.view().read),
                (Kind.REQUESTS, state.requests.view().read),
                (Kind.DRAINING, state.draining.view().read),
                (Kind.DIGEST_NOTES, state.digest_notes.view().read),
                (Kind.CHRONICLES, state.chronicles.view().read),
            ]
        )
        return header

    def part(self, rows_max: int = ROWS_PER_CHUNK_MAX) -> Part | None:
        """The next part, None once there are no more. On the loop that applies."""
        assert self._begun, "nothing is captured yet"
        while not self._over:
            part = self._next(rows_max)
            if part.rows:
                self._count += 1
                return part
        return None

    def step(self, rows_max: int = ROWS_PER_CHUNK_MAX) -> bytes | None:
        """The next part as a chunk, None once there are no more."""
        part = self.part(rows_max)
        return None if part is None else part.encoded()

    def __iter__(self) -> Iterator[bytes]:
        """The chunks that are left."""
        while (chunk := self.step()) is not None:
            yield chunk

    def end(self) -> None:
        """Set nothing aside any more. Needed when it is given up before its last part; harmless otherwise."""
        if self._begun and not self._over:
            self._over = True
            self._small.clear()
            self._sources.clear()
            self._state.forget_views()

    def _next(self, rows_max: int) -> Part:
        """Possibly without rows, when one kind is at its end."""
        if self._small:
            part = self._small.popleft()
            if len(part.rows) > rows_max:
                self._small.appendleft(Part(part.kind, part.rows[rows_max:]))
            return Part(part.kind, part.rows[:rows_max])
        if not self._sources:
            self.end()
            return Part(Kind.END, [self._count])
        kind, read = self._sources[0]
        rows = read(rows_max)
        if len(rows) < rows_max:
            self._sources.popleft()
        return Part(kind, rows)


def write(state: State, applied_index: int, term: int) -> Iterator[bytes]:
    """A snapshot chunk by chunk. The state may change on the way; leaving before the end needs a `close`."""
    capture = Capture(state, applied_index, term)
    capture.begin()
    try:
        yield from capture
    finally:
        capture.end()


def header_of(state: State, applied_index: int, term: int) -> Header:
    return Header(
        state.level_used,
        state.cluster_id,
        state.incarnation,
        applied_index,
        term,
        state.clock_ms,
        Queries(state).digest(),
        state.epoch,
        state.leader,
        state.token_counter,
        state.event_index,
        state.cleanups_paused,
        state.cleanups_pause_reason,
        state.bounds,
        state.skipped,
        state.quarantine,
        state.incarnation_id,
        state.fleet,
    )
