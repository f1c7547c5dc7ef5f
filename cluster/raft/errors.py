"""What can go wrong in the replicated log.

Operating errors, under one root. A bug is not here: it reaches `LogListener.on_fatal` and the process ends.
"""


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
