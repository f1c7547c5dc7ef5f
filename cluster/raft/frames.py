"""Messages on a stream of bytes: each as MessagePack, behind its length in four bytes, the greatest first.

Duty: cut a stream into messages, and refuse what is too long by its announced length, before anything is kept of it.

Invariants: at no time is more kept than one frame of `frame_bytes_max` and what came with it in one read.

Pure. Must not know: connections.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from garbagetruck.cluster.raft import wire

Frame = msgspec.Struct
"""A message of whatever kind of connection."""

GREETING_BYTES_MAX = 4_096
"""The largest frame before a peer has introduced itself."""

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest frame of a peer: a full message of entries, with room for what MessagePack adds to each."""

_LENGTH_BYTES = 4


class FrameRefusedError(Exception):
    """What was read is no frame of this protocol. The stream cannot be read any further. `cause` is one of a few."""

    def __init__(self, cause: str, details: str) -> None:
        super().__init__(f"{cause}: {details}")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Language:
    """What is said on one kind of connection. All kinds share the greeting: `Hello`, `Refused` and `Alive` of `wire`."""

    name: str
    """For logs and the names of tasks."""
    protocol: int
    """What a `Hello` must announce: different for each kind, so that none is taken for another."""
    encode: Callable[[Frame], bytes]
    decode: Callable[[bytes], Frame]
    """Raises msgspec.MsgspecError, UnicodeDecodeError or RecursionError for anything but one well-formed message."""
    frame_bytes_max: int
    """The largest frame of a peer that has introduced itself."""


RAFT = Language("raft", wire.PROTOCOL, wire.encode, wire.decode, FRAME_BYTES_MAX)
"""What Raft's own connections say."""


class FrameReader:
    """The messages of one stream. `frame_bytes_max` may be changed between two messages."""

    def __init__(self, frame_bytes_max: int, language: Language = RAFT) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._decode = language.decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The messages that `data` completes, one by one. Raises FrameRefusedError; then nothing more may be fed."""
        buffer = self._buffer
        buffer += data
        begin = 0
        try:
            while (start := begin + _LENGTH_BYTES) <= len(buffer):
                size_bytes = int.from_bytes(buffer[begin:start], "big")
                if size_bytes > self.frame_bytes_max:
                    raise FrameRefusedError("oversize frame", f"{size_bytes} bytes, {self.frame_bytes_max} are allowed")
                end = start + size_bytes
                if end > len(buffer):
                    return
                frame = bytes(buffer[start:end])
                begin = end
                try:
                    message = self._decode(frame)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise FrameRefusedError("malformed frame", str(error)) from error
                yield message
        finally:
            del buffer[:begin]


def frame_of(message: Frame, language: Language = RAFT) -> bytes:
    """The bytes that say `message`. Raises AssertionError when it is larger than any peer would take."""
    payload = language.encode(message)
    assert len(payload) <= language.frame_bytes_max, (
        f"a message of {len(payload)} bytes must be cut up before it is sent"
    )
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload
