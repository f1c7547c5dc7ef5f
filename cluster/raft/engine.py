"""The Raft thread's side of a replica.

Duty: open the log, turn it over and over, take requests from the main loop, and hand back what changed, once in every
turn and in order: entries, then status, then replies.

Invariants: a proposal is appended only while this node leads the term it was meant for, and otherwise dropped, so that
none is ever forwarded or appended under a later term. Whatever is raised ends the thread: nothing is caught here, and
nothing is tried again.

Threads: `submit` and `release` are for the main loop; all else, the `hand_over` callback included, is the Raft thread.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.confirm import EchoRound
from garbagetruck.cluster.raft.journal import Journal
from garbagetruck.cluster.raft.log import Confirmation, Entry, LogStatus, Role
from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.seams import Consensus, WakeUp
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.transport import GuardedTransport

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


Request = Propose | Confirm | Transfer
Reply = Confirmed | Transferred


@dataclass(frozen=True, slots=True)
class HandOff:
    """What changed, to be taken in the order of the fields. `applied_index` is as of the last of `entries`."""

    entries: Sequence[Entry]
    applied_index: int
    status: LogStatus | None
    replies: Sequence[Reply]


@dataclass(slots=True)
class _PendingTransfer:
    to: str | None
    term: int
    deadline_ns: int
    asked: bool = False


class Engine:
    """One node's log. `open`, then `turn` for as long as it shall live, then `close`; at last `release`."""

    def __init__(
        self,
        *,
        identity: Identity,
        members: Mapping[str, Member],
        folder: Path,
        settings: RaftSettings,
        monotonic_ns: Callable[[], int],
        hand_over: Callable[[HandOff], None],
    ) -> None:
        self._identity = identity
        self._members = members
        self._peer_ids = frozenset(members) - {identity.node_id}
        self._folder = folder
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._hand_over = hand_over
        self._requests: deque[Request] = deque()
        self._replies: list[Reply] = []
        self._status: LogStatus | None = None
        self._round: EchoRound | None = None
        self._probed_ns = 0
        self._transfer: _PendingTransfer | None = None
        self._turned_ns = 0
        self.dropped_proposals = 0
        """Proposals that were not appended; written by both threads, so only nearly exact."""
        self._journal: Journal | None = None
        self._transport: GuardedTransport | None = None
        self._consensus: Consensus | None = None
        self._wake_up: WakeUp | None = None

    # --- the main loop ----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Enqueue for the next turn. Past `proposals_waiting_max` requests a proposal is dropped."""
        if isinstance(request, Propose) and len(self._requests) >= self._settings.proposals_waiting_max:
            self.dropped_proposals += 1
            return
        self._requests.append(request)
        self.wake()

    def wake(self) -> None:
        """End the current turn's sleep."""
        if self._wake_up is not None:
            self._wake_up.set()

    def release(self) -> None:
        """Close what both threads used. To be called when the Raft thread has ended."""
        if self._wake_up is not None:
            self._wake_up.close()
            self._wake_up = None

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often the transport refused what, by reason."""
        return {} if self._transport is None else dict(self._transport.counts)

    @property
    def journal_bytes(self) -> int:
        """The size of the log; 0 before `open`."""
        return 0 if self._journal is None else self._journal.size_bytes

    # --- the Raft thread --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Read the log and listen. Raises JournalDamaged and OSError; `close` is due all the same."""
        self._folder.mkdir(parents=True, exist_ok=True)
        disks = PeerDisks(self._folder / "peers.json")
        disks.load()
        self._journal = Journal(self._folder / "journal")
        self._consensus = Consensus(
            node_id=self._identity.node_id,
            peer_ids=self._peer_ids,
            settings=self._settings,
            journal=self._journal,
            make_transport=lambda consensus: self._make_transport(consensus, disks),
            between=self._between,
        )
        self._wake_up = WakeUp(self._consensus.poller)
        self._turned_ns = self._monotonic_ns()

    def _make_transport(self, consensus: Consensus, disks: PeerDisks) -> GuardedTransport:
        self._transport = GuardedTransport(
            consensus,
            identity=self._identity,
            members=self._members,
            settings=self._settings,
            disks=disks,
            monotonic_ns=self._monotonic_ns,
            on_echo=self._on_echo,
        )
        return self._transport

    def turn(self) -> None:
        """One tick of pysyncobj; sleeps at most `tick_ms`."""
        assert self._consensus is not None
        now_ns = self._monotonic_ns()
        if now_ns - self._turned_ns > self._settings.heartbeat_ms * 1_000_000:
            # This thread was held up, and pysyncobj looks at its election deadline before it looks at its sockets.
            self._consensus.hear()
        self._turned_ns = now_ns
        self._consensus.doTick(self._settings.tick_ms / 1_000)

    def close(self) -> None:
        """Leave the network and the disk, as far as `open` came."""
        if self._consensus is not None:
            self._consensus.destroy()
            return
        if self._transport is not None:
            self._transport.destroy()
        if self._journal is not None:
            self._journal.close()

    def _between(self) -> None:
        consensus, transport = self._consensus, self._transport
        assert consensus is not None
        assert transport is not None
        self._hand_over_changes(consensus, transport)
        while self._requests:
            self._take(self._requests.popleft(), consensus, transport)
        self._advance_round(consensus, transport)
        self._advance_transfer(consensus)
        if self._replies:
            self._hand_over_changes(consensus, transport)

    def _hand_over_changes(self, consensus: Consensus, transport: GuardedTransport) -> None:
        entries, consensus.applied = consensus.applied, []
        status = self._changed_status(consensus, transport)
        if not entries and status is None and not self._replies:
            return
        while len(entries) > HAND_OVER_ENTRIES_MAX:
            head, entries = entries[:HAND_OVER_ENTRIES_MAX], entries[HAND_OVER_ENTRIES_MAX:]
            self._hand_over(HandOff(head, head[-1].index, None, ()))
        replies, self._replies = self._replies, []
        self._hand_over(HandOff(entries, consensus.applied_index, status, replies))

    def _changed_status(self, consensus: Consensus, transport: GuardedTransport) -> LogStatus | None:
        former = self._status
        if (
            former is not None
            and former.commit_index == consensus.commit_index
            and former.applied_index == consensus.applied_index
            and former.role is consensus.role
            and former.term == consensus.term
            and former.leader == consensus.leader
            and former.connected == transport.connected
        ):
            return None
        self._status = LogStatus(
            role=consensus.role,
            term=consensus.term,
            leader=consensus.leader,
            commit_index=consensus.commit_index,
            applied_index=consensus.applied_index,
            last_index=consensus.journal.last_index,
            connected=transport.connected,
        )
        return self._status

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
                    peers=self._peer_ids,
                )
                if consensus.role is Role.LEADER:
                    self._probe(self._round, transport)
            case Transfer(to):
                reachable = bool(transport.connected) if to is None else to in transport.connected
                if consensus.role is not Role.LEADER or not reachable:
                    self._replies.append(Transferred(done=False))
                    return
                deadline_ns = self._monotonic_ns() + self._settings.transfer_ms_max * 1_000_000
                self._transfer = _PendingTransfer(to, consensus.term, deadline_ns)

    # --- rounds of confirmation -------------------------------------------------------------------------------------

    def _probe(self, echo_round: EchoRound, transport: GuardedTransport) -> None:
        self._probed_ns = self._monotonic_ns()
        for node_id in sorted(echo_round.silent):
            transport.probe(node_id, wire.Probe(echo_round.term, echo_round.sequence))

    def _on_echo(self, node_id: str, echo: wire.Echo) -> None:
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
        elif self._monotonic_ns() - self._probed_ns >= self._settings.heartbeat_ms * 1_000_000:
            self._probe(current, transport)  # to those whose connection was, or still is, broken

    def _end_round(self, confirmation: Confirmation | None) -> None:
        self._round = None
        self._replies.append(Confirmed(confirmation))

    # --- transfer of leadership -------------------------------------------------------------------------------------

    def _advance_transfer(self, consensus: Consensus) -> None:
        transfer = self._transfer
        if transfer is None:
            return
        if consensus.term > transfer.term and consensus.leader is not None:
            self._end_transfer(done=consensus.leader != self._identity.node_id)
        elif self._monotonic_ns() >= transfer.deadline_ns:
            self._end_transfer(done=False)
        elif consensus.role is Role.LEADER and consensus.term == transfer.term and not transfer.asked:
            # Denied until the target has the whole log.
            transfer.asked = consensus.send_timeout_now(transfer.to)

    def _end_transfer(self, *, done: bool) -> None:
        self._transfer = None
        self._replies.append(Transferred(done))
