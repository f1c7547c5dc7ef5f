"""What the main loop asks of the log, and what it is told: once in every tick of pysyncobj, in its middle.

Duty: take proposals, rounds of confirmation, transfers of leadership and changes of the voters, and hand over what
changed, in order: entries, then status, then replies.

Invariants: a proposal is appended only while this node leads the term it was meant for, and otherwise dropped, so that
none is ever forwarded or appended under a later term; while leadership is being handed over none is.

Threads: the Raft thread only, but for `put`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.changing import Changed, ChangeVoters, Changing
from garbagetruck.cluster.raft.confirm import EchoRound
from garbagetruck.cluster.raft.log import Confirmation, Entry, LogStatus, Role
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Restored
from garbagetruck.cluster.raft.transport import GuardedTransport
from garbagetruck.cluster.raft.voters import Voters

_NS_PER_MS = 1_000_000

HAND_OVER_ENTRIES_MAX = 1_000
"""Entries in one hand-off; more, as after a restart, become several."""


@dataclass(frozen=True, slots=True)
class Propose:
    payload: bytes
    term: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """Begin a round; there is never another under way. `sequence` rises."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Transfer:
    to: str | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The end of the round that `Confirm` began; None when this node does not lead, or no longer."""

    confirmation: Confirmation | None


@dataclass(frozen=True, slots=True)
class Transferred:
    done: bool


Request = Propose | Confirm | Transfer | ChangeVoters


@dataclass(frozen=True, slots=True)
class SnapshotDue:
    """The log has grown: a snapshot of the machine's state is wanted, of this moment or later."""


Reply = Confirmed | Transferred | Changed | SnapshotDue


@dataclass(frozen=True, slots=True)
class HandOff:
    """What changed, to be taken in the order of the fields. `applied_index` is as of the last of `entries`."""

    entries: Sequence[Entry]
    applied_index: int
    status: LogStatus | None
    replies: Sequence[Reply]
    restored: Restored | None = None
    """A state that the log goes on from: it comes alone, before what is applied to it."""


@dataclass(slots=True)
class _PendingTransfer:
    to: str | None
    term: int
    deadline_ns: int
    ask_ns: int
    """When the target is asked next."""


