"""The machine's state as the log's snapshots want it: captured at a moment, and made again from what was captured.

Duty: join `machine.snapshot`, whose chunks have any length, to `raft.snapshots`, whose chunks are of one size: a chunk here
is a piece of all of those there, one behind the other.

Invariants: a capture is of one moment. Decoding touches no machine, so that it can go wrong, and can run on any thread.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator

from typing_extensions import override

from garbagetruck.cluster.machine import snapshot
from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.raft.errors import SnapshotUnfit
from garbagetruck.cluster.raft.snapshots.port import Capture, StateMachine

PIECE_BYTES = 1024 * 1024


class MachineSnapshots(StateMachine):
    """What the log takes snapshots of. On the main loop, but for `decode`."""

    def __init__(self, machine: Machine, applier: Applier) -> None:
        self._machine = machine
        self._applier = applier

    @override
    def capture(self) -> Capture:
        index = self._applier.applied_index
        chunks = list(self._machine.capture(index))
        return Capture(index, _one_by_one(pieces(chunks)))

    @override
    def decode(self, chunks: Iterator[bytes]) -> State:
        try:
            return snapshot.read(framed(chunks))[1]
        except (Unreadable, FormatTooNew) as error:
            raise SnapshotUnfit(str(error)) from error


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """All of `chunks`, cut into pieces of `PIECE_BYTES`."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    if waiting:
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


async def _one_by_one(parts: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part
