"""What stands behind the simulated log: a machine whose state is a checksum of all that was applied to it.

Duty: be captured and restored, so that snapshots are taken, sent and gone on from; tell two histories apart.

Must not know: who applies what, and why.
"""

import zlib
from collections.abc import AsyncGenerator, Iterator

from garbagetruck.cluster.raft.errors import SnapshotUnfit
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.snapshots.port import Capture

_STATE_BYTES = 12
FILLING = bytes(range(256)) * 24
"""So that a snapshot has more than one chunk, and more than one sector to be torn."""


def extend(checksum: int, entry: Entry) -> int:
    """The checksum of a history with one more entry."""
    return zlib.crc32(entry.payload + entry.index.to_bytes(8, "big"), checksum)


class ChecksumMachine:
    """A `StateMachine`. `index` is of the last entry that was applied, or that carried nothing to apply."""

    def __init__(self) -> None:
        self.index = 0
        self.checksum = 0

    def apply(self, entry: Entry) -> None:
        self.checksum = extend(self.checksum, entry)

    def restore(self, state: object) -> None:
        assert isinstance(state, tuple)
        self.index, self.checksum = state

    def capture(self) -> Capture:
        state = self.index.to_bytes(8, "big") + self.checksum.to_bytes(4, "big")

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield state
            yield FILLING

        return Capture(self.index, chunks())

    def decode(self, chunks: Iterator[bytes]) -> object:
        found = b"".join(chunks)
        if found[_STATE_BYTES:] != FILLING:
            raise SnapshotUnfit("it is not what was captured")
        return int.from_bytes(found[:8], "big"), int.from_bytes(found[8:_STATE_BYTES], "big")
