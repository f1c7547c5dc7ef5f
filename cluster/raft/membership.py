"""Who belongs to the log of one replica: who votes, who is talked to, and with which disks.

Duty: keep those three together: the voters, who change when an entry of the log says so; the members, who change when the
main loop says so; the disks, which are learnt, and forgotten when a name is free again.

Threads: the Raft thread only, but for `members`.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from garbagetruck.cluster.raft.handshake import Door
from garbagetruck.cluster.raft.origin import Origin
from garbagetruck.cluster.raft.peering import Peering
from garbagetruck.cluster.raft.peers import PeerDisks, VoterDisks
from garbagetruck.cluster.raft.settings import Identity, Member
from garbagetruck.cluster.raft.storage import Storage
from garbagetruck.cluster.raft.voter_change import VoterChange
from garbagetruck.cluster.raft.voters import Voters, founders_of

_log = structlog.get_logger(__name__)


class Membership:
    """`open` it before the log. `founders` begin a log where there is none; None for a node that joins one. `entry_format` is
    the newest format of entries that this node reads.
    """

    def __init__(
        self, identity: Identity, members: Sequence[Member], founders: Sequence[str] | None, entry_format: int
    ) -> None:
        self._entry_format = entry_format
        self._identity = identity
        self._founders = founders
        self._met: PeerDisks | None = None
        self.origin = Origin(identity)
        self._recorded: Mapping[str, str] = {}
        """Of the members that are followed, the disks that the cluster's records know them by."""
        self.members = members
        """All to talk to, this node included. Any thread may put others in their place, and has `follow` called."""
        self.voters = Voters(identity.node_id, identity.disk_id)
        self.look_again: Callable[[], None] = lambda: None
        """Has the sessions ask the door again: other disks may count now."""
        self.leaders_origin: Callable[[], str] = lambda: ""
        """Which log the present leader said that it has, in its greeting."""

    def open(self, storage: Storage) -> None:
        """Read what the folder says of it, and begin with that. Raises StorageRefused, FoundedTwice, DiskFailed, OSError."""
        self._met = storage.open_folder()
        told = [member.node_id for member in self.members]
        founding = storage.found(self._identity.node_id, told, self._founders)
        self.origin.open(storage, founding)
        self.voters.begin(founders_of(founding.voters), is_founder=founding.is_founder)

    @property
    def met(self) -> PeerDisks:
        assert self._met is not None, "the folder was not opened"
        return self._met

    def door(self, peer_ids: frozenset[str]) -> Door:
        """Who is let in, with which disk."""
        disks = VoterDisks(self.voters, self.met, lambda node_id: self._recorded.get(node_id, ""))
        format_, origin = self._entry_format, self.origin
        return Door(self._identity, peer_ids, disks, entry_format=format_, voters=self.voters, origin=origin)

    def disk_of(self, node_id: str) -> str:
        """The disk that a node was met with; empty for one that was not."""
        own = self._identity
        return own.disk_id if node_id == own.node_id else self.met.load().get(node_id, "")

    def was_removed(self, node_id: str, disk_id: str) -> bool:
        """Whether that disk was a voter's that was removed."""
        return self.met.was_removed(node_id, disk_id)

    def follow(self, peering: Peering) -> None:
        """Talk to `members` from now on. Whose name is free now may come back with another disk."""
        members = self.members
        self._recorded = {each.node_id: each.disk_id for each in members if each.disk_id}
        peering.set_members(members)
        self.look_again()
        known = {*(each.node_id for each in members), *self.voters.ids}
        for node_id in self.met.load().keys() - known:
            self.met.forget(node_id)

    def on_change(self, index: int, change: VoterChange) -> None:
        """A change of the voters was applied, or a seal."""
        former = self.voters.ids
        self.voters.apply(index, change)
        if change.kind == "remove":
            self.met.dismiss(change.node_id, change.disk_id)
        self.look_again()
        if self.voters.ids == former:
            return
        _log.info(
            "raft_voters_changed",
            node=self._identity.node_id,
            index=index,
            change=change.kind,
            voter=change.node_id,
            voters=sorted(self.voters.ids),
        )

    def on_snapshot(self, index: int, disks: Mapping[str, str] | None) -> None:
        """The log goes on from a snapshot of another node, with these voters, if it says."""
        former = self.voters.disks
        self.origin.on_snapshot(self.leaders_origin())
        self.voters.go_on(index, disks)
        for node_id in former.keys() - self.voters.ids:
            self.met.dismiss(node_id, former[node_id])
        self.look_again()
