"""How the voters are changed: by a leader, by one node at a time, and never by two changes at once (hazard 17).

Duty: propose a change if it may be proposed now, and say what became of it.

Why one at a time: of two sets of voters that differ by one node any two majorities have a node in common; of two that
differ by more they need not. So a leader proposes a change only when no other is in its log that it has not applied
(Ongaro's dissertation, section 4.1), and only after an entry of its own term was applied: before that there may be one
that it does not know to be committed (https://groups.google.com/g/raft-dev/c/t4xj6dJTP6E).

Why a change is sealed before anybody relies on it: a node that has not heard that the last change in its log is committed
counts votes by the one before (`journal.log`). Once a removed node has ended, or the leader that made the change is gone for
good, the rest of a majority might all be such, and wait for ever. A second entry behind the change proves it to whoever has
that entry, and of every majority somebody has, once it is committed; so the one with the furthest log knows, and can win.

Invariants: a refusal leaves the log as it is. A leader never proposes its own removal: it hands over first.

Threads: the Raft thread only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from garbagetruck.cluster.raft.errors import ChangeRefused, ChangeUnknown, NotLeader
from garbagetruck.cluster.raft.log import AddVoter, Change, RemoveVoter, Role
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.transport import GuardedTransport
from garbagetruck.cluster.raft.voter_change import LEARNER_LAG_ENTRIES_MAX, NAME_CHARS_MAX, VOTERS_MAX, VoterChange
from garbagetruck.cluster.raft.wire import MEMBERSHIP_FORMAT

Failure = NotLeader | ChangeRefused | ChangeUnknown


@dataclass(frozen=True, slots=True)
class ChangeVoters:
    """Asked for by the main loop; `sequence` tells one from another."""

    sequence: int
    change: Change
    term: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The end of it: applied, or why not."""

    sequence: int
    failure: Failure | None = None


class KnownDisks(Protocol):
    """Which disks this node knows of."""

    def disk_of(self, node_id: str) -> str:
        """The disk that a node has; empty for one that was never met."""

    def was_removed(self, node_id: str, disk_id: str) -> bool:
        """Whether that disk was a voter's that was removed: it will not stand for election again."""


@dataclass(frozen=True, slots=True)
class _Pending:
    sequence: int
    term: int
    index: int


