"""Who may take part: the greeting of a node, and why one is refused.

Duty: compare what a greeting says with who this node is and whom it knows. Both sides of a connection do.

Must not know: connections.
"""

from garbagetruck.cluster.raft.peers import PeerDisks
from garbagetruck.cluster.raft.settings import Identity
from garbagetruck.cluster.raft.wire import PROTOCOL, Hello


class Door:
    """Lets in the peers of one cluster, each with the disk it was first met with."""

    def __init__(self, identity: Identity, peer_ids: frozenset[str], disks: PeerDisks) -> None:
        self._identity = identity
        self._peer_ids = peer_ids
        self._disks = disks

    def hello(self, *, to: str) -> Hello:
        own = self._identity
        return Hello(PROTOCOL, own.cluster_id, own.node_id, own.disk_id, to)

    def reason_to_refuse(self, hello: Hello, expected: str | None) -> str | None:
        """Why `hello` is refused, or None. `expected` is whom this node connected to; None when it was connected to.

        The first greeting of a peer fixes its disk. Raises what reading and writing the known disks raises.
        """
        if hello.protocol != PROTOCOL:
            return "another protocol"
        if hello.cluster_id != self._identity.cluster_id:
            return "another cluster"
        if hello.to != self._identity.node_id:
            return "meant for another node"
        if hello.node_id not in self._peer_ids:
            return "not a member"
        if expected is None and hello.node_id < self._identity.node_id:
            return "the node with the greater id connects"
        if expected is not None and expected != hello.node_id:
            return "another node at this address"
        if not self._disks.is_known_or_new(hello.node_id, hello.disk_id):
            return "another disk than before"
        return None