class Exchange:
    """Between the main loop and pysyncobj."""

    def __init__(
        self,
        *,
        node_id: str,
        voters: Voters,
        changing: Changing,
        settings: RaftSettings,
        monotonic_ns: Callable[[], int],
        hand_over: Callable[[HandOff], None],
    ) -> None:
        self._node_id = node_id
        self._voters = voters
        self._changing = changing
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._hand_over = hand_over
        self._requests: deque[Request] = deque()
        self._replies: list[Reply] = []
        self._restored: Restored | None = None
        self._low_on_space: set[str] = set()
        """Peers that said so, in the last answer to a probe."""
        self._status: LogStatus | None = None
        self._round: EchoRound | None = None
        self._probed_ns = 0
        self._transfer: _PendingTransfer | None = None
        self.dropped_proposals = 0
        """Proposals that were not appended; written by both threads, so only nearly exact."""

    def put(self, request: Request) -> bool:
        """Enqueue for the next tick. False for a proposal past `proposals_waiting_max` requests: it is dropped."""
        if isinstance(request, Propose) and len(self._requests) >= self._settings.proposals_waiting_max:
            self.dropped_proposals += 1
            return False
        self._requests.append(request)
        return True

    def restore(self, restored: Restored) -> None:
        """Hand a state over, before the entries that are applied from now on."""
        self._restored = restored

    def ask_for_snapshot(self) -> None:
        """Say that one is due."""
        self._replies.append(SnapshotDue())

    def between(self, consensus: Consensus, transport: GuardedTransport) -> None:
        """Once in every tick, after applying and before sending."""
        self._hand_over_changes(consensus, transport)
        while self._requests:
            self._take(self._requests.popleft(), consensus, transport)
        self._advance_round(consensus, transport)
        self._advance_transfer(consensus)
        if (changed := self._changing.advance(consensus)) is not None:
            self._replies.append(changed)
        if self._replies:
            self._hand_over_changes(consensus, transport)

    def _hand_over_changes(self, consensus: Consensus, transport: GuardedTransport) -> None:
        entries, consensus.applied = consensus.applied, []
        restored, self._restored = self._restored, None
        status = self._changed_status(consensus, transport)
        if restored is not None:
            self._hand_over(HandOff((), restored.index, None, (), restored))
        if not entries and status is None and not self._replies:
            return
        while len(entries) > HAND_OVER_ENTRIES_MAX:
            head, entries = entries[:HAND_OVER_ENTRIES_MAX], entries[HAND_OVER_ENTRIES_MAX:]
            self._hand_over(HandOff(head, head[-1].index, None, ()))
        replies, self._replies = self._replies, []
        self._hand_over(HandOff(entries, consensus.applied_index, status, replies))

    def _changed_status(self, consensus: Consensus, transport: GuardedTransport) -> LogStatus | None:
        former = self._status
        leader = _present_leader(consensus, transport)
        low_on_space = self._find_low(consensus, transport)
        if (
            former is not None
            and former.commit_index == consensus.commit_index
            and former.applied_index == consensus.applied_index
            and former.role is consensus.role
            and former.term == consensus.term
            and former.leader == leader
            and former.connected == transport.connected
            and former.low_on_space == low_on_space
            and former.voters == self._voters.ids
            and former.removed == self._voters.removed
        ):
            return None
        self._status = LogStatus(
            role=consensus.role,
            term=consensus.term,
            leader=leader,
            commit_index=consensus.commit_index,
            applied_index=consensus.applied_index,
            last_index=consensus.journal.last_index,
            connected=transport.connected,
            low_on_space=low_on_space,
            voters=self._voters.ids,
            removed=self._voters.removed,
        )
        return self._status

    def _find_low(self, consensus: Consensus, transport: GuardedTransport) -> frozenset[str]:
        low = self._low_on_space & transport.connected if consensus.role is Role.LEADER else set()
        return frozenset({*low, self._node_id}) if consensus.journal.is_space_low else frozenset(low)

    def _take(self, request: Request, consensus: Consensus, transport: GuardedTransport) -> None:
        match request:
            case Propose(payload, term):
                if consensus.role is Role.LEADER and consensus.term == term and self._transfer is None:
                    consensus.propose(payload)
                else:
                    self.dropped_proposals += 1
            case Confirm(sequence):
                self._round = EchoRound(
                    term=consensus.term,
                    sequence=sequence,
                    commit_index=consensus.commit_index,
                    voters=self._voters,
                )
                if consensus.role is Role.LEADER:
                    self._probe(self._round, transport)
            case Transfer(to):
                able = transport.connected & self._voters.others
                if consensus.role is not Role.LEADER or not (able if to is None else to in able):
                    self._replies.append(Transferred(done=False))
                    return
                now_ns = self._monotonic_ns()
                deadline_ns = now_ns + self._settings.transfer_ms_max * _NS_PER_MS
                self._transfer = _PendingTransfer(to, consensus.term, deadline_ns, ask_ns=now_ns)
            case ChangeVoters():
                hands_over = self._transfer is not None
                if (answer := self._changing.take(request, consensus, transport, hands_over=hands_over)) is not None:
                    self._replies.append(answer)

    # --- rounds of confirmation -------------------------------------------------------------------------------------

    def _probe(self, echo_round: EchoRound, transport: GuardedTransport) -> None:
        self._probed_ns = self._monotonic_ns()
        for node_id in sorted(echo_round.silent):
            transport.probe(node_id, wire.Probe(echo_round.term, echo_round.sequence))

    def on_echo(self, node_id: str, echo: wire.Echo) -> None:
        """A peer answered a probe."""
        if echo.space_low:
            self._low_on_space.add(node_id)
        else:
            self._low_on_space.discard(node_id)
        if self._round is not None:
            self._round.echo(node_id, term=echo.term, sequence=echo.sequence)

    def _advance_round(self, consensus: Consensus, transport: GuardedTransport) -> None:
        current = self._round
        if current is None:
            return
        if consensus.role is not Role.LEADER or consensus.term != current.term:
            self._end_round(None)
        elif current.confirmed:
            self._end_round(Confirmation(current.term, current.commit_index))
        elif self._monotonic_ns() - self._probed_ns >= self._settings.heartbeat_ms * _NS_PER_MS:
            self._probe(current, transport)  # to those whose connection was, or still is, broken

    def _end_round(self, confirmation: Confirmation | None) -> None:
        self._round = None
        self._replies.append(Confirmed(confirmation))

    # --- transfer of leadership -------------------------------------------------------------------------------------

    def _advance_transfer(self, consensus: Consensus) -> None:
        transfer, now_ns = self._transfer, self._monotonic_ns()
        if transfer is None:
            return
        if consensus.term > transfer.term and consensus.leader is not None:
            self._end_transfer(done=consensus.leader != self._node_id)
        elif now_ns >= transfer.deadline_ns:
            self._end_transfer(done=False)
        elif (
            consensus.role is Role.LEADER
            and consensus.term == transfer.term
            and now_ns >= transfer.ask_ns
            and consensus.send_timeout_now(transfer.to)  # denied until the target has the whole log
        ):
            # Asked again, for whoever was just made a voter stands only once it has heard of that; who stands already
            # is of a later term, and takes no notice.
            transfer.ask_ns = now_ns + self._settings.heartbeat_ms * _NS_PER_MS

    def _end_transfer(self, *, done: bool) -> None:
        self._transfer = None
        self._replies.append(Transferred(done))


def _present_leader(consensus: Consensus, transport: GuardedTransport) -> str | None:
    """The leader, as far as there is one: pysyncobj keeps its name until the next term, which needs a majority."""
    leader = consensus.leader
    return leader if leader is None or consensus.role is Role.LEADER or transport.hears(leader) else None
