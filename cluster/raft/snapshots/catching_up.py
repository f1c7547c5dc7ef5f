"""What leader and follower say to each other about a snapshot, and what becomes of it in the follower's log.

Duty: as leader, take a peer that is too far behind out of pysyncobj's hands until it has a snapshot. As follower, get one,
and have journal, pysyncobj and machine go on from it, in that order (hazards 7 and 18).

Invariants:

- A snapshot is installed only when it is durable, and only if it goes beyond what this node has applied.
- It is acknowledged after that, and no further than it goes: what this node's log has behind it may be another leader's.
- While a peer gets one, its answers count as answers: a leader that a majority answers stays one.

Threads: the Raft thread only.
"""

from collections.abc import Callable
from typing import Protocol

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader, last_entries
from garbagetruck.cluster.raft.snapshots.port import Beginning, Restored
from garbagetruck.cluster.raft.snapshots.receiving import Receiver
from garbagetruck.cluster.raft.snapshots.sending import Sender
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore


class Speaker(Protocol):
    """The transport, as far as it is needed here."""

    def say(self, node_id: str, message: wire.Message) -> None: ...

    def vow(self, node_id: str, message: wire.NextIndex | wire.SnapshotWanted | wire.SnapshotUnfit) -> None:
        """`say` it once the term is durable, if it still is this one."""

    def follow(self, node_id: str, term: int) -> None:
        """Take `node_id` for the leader of `term`."""

    def heard(self, node_id: str) -> None:
        """A leader was heard."""

    def deliver(self, node_id: str, message: wire.RaftMessage) -> None: ...

    def withdraw(self, node_id: str) -> None: ...

    def announce_again(self, node_id: str) -> None:
        """Let pysyncobj send to a peer that was withdrawn, if it is still there."""

    def install_verified(self, leader_id: str, header: SnapshotHeader) -> None:
        """Have pysyncobj go on from a snapshot, and acknowledge that much."""


class CatchingUp:
    """`on_restored` is called when the log goes on from a snapshot, before anything that comes after it is applied."""

    def __init__(
        self,
        *,
        consensus: Consensus,
        speaker: Speaker,
        journal: Journal,
        store: SnapshotStore,
        sender: Sender,
        refusals: Refusals,
        on_restored: Callable[[Restored], None],
        on_unfit: Callable[[], None],
    ) -> None:
        self._consensus = consensus
        self._speaker = speaker
        self._journal = journal
        self._store = store
        self._sender = sender
        self._refusals = refusals
        self._on_restored = on_restored
        self._on_unfit = on_unfit
        self._receiver: Receiver | None = None
        self._ready: Beginning | None = None

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def on_ready(self, beginning: Beginning) -> None:
        """A snapshot that was received is durable."""
        self._ready = beginning
        self._install()

    # --- the leader -------------------------------------------------------------------------------------------------

    def begin(self, peer_id: str) -> None:
        """The log has not got any more what a peer needs."""
        assert self._store.newest is not None, "the log's beginning is gone, and no snapshot is there"
        self._speaker.withdraw(peer_id)
        self._sender.begin(peer_id)

    def acknowledged(self, peer_id: str, message: wire.NextIndex) -> bool:
        """A peer acknowledged entries; whether it has its snapshot with them."""
        index = self._sender.index_for(peer_id)
        if index is None or not message.success or message.next_index <= index:
            return False
        self._sender.stop(peer_id)
        self._speaker.announce_again(peer_id)
        return True

    def ended(self, peer_id: str) -> None:
        """The connection to a peer is gone."""
        self._sender.stop(peer_id)

    def turn(self) -> None:
        """To be called before every tick."""
        if self._consensus.role is Role.LEADER:
            self._sender.turn(self._consensus.term)
        else:
            for peer_id in sorted(self._sender.peers):
                self._sender.stop(peer_id)
                self._speaker.announce_again(peer_id)
        self._install()

    # --- messages ---------------------------------------------------------------------------------------------------

    def on_message(self, peer_id: str, message: wire.SnapshotMessage) -> None:
        match message:
            case wire.SnapshotOffer() | wire.SnapshotChunk():
                self._on_leaders(peer_id, message)
            case wire.SnapshotWanted() | wire.SnapshotUnfit():
                self._on_followers(peer_id, message)

    def _on_leaders(self, peer_id: str, message: wire.SnapshotOffer | wire.SnapshotChunk) -> None:
        consensus, speaker = self._consensus, self._speaker
        if message.term < consensus.term:
            speaker.say(peer_id, wire.TermNotice(consensus.term))
            return
        speaker.follow(peer_id, message.term)
        speaker.heard(peer_id)
        receiver = self._receiver
        assert receiver is not None
        if isinstance(message, wire.SnapshotChunk):
            receiver.take(peer_id, message, lambda offset: self._want(peer_id, message.snapshot_id, offset))
        elif message.index <= consensus.applied_index:
            # What was applied is the leader's, too: so it may go on behind that.
            speaker.vow(peer_id, wire.NextIndex(message.term, consensus.applied_index + 1, True, True))
        elif (reason := receiver.unfit.get(message.snapshot_id)) is not None:
            speaker.vow(peer_id, wire.SnapshotUnfit(message.term, message.snapshot_id, reason))
        else:
            offset = None if self._ready is not None else receiver.offered(message)
            self._want(peer_id, message.snapshot_id, message.size_bytes if offset is None else offset)

    def _want(self, peer_id: str, snapshot_id: str, offset: int) -> None:
        self._speaker.vow(peer_id, wire.SnapshotWanted(self._consensus.term, snapshot_id, offset))

    def _on_followers(self, peer_id: str, message: wire.SnapshotWanted | wire.SnapshotUnfit) -> None:
        consensus = self._consensus
        if message.term != consensus.term or consensus.role is not Role.LEADER:
            self._refusals.counts["answer of another term"] += 1  # no news after an election
            return
        self._speaker.deliver(peer_id, wire.NextIndex(message.term, 0, False, False))  # it is there, and follows
        if isinstance(message, wire.SnapshotWanted):
            self._sender.wanted(peer_id, message, consensus.term)
        else:
            self._refusals.refuse("snapshot found damaged", peer_id, why=message.reason)
            if self._sender.unfit(peer_id, message.snapshot_id):
                self._on_unfit()

    # --- the follower's log -----------------------------------------------------------------------------------------

    def _install(self) -> None:
        """Go on from the snapshot that is ready, as soon as there is a leader to tell of it."""
        beginning, consensus = self._ready, self._consensus
        if beginning is None:
            return
        header = beginning.header
        if header.index <= consensus.applied_index:
            self._ready = None  # it came by another way; the snapshot is one like those taken here
            return
        leader = consensus.leader
        if leader is None or consensus.role is not Role.FOLLOWER:
            return
        self._ready = None
        self._journal.align(*last_entries(header), keep_from=self._store.keep_from)
        self._on_restored(beginning.restored)
        self._speaker.install_verified(leader, header)
