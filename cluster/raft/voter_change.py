"""What an entry of the log says that changes who votes.

Duty: the payload behind the first byte `wire.MEMBERSHIP` of a command: one byte that begins no MessagePack, then an array.

Invariants: an entry holds the whole set of voters that there is from it on, so that the configuration at any index
follows from one entry, and from no history. Whatever else lies behind that first byte is refused on the way in.

Pure. Must not know: pysyncobj, which reads such an entry by `seams`.
"""

from typing import Annotated, Literal

import msgspec

MARK = b"\xc1"
"""The one byte that MessagePack never uses: no other payload of this log begins with it."""

VOTERS_MAX = 16
"""Voters of one configuration: more than are of use, and few enough for the first page of a snapshot."""
NAME_CHARS_MAX = 100
"""Of a voter's id, and of its disk's."""

LEARNER_LAG_ENTRIES_MAX = 1_000
"""A learner that is further behind is not made a voter: until it had caught up it would only make a majority dearer."""

VoterId = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
DiskId = Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]

Disks = Annotated[dict[VoterId, DiskId], msgspec.Meta(max_length=VOTERS_MAX)]
"""Voters by their ids, and the disk that each has; an empty name where it was not known yet."""


class VoterChange(msgspec.Struct, frozen=True, array_like=True):
    """One node becomes a voter, or is none any more. `disk_id` is its disk; empty where it was not known."""

    kind: Literal["add", "remove"]
    node_id: VoterId
    disk_id: DiskId
    voters: Disks
    """All of them, from this entry on."""

    def __post_init__(self) -> None:
        if not self.voters:
            raise ValueError("a configuration without a voter")
        if (self.node_id in self.voters) is not (self.kind == "add"):
            raise ValueError(f"a change that is to {self.kind} {self.node_id}, and does not")


_decoder = msgspec.msgpack.Decoder(VoterChange)


def encode(change: VoterChange) -> bytes:
    return MARK + msgspec.msgpack.encode(change)


def decode(payload: bytes) -> VoterChange:
    """Raises msgspec.MsgspecError for anything but one well-formed change."""
    if payload[:1] != MARK:
        raise msgspec.ValidationError("not a change of the voters")
    return _decoder.decode(payload[1:])
