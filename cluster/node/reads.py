"""Linearizable reads without a log entry: prove that one leads, then apply up to the commit index of that moment.

Duty: the leader's half of every such read, its own or a follower's.
Invariants: the majority's echo is to a message sent after the question arrived (`ReplicatedLog.confirm`), in the very
epoch that this node leads, whose own entry has been applied; so whatever was acknowledged before is at or below the
commit index. Never is a read answered from a clock.
Must not know: what is read.
"""

from dataclasses import dataclass

from garbagetruck.cluster.api.gateway import NotLeader
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.errors import RaftError
from garbagetruck.cluster.raft.log import ReplicatedLog


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Apply up to `commit_index`, then read; count remaining times from `clock_ms` of cluster time."""

    commit_index: int
    clock_ms: int
    term: int


class ReadIndex:
    """Runs on the node's main loop. Callers that wait together share one round of messages: the log sees to it."""

    def __init__(self, *, log: ReplicatedLog, leadership: Leadership, clock: ClusterClock) -> None:
        self._log = log
        self._leadership = leadership
        self._clock = clock

    async def confirm(self) -> Confirmed:
        """Prove leadership. Waits as long as this node leads; the caller sets the deadline. Raises `NotLeader`."""
        epoch = self._leadership.epoch
        if not epoch:
            raise NotLeader("this node does not lead")
        try:
            confirmation = await self._log.confirm()
        except RaftError as error:
            raise NotLeader(f"leadership could not be confirmed: {error}") from error
        if not confirmation.term == epoch == self._leadership.epoch:
            raise NotLeader("leadership was lost while it was being confirmed")
        return Confirmed(confirmation.commit_index, self._clock.now_ms(), epoch)
