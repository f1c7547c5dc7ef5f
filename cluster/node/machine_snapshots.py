"""The machine's state as the log's snapshots want it: captured at a moment, and made again from what was captured.

Duty: join `machine.snapshot`, whose chunks have any length, to `raft.snapshots`, whose chunks are of one size: a chunk here
is a piece of all of those there, one behind the other.

Invariants: a capture is of one moment. Decoding touches no machine, so that it can go wrong, and can run on any thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import Executor

from typing_extensions import override

from garbagetruck.cluster.machine import capture, snapshot
from garbagetruck.cluster.machine.capture import Capture as MachineCapture
from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.kinds import Header
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.raft.errors import SnapshotUnfit, StateTooNew
from garbagetruck.cluster.raft.snapshots.port import Capture, StateMachine

PIECE_BYTES = 1024 * 1024
PAUSE_SHARE = 1.0
"""After each part nothing is done for this share of the time that it took: calls come first, a snapshot has time."""


class MachineSnapshots(StateMachine):
    """What the log takes snapshots of. On the main loop, but for `decode`."""

    def __init__(self, machine: Machine, applier: Applier, executor: Executor) -> None:
        """`executor` encodes what was captured."""
        self._machine = machine
        self._applier = applier
        self._executor = executor

    @override
    def capture(self) -> Capture:
        index = self._applier.applied_index
        begun = self._machine.capture(index)
        return Capture(index, self._pieces(begun), begun.end)

    async def _pieces(self, begun: MachineCapture) -> AsyncGenerator[bytes, None]:
        """The chunks, cut into pieces. A part of the state is looked at on this loop, and encoded elsewhere."""
        waiting = bytearray()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while (part := begun.part()) is not None:
            waiting += await asyncio.wrap_future(self._executor.submit(part.encoded))
            await asyncio.sleep(PAUSE_SHARE * (loop.time() - began_s))
            began_s = loop.time()
            while len(waiting) >= PIECE_BYTES:
                yield bytes(waiting[:PIECE_BYTES])
                del waiting[:PIECE_BYTES]
        if waiting:
            yield bytes(waiting)

    @override
    def decode(self, chunks: Iterator[bytes]) -> State:
        return decode_state(chunks, self._machine.level)


def decode_state(chunks: Iterable[bytes], level: int = LEVEL_NEWEST) -> State:
    """The state that was cut into `chunks`, verified. Raises SnapshotUnfit; StateTooNew for one above `level`."""
    try:
        return snapshot.read(framed(chunks), level)[1]
    except FormatTooNew as error:
        raise StateTooNew(f"{error}; {error.remedy}") from error
    except Unreadable as error:
        raise SnapshotUnfit(str(error)) from error


class StateInPieces:
    """A state from pieces that come one after the other: `add` each, then `finish`. Holds one chunk, beside the state."""

    def __init__(self, level: int = LEVEL_NEWEST) -> None:
        """`level` is the highest feature level that is read."""
        self._restoration = snapshot.Restoration(level)
        self._waiting = bytearray()

    def add(self, piece: bytes) -> None:
        """Raises SnapshotUnfit; StateTooNew for one above the level."""
        self._waiting += piece
        try:
            while (length := _whole(self._waiting)) is not None:
                self._restoration.add(bytes(self._waiting[:length]))
                del self._waiting[:length]
        except FormatTooNew as error:
            raise StateTooNew(f"{error}; {error.remedy}") from error
        except Unreadable as error:
            raise SnapshotUnfit(str(error)) from error

    def finish(self) -> State:
        """The state, whose digest is verified. Raises SnapshotUnfit."""
        if self._waiting:
            raise SnapshotUnfit("a snapshot ends within a chunk")
        try:
            self._restoration.finish()
        except Unreadable as error:
            raise SnapshotUnfit(str(error)) from error
        return self._restoration.state


def header_in(first_piece: bytes) -> Header:
    """What a snapshot is of, from the first of its pieces. Raises SnapshotUnfit."""
    restoration = snapshot.Restoration()
    try:
        restoration.add(next(_framed_so_far(first_piece)))
    except (FormatTooNew, Unreadable, StopIteration) as error:
        raise SnapshotUnfit(f"a snapshot does not begin with its header: {error}") from error
    return restoration.header


def _framed_so_far(piece: bytes) -> Iterator[bytes]:
    waiting = bytearray(piece)
    if (length := _whole(waiting)) is not None:
        yield bytes(waiting[:length])


def pieces(state: State, applied_index: int, term: int) -> Iterator[bytes]:
    """A state that nobody changes meanwhile, cut into pieces."""
    waiting = bytearray()
    for chunk in capture.write(state, applied_index, term):
        waiting += chunk
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    yield bytes(waiting)


def framed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a machine's snapshot that `parts` are cut from. Raises Unreadable when the last is not whole."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        while (length := _whole(waiting)) is not None:
            yield bytes(waiting[:length])
            del waiting[:length]
    if waiting:
        raise Unreadable("a snapshot ends within a chunk")


def _whole(waiting: bytearray) -> int | None:
    """The length of the first chunk, if all of it is there."""
    if len(waiting) < snapshot.PREFIX.size:
        return None
    length = snapshot.PREFIX.size + int(snapshot.PREFIX.unpack_from(waiting)[0])
    if length > snapshot.CHUNK_BYTES_MAX:
        raise Unreadable(f"a chunk of {length} bytes is larger than any that is written")
    return length if length <= len(waiting) else None
