"""Who votes: the configuration that this node has applied, and those that came before it.

Duty: the one place that says who counts. It takes effect when its entry is applied, on every node alike, as in
etcd/raft: never a constant, never what a configuration file says.

Invariants: a voter is a name and a disk. A node that bears a voter's name on another disk is none: it would not know what
the former one promised. Who learns that its own removal was applied stays removed.

Pure. Threads: the Raft thread only.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from garbagetruck.cluster.raft.voter_change import VoterChange


class Voters:
    """The voters as one node knows them. `begin` comes first.

    A founder whose disk no configuration names yet is that founder: `is_founder` says that this node is one.
    """

    def __init__(self, node_id: str, disk_id: str) -> None:
        self._node_id = node_id
        self._disk_id = disk_id
        self._is_founder = False
        self._history: list[tuple[int, Mapping[str, str]]] = [(0, {})]
        """(the first index at which it is so, disks), ascending; the last one counts."""
        self._founding: Mapping[str, str] | None = None
        """The very object in the history that nobody has changed yet."""
        self.is_certain = False
        """Whether the log itself, a snapshot or the founding says so. A node that joins was only told, by people."""
        self.removed = False
        """Whether this node's own removal was applied."""
        self.ids: frozenset[str] = frozenset()
        """All voters."""
        self.others: frozenset[str] = frozenset()
        """All but this node."""
        self.votes = False
        """Whether this node is one."""
        self.voting_since = 0
        """The index of the entry, or of the snapshot, by which this node was found to vote; 0 for a founder that always did."""

    def begin(self, disks: Mapping[str, str], *, is_founder: bool) -> None:
        """Before the first entry: the founders, or what a node that joins was told."""
        self._is_founder = is_founder
        self.is_certain = is_founder
        self._history = []
        self._count(0, disks)
        self._founding = self._history[0][1]

    def go_on(self, index: int, disks: Mapping[str, str] | None) -> None:
        """From a snapshot of the state behind `index`. One that names no voters is from before the first change."""
        voted = self.votes
        self.is_certain = self.is_certain or disks is not None
        from_founding = disks is None
        if disks is None:
            disks = self._history[0][1]
        self._history = []
        self._count(index, disks)
        self._founding = self._history[0][1] if from_founding else None
        self.removed = self.removed or ((voted or self._is_founder) and not self.votes)

    def apply(self, index: int, change: VoterChange) -> None:
        """The entry at `index` was applied."""
        voted = self.votes
        self.is_certain = True
        self._count(index, change.voters)
        self.removed = self.removed or (voted and not self.votes)

    def _count(self, index: int, disks: Mapping[str, str]) -> None:
        assert not self._history or index > self._history[-1][0], "a configuration is older than its predecessor"
        self._history.append((index, dict(disks)))
        own_disk, voted = disks.get(self._node_id), self.votes
        self.votes = own_disk == self._disk_id or (own_disk == "" and self._is_founder)
        if self.votes is not voted:
            self.voting_since = index if self.votes else 0
        self.ids = frozenset(disks)
        self.others = self.ids - {self._node_id}

    @property
    def index(self) -> int:
        """Of the entry, or the snapshot, that the present configuration is from."""
        return self._history[-1][0]

    @property
    def disks(self) -> Mapping[str, str]:
        """The present configuration."""
        return self._history[-1][1]

    @property
    def is_alone(self) -> bool:
        """Whether this node is the only voter: what its own disk has is committed."""
        return self.votes and not self.others

    def at(self, index: int) -> Mapping[str, str]:
        """The configuration behind the entry at `index`, which is not before the last `forget_before`."""
        return next(disks for since, disks in reversed(self._history) if since <= index)

    def to_store(self, index: int) -> dict[str, str] | None:
        """What a snapshot of the state behind `index` is to say; None when nothing has changed since the founding.

        So a cluster whose voters never changed writes what versions read that know no changes.
        """
        disks = self.at(index)
        return None if disks is self._founding else dict(disks)

    def forget_before(self, index: int) -> None:
        """Nobody will ask for what was so before `index`."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]

    def is_majority(self, others: AbstractSet[str]) -> bool:
        """Whether this node and those of `others` that vote are one. Never, if this node does not vote."""
        return self.votes and (len(self.others & others) + 1) * 2 > len(self.others) + 1


def founders_of(node_ids: Iterable[str]) -> dict[str, str]:
    """The first configuration: nobody's disk is known."""
    return dict.fromkeys(node_ids, "")
