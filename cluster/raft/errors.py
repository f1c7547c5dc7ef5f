"""What can go wrong in the replicated log.

Operating errors, under one root. A bug is not here: it reaches `LogListener.on_fatal` and the process ends.
"""

from pathlib import Path


class RaftError(Exception):
    """Root of the replicated log's operating errors."""


class NotLeader(RaftError):
    """This node does not lead, or stopped leading before a majority answered.

    `leader` is the id of the node believed to lead, or None.
    """

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"this node does not lead the cluster; the leader is {leader or 'not known'}")
        self.leader = leader


class ProposalTooLarge(RaftError):
    """A proposal is larger than the log accepts; nothing was proposed. Sizes in bytes."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"a proposal of {size_bytes} bytes exceeds the limit of {size_bytes_max} bytes; split it")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class LogStopped(RaftError):
    """The log has not been started, or has been stopped, or died."""


class JournalDamaged(RaftError):
    """A file of the log cannot be what this node wrote. The node must not start: it might vote twice, or forget."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged: {reason}. The node does not start, for it might vote twice or forget what it "
            "acknowledged. Keep a copy of the folder, and bring the node back with an empty one while the others are up"
        )
        self.path = path


class JournalFull(RaftError):
    """The log's file has reached the size that its format allows; the node stops rather than drop entries."""

    def __init__(self, size_bytes_max: int) -> None:
        super().__init__(f"the journal has reached its limit of {size_bytes_max} bytes")


class LogDiverged(RaftError):
    """What a leader sent contradicts what this node knows to be committed. Fatal: the history would fork."""
