"""What stands between pysyncobj and the other nodes: it hears and says only what is right.

Duty: pass messages between pysyncobj and sessions, and see to it that

- entries are neither repeated by a leader nor cut from a follower (`guard`);
- acknowledgements count in their own term only: pysyncobj's carry no term;
- nothing that this node could still forget is said (`durability`): acknowledgements, votes and requests for votes wait
  for the disk, and a leader is acknowledged nothing that it does not hold durably itself;
- a leader tells nobody that a change of the voters is committed before its own disk has that (`guard.withheld`);
- nobody is voted for while a leader is heard (`election`), and nobody's vote counts twice (`ballot`);
- a leader of a former term is told so: pysyncobj leaves it without an answer;
- no command is forwarded after leadership was lost, nor taken from another node;
- a peer that needs what the log has no more, or has in name only, gets a snapshot (`snapshots`), and no entries meanwhile;
- a peer that does not keep up is sent no entries until it has read what it was sent, and Raft repeats them then.

Threads: the Raft thread only.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.ballot import Ballot
from garbagetruck.cluster.raft.durability import Durability
from garbagetruck.cluster.raft.election import Election, Standing
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.guard import Fitted, LogView, begins_hollow, fit, in_parts, withheld
from garbagetruck.cluster.raft.journal.replay import LogTuple
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus, StockTransport
from garbagetruck.cluster.raft.sessions import Session, Sessions
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.cluster.raft.snapshots.catching_up import CatchingUp
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader, last_entries

ENTRIES_MAX = 4_096
"""In one message; more are sent as several, so that none outgrows a frame."""

_OF_ITSELF = (
    wire.NextIndex,
    wire.Vote,
    wire.PreVoteAnswer,
    wire.Echo,
    wire.SnapshotWanted,
    wire.SnapshotUnfit,
)
"""What a peer says as one that votes, or has something: what is counted."""

Vow = wire.NextIndex | wire.Vote | wire.RequestVote | wire.SnapshotWanted | wire.SnapshotUnfit
"""What rests on the term, or on the vote."""


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transport is built among. `on_echo` is called with (peer id, echo) for every echo to a probe, and `on_news`
    whenever pysyncobj may have something to do.
    """

    settings: RaftSettings
    election: Election
    durability: Durability
    log_view: LogView
    refusals: Refusals
    on_echo: Callable[[str, wire.Echo], None]
    on_news: Callable[[], None]


