"""What a node knows of itself, at one moment: what metrics, probes and the status page have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEADER = "leader"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """What is kept outside the nodes, as this node knows of it."""

    archived_index: int = 0
    lag_s: float = 0.0
    """How long the first entry that is not archived has been applied here; 0 without one."""
    failing: bool = False
    """Whether nothing can be archived, or asked, at present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One consistent look at a node. Taken on its main loop, from memory."""

    cluster_id: str
    node_id: str
    version: str
    role: str
    """`LEADER`, "follower" or "candidate"."""
    leader_id: str
    """Empty: none is known."""
    term: int
    commit_index: int
    """The highest index of the log that this node knows to be committed."""
    applied_index: int
    last_index: int
    """The end of this node's own log."""
    clock_ms: int
    """Cluster time: the leader's own on the leader, the machine's on others."""
    operations_waiting: int
    """Operations that wait on this node to be sealed into a batch."""
    batches_in_flight: int
    """Batches that this node proposed and that are not yet applied."""
    peers_connected: int
    storage_low: bool
    """The disk of the log has less free space than it should."""
    feature_level: int
    """What this node reads."""
    digest_agreed_index: int
    """The last entry behind which this node had the digest that another noted; 0 when there was none yet."""
    digest_differences: int
    """How often it met another digest than its own, or heard of one."""
    cleanups_held: bool
    """Whether it starts no cleanup because of that."""
    not_ready: tuple[str, ...]
    """Why this node is not ready to answer clients, as sentences; empty when it is."""

    archive: ArchiveFacts | None = None
    """None where nothing is kept outside the nodes."""
    unknown_handlers: Mapping[str, int] = field(default_factory=dict)
    """On the leader: handlers that it does not have and that cleanups wait for, with how many."""

    @property
    def leads(self) -> bool:
        return self.role == LEADER
