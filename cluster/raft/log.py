"""The replicated log as a node sees it: types only.

Duty: say what a node may rely on, whether pysyncobj or a simulator's model stands behind it.

What every implementation promises:

- **One history.** Every node hears the same entries, in the same order, each index once per process. A restarted
  process hears the history again from its beginning (or from its snapshot), before anything new.
- **Only the leader of a term proposes in it.** A proposal meant for another term is dropped, never forwarded and never
  appended under a later term. The proposer learns the fate of its payload from `on_entries`, or from its own deadline.
- **`Role.LEADER` alone is no licence to lead.** It says that a majority voted, not that this node has applied what its
  predecessors committed. A node leads once an entry of its own, proposed in this term, has been applied.
- Everything here is called, and calls back, on the node's main loop.

Must not know: what a payload means, and pysyncobj.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from garbagetruck.cluster.raft.settings import Member


class Role(enum.Enum):
    """What this node is in its current term."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One consistent view of the log, as of the hand-off that carried it."""

    role: Role
    term: int
    """The highest term this node has seen; it never falls."""
    leader: str | None
    """Id of the node believed to lead `term` (this node's own id when it leads), or None."""
    commit_index: int
    """The highest index known to be committed."""
    applied_index: int
    """The highest index that was handed to `LogListener.on_entries`, or that carries no payload; <= commit_index."""
    last_index: int
    """The end of this node's own log; uncommitted entries included."""
    connected: frozenset[str]
    """Ids of the peers with a live connection; this node is not among them."""
    low_on_space: frozenset[str] = frozenset()
    """Ids of the nodes whose disks have less room than they should: this one, and, while it leads, connected peers."""
    voters: frozenset[str] = frozenset()
    """Ids of those who vote, by the configuration that was applied up to `applied_index`; this node's if it does."""
    removed: bool = False
    """Whether this node's own removal was applied. It neither leads nor stands for election any more, and never will."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed payload. Indexes rise, but are not contiguous: some entries are Raft's own."""

    index: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A majority, this node included, answered in `term` a message that was sent after `confirm` was called.

    `commit_index` is the leader's commit index when that message was sent, or later: what was acknowledged before the
    call by any leader of this or an earlier term is at or below it, provided that an entry of `term` had been applied.
    """

    term: int
    commit_index: int


@dataclass(frozen=True, slots=True)
class AddVoter:
    """`node_id`, which follows as a learner with the disk `disk_id`, shall vote."""

    node_id: str
    disk_id: str


@dataclass(frozen=True, slots=True)
class RemoveVoter:
    """`node_id` shall not vote any more."""

    node_id: str


@dataclass(frozen=True, slots=True)
class SealVoters:
    """Have one more entry say who votes, and change nothing. Whose log has it knows, by that alone, that the change before
    it is committed: so once it is applied here, no majority counts votes by what was so before.
    """


Change = AddVoter | RemoveVoter | SealVoters


class LogListener(Protocol):
    """The node's side. All are called on the main loop, in the order things happened; they must not raise."""

    def on_restored(self, state: object, index: int) -> None:
        """Go on from `state`, which the node's own machine decoded: it is the state right behind the entry at `index`.

        What it comes from are entries that were, or will be, handed over to others only. It never goes back.
        """

    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        """Apply `entries`, which is not empty and ascends.

        With them everything up to `applied_index` has been handed over; it is at or above the last of `entries`.
        """

    def on_status(self, status: LogStatus) -> None:
        """Something in the status changed, `last_index` alone excepted. What it calls applied has been handed over."""

    def on_fatal(self, error: BaseException) -> None:
        """The log died and stays dead; nothing follows. The process must end, promptly and with a failure."""


class ReplicatedLog(Protocol):
    """The log of one node."""

    @property
    def status(self) -> LogStatus:
        """The latest status that was handed to the listener; before that, a follower of term 0 that knows nothing."""

    async def start(self, listener: LogListener) -> None:
        """Open the log and begin to take part. Once only. Raises what opening the disk or the port raises."""

    async def stop(self) -> None:
        """Leave: no listener call follows, waiting confirmations fail with `LogStopped`. Idempotent."""

    def propose(self, payload: bytes, *, term: int) -> None:
        """Append `payload` if this node leads `term` when the log gets to it; otherwise drop it without a word.

        So it is too when a transfer is under way, or when proposals come in faster than the log takes them. Never
        blocks. Proposals of one term are appended in the order of the calls.
        Raises `ProposalTooLarge`, and `LogStopped` unless started.
        """

    async def confirm(self) -> Confirmation:
        """Prove that this node still leads: a majority's echo, in this term, to a message sent after this call.

        Callers that wait together share one round. Waits as long as this node leads; the caller sets a deadline.
        Raises `NotLeader` as soon as this node does not lead, `LogStopped` when it stops.
        """

    async def transfer_leadership(self, to: str | None = None) -> bool:
        """Stop proposing, let `to` (or the most advanced connected peer) catch up, and make it stand for election.

        True once another node's leadership of a higher term was seen. False when this node does not lead, when `to` is
        not a connected peer, when the log stops, or when that did not happen within a bounded time: proposals are taken
        again then. A call while another is under way shares its outcome.
        """

    def set_members(self, members: Sequence[Member]) -> None:
        """Everybody to talk to from now on, this node included: voters and learners. At any time; the newest counts.

        It says nothing about who votes. Members that must not be talked to (without TLS, those not on loopback) are left
        out, with a line in the log. This node's own address counts when it is started again. A member that does not vote is let
        in with the disk that is named here only, or with any where none is.
        """

    async def change_voters(self, change: Change, *, term: int) -> None:
        """Have the log say that one node votes, or does not any more. Returns once that is applied here.

        Takes as long as committing takes; cancelling it takes nothing back. Raises NotLeader when this node does not
        lead `term`, ChangeRefused when nothing was proposed for another reason, ChangeUnknown when leadership was lost
        after proposing, LogStopped when it stops.
        """
