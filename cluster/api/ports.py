"""What the servicers need of the node beside the gateway: cleanups completed, peers asked, calls counted.

The node's composition root implements these; the API knows neither handlers, nor peers' connections, nor Prometheus.
Everything runs on the node's main loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from garbagetruck.cluster.machine.model import CleanupSpec, Member


class UnknownHandler(Exception):
    """No handler of this name is registered on this node."""

    def __init__(self, handler: str, known: tuple[str, ...]) -> None:
        super().__init__(handler)
        self.handler = handler
        self.known = known


class InvalidParameters(Exception):
    """A handler will not have a cleanup's parameters."""

    def __init__(self, parameter: str, problem: str, remedy: str = "") -> None:
        """`parameter`: the key at fault, empty when none alone is; `problem` and `remedy`: sentences for people."""
        super().__init__(f"{parameter}: {problem}" if parameter else problem)
        self.parameter = parameter
        self.problem = problem
        self.remedy = remedy


class CleanupDoor(Protocol):
    """The registered handlers, as far as the door needs them."""

    def complete(self, handler: str, parameters: Mapping[str, str]) -> CleanupSpec:
        """Check what a client named, and derive its canonical target. No I/O.

        Raises `UnknownHandler` and `InvalidParameters`.
        """
        ...


class MemberDoor(Protocol):
    """What this node would have of a member before others are asked."""

    def problem(self, member: Member) -> tuple[str, str] | None:
        """The field of the member at fault and what is wrong with it, when no node of this cluster could talk to it."""
        ...


class NodeRole(Enum):
    """What a node is to Raft."""

    LEADER = "leader"
    """It leads, and has applied an entry of its own term."""
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    """It stands for election, or was elected and does not lead yet."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node says of itself."""

    node_id: str
    role: NodeRole
    term: int
    applied_index: int
    commit_index: int
    version: str
    digest: int
    """64 bits of the machine's whole state at `applied_index`."""
    clock_ms: int
    storage_low: bool = False
    """Its disk has less free space than it should."""
    membership_waits: str = ""
    archive_waits: str = ""
    """Why nothing is archived by this node, as a sentence, when it should be; empty otherwise."""
    """What keeps a change of membership waiting, as a sentence; told by the node that leads."""
    cleanups_held: bool = False
    """It saw that digests differ, and starts no cleanup, whatever the cluster's state says."""
    leader_id: str | None = None
    """Whom it follows, itself when it leads; empty when it knows no leader, None where its version does not tell."""
    voters_apart: tuple[str, ...] = ()
    """The voters that it has no connection with, for Raft; told by the node that leads."""
    unknown_handlers: tuple[tuple[str, int], ...] = ()
    """(handler, how many cleanups wait for it) of those that it does not have, by rising name; told by the node that leads."""


class PeerUnreachable(Exception):
    """A peer could not be asked, or did not answer."""


class PeerStatus(Protocol):
    """How this node and its peers are."""

    def own(self) -> NodeStatus:
        """This node, at this moment."""
        ...

    async def ask(self, member: Member) -> NodeStatus:
        """What `member` says of itself. Raises `PeerUnreachable`; the caller sets the deadline, by cancelling."""
        ...


class MethodObserver(Protocol):
    """What is counted of one method."""

    def started(self) -> None:
        """A call began."""

    def finished(self, code: str, seconds: float) -> None:
        """It ended with this status code (as `OK`, `NOT_FOUND`) after so long."""


class CallObserver(Protocol):
    """Where calls are counted."""

    def method(self, service: str, method: str, kind: str) -> MethodObserver:
        """The counters of one method; asked once for each. `kind`: unary, server_stream, client_stream or bidi_stream."""
        ...