class GuardedTransport(StockTransport):
    """The transport of one node. `attach` gives it its sessions, before the first tick."""

    def __init__(self, consensus: Consensus, around: Surroundings) -> None:
        super().__init__(consensus)
        self._around = around
        self._settings = around.settings
        self._election = around.election
        self._durability = around.durability
        self._refusals = around.refusals
        self._sessions: Sessions | None = None
        self._catching_up: CatchingUp | None = None
        self._fitted: Fitted | None = None
        self._awaiting_disk: set[str] = set()
        """Peers that will be answered when the disk has come far enough."""
        self._paused: set[str] = set()
        """Peers that pysyncobj was told it cannot send to, until they have read what they were sent."""
        self._ballot = Ballot(
            consensus=consensus,
            election=around.election,
            refusals=around.refusals,
            standing=lambda: self.standing,
            say=self.say,
            deliver=self.deliver,
        )

    def attach(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def attach_snapshots(self, catching_up: CatchingUp) -> None:
        self._catching_up = catching_up

    @property
    def connected(self) -> frozenset[str]:
        """Peers with a session."""
        return frozenset() if self._sessions is None else self._sessions.connected

    @property
    def standing(self) -> Standing:
        """What this node is at the moment to an election."""
        return dataclasses.replace(self._consensus.standing, vowed=self._durability.vows_durable)

    def disk_of(self, node_id: str) -> str:
        """The disk that a connected peer came with; empty for others."""
        session = self._session(node_id)
        return "" if session is None or session.hello is None else session.hello.disk_id

    def format_of(self, node_id: str) -> int:
        """The newest format of entries that a connected peer reads; 0 for others."""
        session = self._session(node_id)
        return 0 if session is None or session.hello is None else session.hello.format

    # --- what pysyncobj says ----------------------------------------------------------------------------------------

    def send_to(self, node_id: str, message: wire.RaftMessage) -> bool:  # type: ignore[explicit-override]  # 3.12 has it
        session = self._session(node_id)
        if session is None:
            return False
        match message:
            case wire.AppendEntries():
                if begins_hollow(message):
                    self.snapshot_due(node_id)
                    return False
                self._send_entries(session, session.carriage.strip(self._withheld(message)))
            case wire.NextIndex():
                self._acknowledge(node_id, message if self._fitted is None else self._fitted.bound(message))
            case wire.RequestVote():
                self.vow(node_id, replace(message, transfer=self._election.is_transfer(message.term)))
            case wire.Vote():
                self._election.voted()
                self.vow(node_id, message)
            case wire.TimeoutNow():
                self.say(node_id, message)
        return self._session(node_id) is session

    def snapshot_due(self, node_id: str) -> None:  # type: ignore[explicit-override]
        assert self._catching_up is not None, "the log's beginning is gone, and nothing sends snapshots"
        self._catching_up.begin(node_id)

    def _session(self, node_id: str) -> Session | None:
        return None if self._sessions is None else self._sessions.get(node_id)

    def say(self, node_id: str, message: wire.Message) -> None:
        session = self._session(node_id)
        if session is not None and self._sessions is not None:
            self._sessions.send(session, message)

    def _withheld(self, message: wire.AppendEntries) -> wire.AppendEntries:
        consensus = self._consensus
        pending = consensus.journal.changes_after(consensus.voters.index)
        if not pending and self._durability.metadata_durable:
            return message
        return withheld(message, pending[0][0] if pending else consensus.voters.index)

    def _send_entries(self, session: Session, message: wire.AppendEntries) -> None:
        assert session.peer_id is not None
        peer_id = session.peer_id
        for part in in_parts(message, ENTRIES_MAX):
            self.say(peer_id, part)
        if self._session(peer_id) is session and session.link.waiting_bytes > self._settings.outgoing_bytes_max // 2:
            self._paused.add(peer_id)
            self.withdraw(peer_id)

    def resume(self) -> None:
        """Let pysyncobj send again to those who have read what they were sent. To be called before every tick."""
        if self._catching_up is not None:
            self._catching_up.turn()
        for peer_id in [*self._paused]:
            session = self._session(peer_id)
            if session is None:
                self._paused.discard(peer_id)
            elif session.link.waiting_bytes <= self._settings.outgoing_bytes_max // 4:
                self._paused.discard(peer_id)
                self.announce(peer_id)

    def _acknowledge(self, node_id: str, message: wire.NextIndex) -> None:
        """When the disk has come that far. As far as it has come at once, only if the last answer still waits for it: then
        the disk is slow, and the leader must not believe that nobody is here.
        """
        if not message.success:
            self.vow(node_id, message)
            return
        durable = self._durability
        if durable.vows_durable:
            bounded = replace(message, next_index=min(message.next_index, durable.durable_index + 1))
            if bounded == message or node_id in self._awaiting_disk:
                self.say(node_id, bounded)
            if bounded == message:
                return
        self._awaiting_disk.add(node_id)
        durable.when_durable(partial(self._acknowledge_rest, node_id, message))

    def _acknowledge_rest(self, node_id: str, message: wire.NextIndex) -> None:
        consensus = self._consensus
        self._awaiting_disk.discard(node_id)
        if message.term == consensus.term and consensus.leader == node_id:
            next_index = min(message.next_index, self._durability.durable_index + 1)
            self.say(node_id, replace(message, next_index=next_index))

    def vow(self, node_id: str, message: Vow) -> None:
        """Say what rests on the term and the vote, once they are durable."""
        if self._durability.vows_durable:
            self.say(node_id, message)
        else:
            self._durability.when_durable(partial(self._vow_late, node_id, message))

    def _vow_late(self, node_id: str, message: Vow) -> None:
        if message.term == self._consensus.term and self._durability.vows_durable:
            self.say(node_id, message)

    # --- who leads --------------------------------------------------------------------------------------------------

    def hears(self, leader: str) -> bool:
        """Whether this leader was heard within the longest election timeout."""
        return self._election.hears(leader)

    # --- what snapshots need ----------------------------------------------------------------------------------------

    def heard(self, node_id: str) -> None:
        self._election.heard(node_id)

    def announce_again(self, node_id: str) -> None:
        if node_id in self.connected and node_id not in self._paused:
            self.announce(node_id)

    def install_verified(self, leader_id: str, header: SnapshotHeader) -> None:
        """Have pysyncobj go on from a snapshot, and acknowledge that much and no more."""
        self._consensus.on_snapshot(header.index, header.voters)
        self._install_up_to(leader_id, *last_entries(header))

    def _install_up_to(self, leader_id: str, previous: LogTuple, last: LogTuple) -> None:
        self._fitted = Fitted(wire.AppendEntries(self._consensus.term, last[1], 0, 0, []), last[1])
        try:
            self.install(leader_id, previous, last)
        finally:
            self._fitted = None

    # --- what the engine says ---------------------------------------------------------------------------------------

    def probe(self, node_id: str, probe: wire.Probe) -> None:
        """Ask a peer whether it still follows; it is not sent when there is no connection."""
        self.say(node_id, probe)

    def ask_all(self, message: wire.PreVote) -> None:
        """Begin a round of asking the voters."""
        for peer_id in sorted(self.connected & self._consensus.voters.others):
            self.say(peer_id, message)

    def settle(self) -> None:
        """Have pysyncobj count those who vote, where it began with others (`Consensus.is_settled`): until then this node
        does not stand for election.
        """
        consensus = self._consensus
        leader = consensus.leader
        if consensus.unsettled and leader is not None and consensus.role is Role.FOLLOWER:
            index = consensus.applied_index
            previous, last = consensus.journal.entry_at(index - 1), consensus.journal.entry_at(index)
            self._install_up_to(leader, previous, last)

    # --- sessions ---------------------------------------------------------------------------------------------------

    def on_session(self, session: Session) -> None:
        assert session.peer_id is not None
        self._paused.discard(session.peer_id)
        if session.counts:
            self.announce(session.peer_id)
        self._around.on_news()

    def on_session_ended(self, session: Session) -> None:
        assert session.peer_id is not None
        self._paused.discard(session.peer_id)
        self.withdraw(session.peer_id)
        self._election.disconnected(session.peer_id)
        if self._catching_up is not None:
            self._catching_up.ended(session.peer_id)
        self._around.on_news()

    def on_session_message(self, session: Session, message: Frame) -> None:
        peer_id = session.peer_id
        assert peer_id is not None
        consensus = self._consensus
        if not session.counts and isinstance(message, _OF_ITSELF):
            self._refusals.counts["word of a disk that does not count yet"] += 1  # no news while a change is on its way
            return
        match message:
            case wire.AppendEntries():
                self._on_append_entries(peer_id, message)
            case wire.NextIndex():
                self._on_next_index(peer_id, session, message)
            case wire.TermNotice():
                if message.term > consensus.term:
                    consensus.learn_term(message.term)
            case wire.Probe():
                if message.term == consensus.term and consensus.leader == peer_id:
                    self.say(peer_id, wire.Echo(message.term, message.sequence, consensus.journal.is_space_low))
            case wire.SnapshotOffer() | wire.SnapshotWanted() | wire.SnapshotChunk() | wire.SnapshotUnfit():
                if self._catching_up is not None:
                    self._catching_up.on_message(peer_id, message)
            case wire.Echo():
                self._around.on_echo(peer_id, message)
            case _:
                self._ballot.hear(peer_id, message)
        self._around.on_news()

    def _on_append_entries(self, peer_id: str, message: wire.AppendEntries) -> None:
        term = self._consensus.term
        if message.term < term:
            self.say(peer_id, wire.TermNotice(term))
            return
        self._fitted = fit(message, self._around.log_view)
        try:
            self.deliver(peer_id, self._fitted.message)
        finally:
            self._fitted = None
        self._election.heard(peer_id)

    def _on_next_index(self, peer_id: str, session: Session, message: wire.NextIndex) -> None:
        if message.term != self._consensus.term:
            self._refusals.counts["acknowledgement of another term"] += 1  # no news after an election
            return
        if message.reset:
            session.carriage.forget()
        if not message.success:
            self.deliver(peer_id, message)
            return
        bounded = replace(message, next_index=min(message.next_index, self._durability.durable_index + 1))
        self.deliver(peer_id, bounded)
        if self._catching_up is not None and self._catching_up.acknowledged(peer_id, message):
            session.carriage.forget()
        if bounded != message:
            self._durability.when_durable(partial(self._count_rest, peer_id, message))

    def _count_rest(self, peer_id: str, message: wire.NextIndex) -> None:
        """Count a follower's acknowledgement further, now that this node's own disk is further."""
        consensus = self._consensus
        if message.term == consensus.term and consensus.role is Role.LEADER:
            next_index = min(message.next_index, self._durability.durable_index + 1)
            self.deliver(peer_id, replace(message, next_index=next_index))
            self._around.on_news()
