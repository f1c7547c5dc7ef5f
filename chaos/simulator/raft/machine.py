"""What stands behind the simulated log: a machine whose state is a checksum of all that was applied to it.

Duty: be captured and restored, so that snapshots are taken, sent and gone on from; tell two histories apart.

Must not know: who applies what, and why.
"""

import zlib
from collections.abc import AsyncGenerator, Iterator

from garbagetruck.cluster.raft.errors import SnapshotUnfit
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.snapshots.port import Capture

MEMBERS_MARK = b";members="
"""In a payload, before the names of all members: so nodes hear of each other through the log."""
_MEMBERS_BYTES_MAX = 32
_STATE_BYTES = 12 + _MEMBERS_BYTES_MAX
FILLING = bytes(range(256)) * 24
"""So that a snapshot has more than one chunk, and more than one sector to be torn."""


def extend(checksum: int, entry: Entry) -> int:
    """The checksum of a history with one more entry."""
    return zlib.crc32(entry.payload + entry.index.to_bytes(8, "big"), checksum)


class ChecksumMachine:
    """A `StateMachine`. `index` is of the last entry that was applied, or that carried nothing to apply; `members` are the
    names that the log told last, if it told any.
    """

    def __init__(self) -> None:
        self.index = 0
        self.checksum = 0
        self.members: tuple[str, ...] = ()

    def apply(self, entry: Entry) -> None:
        self.checksum = extend(self.checksum, entry)
        _, mark, names = entry.payload.partition(MEMBERS_MARK)
        if mark:
            self.members = tuple(names.decode().split(","))

    def restore(self, state: object) -> None:
        assert isinstance(state, tuple)
        self.index, self.checksum, self.members = state

    def capture(self) -> Capture:
        members = ",".join(self.members).encode().ljust(_MEMBERS_BYTES_MAX)
        state = self.index.to_bytes(8, "big") + self.checksum.to_bytes(4, "big") + members

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield state
            yield FILLING

        return Capture(self.index, chunks())

    def decode(self, chunks: Iterator[bytes]) -> object:
        found = b"".join(chunks)
        if found[_STATE_BYTES:] != FILLING:
            raise SnapshotUnfit("it is not what was captured")
        names = found[12:_STATE_BYTES].decode().strip()
        members = tuple(names.split(",")) if names else ()
        return int.from_bytes(found[:8], "big"), int.from_bytes(found[8:12], "big"), members