class Changing:
    """One node's changes of the voters. At most one is under way; `take` refuses another.

    An entry names the disks that `known` knows for those whom the founding left without, so that whoever learns of it lets
    no other in under that name.
    """

    def __init__(self, node_id: str, known: KnownDisks) -> None:
        self._node_id = node_id
        self._known = known
        self._pending: _Pending | None = None

    def take(
        self, asked: ChangeVoters, consensus: Consensus, transport: GuardedTransport, *, hands_over: bool
    ) -> Changed | None:
        """Propose it, and answer by `advance`; or answer at once."""
        if consensus.role is not Role.LEADER or consensus.term != asked.term:
            return Changed(asked.sequence, NotLeader(consensus.leader))
        try:
            if hands_over:
                raise ChangeRefused("leadership is being handed over")  # noqa: TRY301
            change = self._judge(asked.change, consensus, transport)
        except ChangeRefused as refusal:
            return Changed(asked.sequence, refusal)
        consensus.propose_change(change)
        self._pending = _Pending(asked.sequence, asked.term, consensus.journal.last_index)
        return None

    def advance(self, consensus: Consensus) -> Changed | None:
        """What became of the one that is under way, once that is known. To be called in every tick."""
        pending = self._pending
        if pending is None:
            return None
        failure = None
        if consensus.role is not Role.LEADER or consensus.term != pending.term:
            failure = ChangeUnknown()
        elif consensus.applied_index < pending.index or not consensus.journal.metadata_durable:
            return None  # who turns a removed node off must not find that this one, started again, still counts on it
        self._pending = None
        return Changed(pending.sequence, failure)

    def _judge(self, change: Change, consensus: Consensus, transport: GuardedTransport) -> VoterChange:
        """What is to be proposed. Raises ChangeRefused."""
        if not _has_applied_its_own(consensus):
            raise ChangeRefused("this leader has not applied an entry of its own term yet")
        if _is_under_way(consensus):
            raise ChangeRefused("another change is under way")
        if any(transport.format_of(each) < MEMBERSHIP_FORMAT for each in transport.connected):
            raise ChangeRefused("a connected node is of a version that does not know changes of the voters")
        disks = {each: disk or self._known.disk_of(each) for each, disk in consensus.voters.disks.items()}
        if isinstance(change, AddVoter):
            if self._known.was_removed(change.node_id, change.disk_id):
                raise ChangeRefused(f"the disk {change.disk_id} was removed; {change.node_id} needs an empty folder")
            _judge_new(change, disks, consensus, transport)
            proposed = VoterChange("add", change.node_id, change.disk_id, {**disks, change.node_id: change.disk_id})
        elif isinstance(change, RemoveVoter):
            disk_id = self._judge_old(change.node_id, disks)
            rest = {each: disk for each, disk in disks.items() if each != change.node_id}
            proposed = VoterChange("remove", change.node_id, disk_id, rest)
        else:  # adding who votes already changes nothing, for pysyncobj neither
            proposed = VoterChange("add", self._node_id, disks[self._node_id], disks)
        reachable = 1 + len(transport.connected & proposed.voters.keys())
        if reachable * 2 <= len(proposed.voters):
            raise ChangeRefused(
                f"of the {len(proposed.voters)} voters that there would be, only {reachable} are connected"
            )
        return proposed

    def _judge_old(self, node_id: str, disks: Mapping[str, str]) -> str:
        if node_id not in disks:
            raise ChangeRefused(f"{node_id} does not vote")
        if node_id == self._node_id:
            raise ChangeRefused(f"{node_id} leads; another must lead before it can be removed")
        return disks[node_id]


def _has_applied_its_own(consensus: Consensus) -> bool:
    return consensus.journal.term_at(consensus.applied_index) == consensus.term


def _is_under_way(consensus: Consensus) -> bool:
    """Whether a change is in this node's log, whoever proposed it, that it has not applied."""
    return bool(consensus.journal.changes_after(consensus.applied_index))


def _judge_new(change: AddVoter, disks: Mapping[str, str], consensus: Consensus, transport: GuardedTransport) -> None:
    node_id = change.node_id
    if node_id in disks:
        raise ChangeRefused(f"{node_id} votes already")
    if len(disks) >= VOTERS_MAX:
        raise ChangeRefused(f"there are {len(disks)} voters, and {VOTERS_MAX} are the most")
    if max(len(node_id), len(change.disk_id)) > NAME_CHARS_MAX:
        raise ChangeRefused(f"the id of a voter, and of its disk, have at most {NAME_CHARS_MAX} characters")
    if not change.disk_id:
        raise ChangeRefused(f"it is not known which disk {node_id} has")
    if node_id not in transport.connected:
        raise ChangeRefused(f"{node_id} is not connected")
    connected_disk = transport.disk_of(node_id)
    if connected_disk != change.disk_id:
        raise ChangeRefused(f"{node_id} is connected with the disk {connected_disk}, and not with {change.disk_id}")
    behind = consensus.journal.last_index - matched_index(consensus, node_id)
    if behind > LEARNER_LAG_ENTRIES_MAX:
        raise ChangeRefused(f"{node_id} is {behind} entries behind, and {LEARNER_LAG_ENTRIES_MAX} are the most")


def matched_index(consensus: Consensus, node_id: str) -> int:
    """As leader, how far that node's log is known to be this one's; 0 when nothing is known."""
    return int(consensus.getStatus().get(f"match_idx_server_{node_id}", 0))
