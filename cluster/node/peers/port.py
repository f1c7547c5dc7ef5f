"""What nodes say to each other beside Raft, and the port that carries it.

Duty: the messages between a follower and the leader's node, or any two, as values, and what a stream of them promises.
Invariants: a response answers the request of its id, in any order, once. A stream that broke stays broken: whatever
was sent on it and not answered may or may not have been done.
Must not know: connections; a simulator implements the same port.
"""

from typing import Protocol

import msgspec

from garbagetruck.cluster.api.errors import OPERATING_ERRORS
from garbagetruck.cluster.api.gateway import NotLeader, OperatingError, OutcomeUnknown
from garbagetruck.cluster.api.snapshots import SnapshotRecord


class SubmitRequest(msgspec.Struct, frozen=True, array_like=True, tag="submit"):
    """Operations to commit, in the machine's own encoding."""

    id: int
    operations: bytes
    timeout_ms: int
    """From now on: what is not sealed into a batch by then is not applied."""


class ReadIndexRequest(msgspec.Struct, frozen=True, array_like=True, tag="read_index"):
    """How far must the log have been applied for a read that begins now?"""

    id: int


class TransferRequest(msgspec.Struct, frozen=True, array_like=True, tag="transfer"):
    """Hand leadership to another node."""

    id: int
    to: str
    """Empty: whichever is most up to date."""


class SnapshotRequest(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """Take a snapshot, and copy it out of the nodes. To any node, from feature level 4 on."""

    id: int
    request_id: str
    timeout_ms: int
    """After that the answer is that it goes on."""


PeerRequest = SubmitRequest | ReadIndexRequest | TransferRequest | SnapshotRequest


class OutcomesResponse(msgspec.Struct, frozen=True, array_like=True, tag="outcomes"):
    """The outcomes of the operations, in their order, in the machine's own encoding."""

    id: int
    outcomes: bytes


class ReadIndexResponse(msgspec.Struct, frozen=True, array_like=True, tag="indexed"):
    """A majority echoed the leader's term after the question had arrived."""

    id: int
    commit_index: int
    clock_ms: int
    term: int


class FailureResponse(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """An operating error at the leader's node."""

    id: int
    reason: str
    """One of `FAILURES`; anything else is an internal error of the peer."""
    message: str
    leader: str
    """API address of the leader as that node knows it, or empty."""


class TransferResponse(msgspec.Struct, frozen=True, array_like=True, tag="transferred"):
    """Another node leads."""

    id: int
    leader_id: str


class SnapshotResponse(msgspec.Struct, frozen=True, array_like=True, tag="snapshotted"):
    """It is there."""

    id: int
    snapshot: SnapshotRecord


PeerResponse = OutcomesResponse | ReadIndexResponse | TransferResponse | SnapshotResponse | FailureResponse

FAILURES: dict[str, type[OperatingError]] = {
    answer.reason: kind for kind, answer in OPERATING_ERRORS.items() if kind is not OperatingError
}
"""Reasons as they travel. They are the public ones: there is one table of errors."""


def failure(request_id: int, error: OperatingError) -> FailureResponse:
    """The response that carries `error`."""
    reason = OPERATING_ERRORS[type(error)].reason
    return FailureResponse(request_id, reason, str(error), error.leader or "")


def told(response: FailureResponse) -> OperatingError:
    """The error that a response carries. One that this version does not know leaves the outcome unknown."""
    return FAILURES.get(response.reason, OutcomeUnknown)(response.message, leader=response.leader or None)


class LinkBrokenError(Exception):
    """The peer could not be reached, or the stream to it broke."""


class PeerStream(Protocol):
    """One stream to one peer. `send` and `receive` are each called by one task at a time."""

    async def send(self, request: PeerRequest) -> None:
        """Hand the request to the network; waits while the peer is slow to read. Raises `LinkBrokenError`."""

    async def receive(self) -> PeerResponse:
        """The next response, of whatever request. Raises `LinkBrokenError`."""

    async def close(self) -> None:
        """Break the stream. Idempotent."""


class PeerLink(Protocol):
    """The way to the other nodes."""

    async def connect(self, node_id: str) -> PeerStream:
        """Open a stream to a peer within a bounded time. Raises `LinkBrokenError`."""


class PeerHandler(Protocol):
    """The asked side of every stream."""

    async def handle(self, request: PeerRequest) -> PeerResponse:
        """Do what the request asks. Operating errors become a `FailureResponse`; a bug raises."""


def stray(request_id: int, what: str) -> FailureResponse:
    """The answer to a request that this node cannot read: nothing was done."""
    return failure(request_id, NotLeader(f"the request could not be read: {what}; nothing was applied"))
