"""What is said on the connections between nodes' main loops, and its encoding.

Duty: every frame is one of the messages of `port`, a question after a node's status or its answer, or of the greeting
that all connections between nodes share. Decoding builds plain data of these types and nothing else.

Must not know: connections, what the messages ask for.
"""

import msgspec

from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    OutcomesResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotRequest,
    SnapshotResponse,
    SubmitRequest,
    TransferRequest,
    TransferResponse,
)
from garbagetruck.cluster.raft.frames import Language
from garbagetruck.cluster.raft.wire import Alive, Hello, Refused

PROTOCOL = 1_001
"""Format of the frames. Far from Raft's own numbers: who calls the wrong port is told "another protocol"."""

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""The largest frame: outcomes are larger than the operations that they answer."""


KnownPlace = tuple[str, str, str, str, str]
"""A member as an address book has it: its id, and its addresses `api`, `http`, `raft`, `peer`; empty where unknown."""


class StatusRequest(msgspec.Struct, frozen=True, array_like=True, tag="how"):
    """How is the receiving node? Answered from memory, at once."""

    id: int


class StatusResponse(msgspec.Struct, frozen=True, array_like=True, tag="so"):
    """How the answering node is; see `api.ports.NodeStatus`."""

    id: int
    role: str
    term: int
    applied_index: int
    commit_index: int
    version: str
    digest: int
    clock_ms: int
    storage_low: bool = False
    membership_waits: str = ""
    cleanups_held: bool = False
    leader_id: str | None = None
    voters_apart: tuple[str, ...] = ()
    places: tuple[KnownPlace, ...] = ()
    """Where the members are, as far as the answering node knows: for one that was away (`node.finding`)."""
    archive_waits: str = ""
    unknown_handlers: tuple[tuple[str, int], ...] = ()


Message = (
    Hello
    | Refused
    | Alive
    | SubmitRequest
    | ReadIndexRequest
    | TransferRequest
    | SnapshotRequest
    | OutcomesResponse
    | ReadIndexResponse
    | TransferResponse
    | SnapshotResponse
    | FailureResponse
    | StatusRequest
    | StatusResponse
)

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()

PEER = Language("peer", PROTOCOL, _encoder.encode, _decoder.decode, FRAME_BYTES_MAX)
