"""Who may take part: the greeting of a node, and why one is refused.

Duty: compare what a greeting says with who this node is, whom it knows, and what the greeter's certificate says. Both
sides of a connection do.

Must not know: connections.
"""

from typing import Protocol

from garbagetruck.cluster.raft.origin import Origin
from garbagetruck.cluster.raft.settings import Identity
from garbagetruck.cluster.raft.tls import PeerNames
from garbagetruck.cluster.raft.voters import Voters
from garbagetruck.cluster.raft.wire import FORMAT, PROTOCOL, Hello

NO_LONGER = "no longer a member"
"""Why a node that was removed is refused. It is told by its name: there are only so many that were members once."""
JOINED_AS_ANOTHER = "joined under the name of another disk"
"""Why a node with an empty folder is refused that bears a voter's name."""
FOUNDED_ANEW = "bootstrapped in the place of another disk"
"""Why a founder is refused that this node, which has a log, knows by another disk. Whoever is told so ends (`Origin.refute`)."""
FOUNDED_APART = "founded apart: this is another log of the same cluster"
"""Why a node is refused that has the log of another founding. Which of the two counts, people have to say."""


class Disks(Protocol):
    """Which disk each peer has."""

    def is_known_or_new(self, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        """Whether `node_id` has `disk_id`, or may have it because it was never met. `is_founder`: so it says itself."""

    def has_another(self, node_id: str, disk_id: str) -> bool:
        """Whether `node_id` is known, and by another disk. Nothing is noted by asking."""


class Door:
    """Lets in the peers of one cluster, each with its disk. `set_peers` says who they are from then on.

    With `voters`, on Raft's own connections, whoever says that it votes by a change that is not applied here yet is let in as
    well, be it a peer with another disk or a node that nobody told of. It may be the leader, and nobody else could bring
    that change; or it may need this node's vote. What it says of itself does not count until then (`counts`).
    """

    def __init__(
        self,
        identity: Identity,
        peer_ids: frozenset[str],
        disks: Disks,
        *,
        entry_format: int = FORMAT,
        protocol: int = PROTOCOL,
        voters: Voters | None = None,
        origin: Origin | None = None,
    ) -> None:
        """`entry_format`: the newest format of log entries that this node reads. `origin`: of the log in its folder."""
        self._origin = origin
        self._protocol = protocol
        self._entry_format = entry_format
        self._voters = voters
        self._identity = identity
        self._peer_ids = peer_ids
        self._disks = disks
        self._former: set[str] = set()
        """Who was a peer once, so that it can be told that it is not now."""

    def set_peers(self, peer_ids: frozenset[str]) -> None:
        self._former = (self._former | self._peer_ids) - peer_ids
        self._peer_ids = peer_ids

    @property
    def peer_ids(self) -> frozenset[str]:
        return self._peer_ids

    def hello(self, *, to: str) -> Hello:
        own = self._identity
        since = 0 if self._voters is None else self._voters.voting_since
        format_ = self._entry_format
        place = own.cluster_id, own.incarnation, own.node_id, own.disk_id
        if self._origin is None:
            return Hello(self._protocol, *place, to, format_, since)
        return Hello(self._protocol, *place, to, format_, since, self._origin.mark, self._origin.name)

    def counts(self, hello: Hello) -> bool:
        """Whether what is said behind `hello` may be counted as that peer's. Raises as `reason_to_refuse`."""
        if hello.node_id not in self._peer_ids and not self._is_voter(hello):
            return False
        return self._disks.is_known_or_new(hello.node_id, hello.disk_id, is_founder=hello.founding != "")

    def listens_to(self, hello: Hello) -> bool:
        """Whether its sender may speak at all: it is a peer, or it votes, by what is applied here or by what is not yet."""
        if hello.node_id == self._identity.node_id:
            return False
        return hello.node_id in self._peer_ids or self._is_voter(hello) or self._is_newer(hello)

    def _is_voter(self, hello: Hello) -> bool:
        return self._voters is not None and hello.node_id in self._voters.others

    def _is_newer(self, hello: Hello) -> bool:
        return self._voters is not None and hello.voting_since > self._voters.index

    def reason_to_refuse(self, hello: Hello, expected: str | None, names: PeerNames | None) -> str | None:
        """Why `hello` is refused, or None.

        `expected` is whom this node connected to; None when it was connected to. `names` is what the certificate says;
        None when there is no TLS, and then a greeting is believed: settings allow that on loopback, or when told to.
        The first greeting of a peer fixes its disk. Raises what reading and writing the known disks raises.
        """
        own = self._identity
        elsewhere = self._reason_to_be_elsewhere(hello)
        if elsewhere is not None:
            return elsewhere
        if not self.listens_to(hello):
            return NO_LONGER if hello.node_id in self._former else "not a member"
        if names is not None and not names.speak_for(cluster_id=own.cluster_id, node_id=hello.node_id):
            return "certificate of another node"
        if expected is None and hello.node_id < own.node_id:
            return "the node with the greater id connects"
        if expected is not None and expected != hello.node_id:
            return "another node at this address"
        return self._reason_to_doubt(hello)

    def _reason_to_doubt(self, hello: Hello) -> str | None:
        """Why it is not the node of that name, or has not the log of this cluster."""
        origin = self._origin
        is_apart = origin is not None and origin.is_apart(hello.origin)
        if is_apart and not self._disks.has_another(hello.node_id, hello.disk_id):
            return FOUNDED_APART
        if not is_apart and (self._is_newer(hello) or self.counts(hello)):
            return None
        if hello.founding == "":
            return JOINED_AS_ANOTHER
        has_log = origin is not None and origin.name != ""
        return FOUNDED_ANEW if has_log and hello.founding else "another disk than before"

    def hear_refusal(self, reason: str, by: str, names: PeerNames | None) -> None:
        """A peer refuses this node. Raises FoundedTwice when this node must not go on after that."""
        believed = names is None or names.speak_for(cluster_id=self._identity.cluster_id, node_id=by)
        if reason == FOUNDED_ANEW and self._origin is not None and believed:
            self._origin.refute(by)

    def _reason_to_be_elsewhere(self, hello: Hello) -> str | None:
        own = self._identity
        if hello.protocol != self._protocol:
            return "another protocol"
        if hello.cluster_id != own.cluster_id:
            return "another cluster"
        if hello.incarnation != own.incarnation:
            return "another incarnation of the cluster"
        if hello.to != own.node_id:
            return "meant for another node"
        founded_with = None if self._origin is None else self._origin.mark
        if founded_with and hello.founding and hello.founding != founded_with:
            return "founded with other nodes"
        return None
