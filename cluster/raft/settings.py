"""What can be set about the replicated log, validated once.

The defaults suit three nodes on a shared, noisy machine of two cores: a pause of 200 ms deposes nobody, and a killed
leader is replaced in about a second. Times are milliseconds of a monotonic clock, sizes are bytes.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from garbagetruck.cluster.raft.tls import TlsFiles

APPEND_BATCH_BYTES = 4 * 1024 * 1024
"""Entries that travel in one message. Fixed, because pysyncobj cuts up, and then mangles, any entry that reaches it."""

PROPOSAL_BYTES_MAX = 1024 * 1024
"""The highest `proposal_bytes_max`. Never lower it below what a journal may already hold."""

PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """Timing and bounds. Raises ValueError that names the field, its value and the remedy."""

    heartbeat_ms: int = 100
    """How often an idle leader sends to its followers."""
    election_timeout_ms_min: int = 500
    """A follower that hears no leader for a random time between these two stands for election."""
    election_timeout_ms_max: int = 1_000
    leader_fallback_ms: int = 500
    """A leader that a majority has not answered for this long steps down (I8)."""
    connection_timeout_ms: int = 3_000
    """A connection on which nothing was read for this long is closed."""
    connection_retry_ms: int = 100
    """After the first attempt to connect to a peer failed; each further one waits twice as long, less some jitter."""
    connection_retry_ms_max: int = 1_000
    """The longest wait between two attempts."""
    proposal_bytes_max: int = PROPOSAL_BYTES_MAX
    """The largest payload `propose` accepts."""
    proposals_waiting_max: int = 1_024
    """Proposals not yet taken by the log. Past it they are dropped, as they are after a lost leadership."""
    outgoing_bytes_max: int = 24 * 1024 * 1024
    """Bytes that wait for a peer that does not read. Past a half of it no entries are sent to that peer, and Raft
    repeats them later; past all of it the connection is closed, and begins anew."""
    strangers_max: int = 16
    """Connections at once that have not introduced themselves. Past it the newest is closed."""
    segment_bytes: int = 64 * 1024 * 1024
    """The size of a journal's segment. One is always reserved ahead on the disk, and deleted only as a whole."""
    free_bytes_alarm: int = 512 * 1024 * 1024
    """With less free space on the disk than this, new leases and sessions are refused; renewals still find room."""
    snapshot_entries: int = 100_000
    """A snapshot is taken after this many entries of the log, or up to a quarter fewer..."""
    snapshot_log_bytes: int = 32 * 1024 * 1024
    """...or when their payloads are this large, which is what a restart replays in a few seconds. The log is kept, on disk
    and in memory, for up to two snapshots."""
    snapshot_interval_ms: int = 60_000
    """Once the last is this old, an eighth of either is enough: a node that is idle after a rush restarts quickly."""
    tls: TlsFiles | None = None
    """Certificates for the connections between nodes. Without them every member must be on loopback, or..."""
    entry_format: int = 3
    """The newest format of entries that this node reads; told to its peers, and nothing is decided by it here."""
    insecure_plaintext: bool = False
    """...this says that whoever can reach the Raft ports may read and write the cluster's state."""

    def __post_init__(self) -> None:
        _at_least(self, "heartbeat_ms", 10, "heartbeats closer together cost more than they tell")
        _at_least(
            self,
            "election_timeout_ms_min",
            4 * self.heartbeat_ms,
            f"that is 4 x heartbeat_ms ({self.heartbeat_ms}), so that one lost heartbeat deposes nobody",
        )
        _at_least(
            self,
            "election_timeout_ms_max",
            self.election_timeout_ms_min * 3 // 2,
            f"that is 1.5 x election_timeout_ms_min ({self.election_timeout_ms_min}), so that two rarely stand at once",
        )
        _at_least(
            self,
            "leader_fallback_ms",
            3 * self.heartbeat_ms,
            f"that is 3 x heartbeat_ms ({self.heartbeat_ms}), so that one lost answer deposes nobody",
        )
        _at_most(
            self,
            "leader_fallback_ms",
            self.election_timeout_ms_max,
            f"that is election_timeout_ms_max ({self.election_timeout_ms_max}): "
            "a leader without a majority must stop within one election timeout",
        )
        _at_least(
            self,
            "connection_timeout_ms",
            self.election_timeout_ms_max,
            f"that is election_timeout_ms_max ({self.election_timeout_ms_max}), so that an election finds its voters",
        )
        _at_least(self, "connection_retry_ms", 10, "attempts closer together only burn processor time")
        _at_least(
            self,
            "connection_retry_ms_max",
            self.connection_retry_ms,
            f"that is connection_retry_ms ({self.connection_retry_ms}), the first wait",
        )
        _at_least(self, "segment_bytes", 64 * 1024, "a smaller segment is begun and deleted all the time")
        _at_least(self, "free_bytes_alarm", 0, "it is a size")
        _at_least(self, "snapshot_entries", 8, "a snapshot after every entry leaves time for nothing else")
        _at_least(self, "snapshot_log_bytes", 1_024, "a snapshot after every entry leaves time for nothing else")
        _at_least(self, "snapshot_interval_ms", 1_000, "a snapshot at every moment leaves time for nothing else")
        _at_least(self, "strangers_max", 4, "peers are strangers, too, until they have introduced themselves")
        if self.tls is not None and self.insecure_plaintext:
            raise ValueError("raft insecure_plaintext is set, and so is tls: remove one; with TLS nothing is plaintext")
        _at_least(self, "proposal_bytes_max", 1_024, "a smaller log entry holds nothing")
        _at_most(self, "proposal_bytes_max", PROPOSAL_BYTES_MAX, "larger entries stall heartbeats; split the batch")
        _at_least(self, "proposals_waiting_max", 2, "two batches may be in flight")
        _at_least(
            self,
            "outgoing_bytes_max",
            4 * APPEND_BATCH_BYTES,
            "that is four messages of entries, without which a peer that lags never catches up",
        )

    @property
    def tick_ms(self) -> int:
        """The longest that the Raft thread sleeps; it bounds how late a heartbeat or an election can be."""
        return max(1, self.heartbeat_ms // 5)

    @property
    def handshake_ms_max(self) -> int:
        """Who has not been let in for this long after connecting is cut off."""
        return self.election_timeout_ms_max

    @property
    def keep_alive_ms(self) -> int:
        """After this long without another message a connection carries one that says nothing."""
        return self.connection_timeout_ms // 4

    @property
    def lost_leader_spread_ms(self) -> int:
        """Followers whose connection to the leader broke ask within this after the minimum timeout, not all at once."""
        return self.election_timeout_ms_min // 4

    @property
    def transfer_ms_max(self) -> int:
        """The bound on a transfer of leadership: the target catches up, is elected, and is heard from."""
        return 2 * self.election_timeout_ms_max


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster: its id, and where its Raft port listens, as `host:port` (`[host]:port` for IPv6).

    The host may be a name; it is resolved anew for every connection. `disk_id` is the disk that the cluster's records know
    it by, empty as long as they know none; it counts for those who do not vote. Raises ValueError.
    """

    node_id: str
    address: str
    disk_id: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.node_id:
            raise ValueError("node id of a Raft member is empty; give every node a name, such as n1")
        if not self.host:
            raise ValueError(f"raft address of {self.node_id}: {self.address!r} is not HOST:PORT")
        if not 0 < self.port <= PORT_MAX:
            raise ValueError(f"raft address of {self.node_id}: port {self.port} is not between 1 and {PORT_MAX}")

    @property
    def host(self) -> str:
        """An IP address or a name; `localhost` stands for 127.0.0.1."""
        host = self.address.rpartition(":")[0].removeprefix("[").removesuffix("]")
        return "127.0.0.1" if host == "localhost" else host

    @property
    def port(self) -> int:
        port = self.address.rpartition(":")[2]
        if not (port.isascii() and port.isdigit()):
            raise ValueError(f"raft address of {self.node_id}: {self.address!r} is not HOST:PORT")
        return int(port)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can be meant. A name other than localhost may mean anybody."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, as its peers are told in the handshake.

    `disk_id` is the random name of its data folder. A peer that met this node with another one refuses it.
    """

    cluster_id: str
    node_id: str
    disk_id: str
    incarnation: int = 1
    """Which life of the cluster it is: a restore from a snapshot begins another, which refuses the former's nodes."""


def check_members(identity: Identity, members: Sequence[Member], settings: RaftSettings) -> None:
    """Raise ValueError unless `members` is a cluster that `identity` belongs to, and this node may listen where it is to.

    Where others are is for them to say: whom this node must not talk to it leaves out (`Peering`), and starts all the same.
    """
    ids = [member.node_id for member in members]
    addresses = [(member.host, member.port) for member in members]
    if len(set(ids)) != len(ids):
        raise ValueError(f"raft members {ids} name a node twice; every node needs an id of its own")
    if len(set(addresses)) != len(addresses):
        raise ValueError(f"raft members share an address: {[member.address for member in members]}")
    if identity.node_id not in ids:
        raise ValueError(f"raft members {ids} do not include this node, {identity.node_id}; add it")
    exposed = [each for each in members if each.node_id == identity.node_id and not may_be_talked_to(each, settings)]
    if exposed:
        raise ValueError(
            f"raft address of {exposed[0].node_id}: {exposed[0].address} is not on the loopback interface, and without "
            "TLS whoever reaches it could read and write the cluster's state; give every node a certificate "
            "(`garbagetruck tls init`), or set insecure_plaintext if the network itself keeps strangers out"
        )


def may_be_talked_to(member: Member, settings: RaftSettings) -> bool:
    """Whether what is said to that address is said to nobody else: there is TLS, or it is on this machine, or we are told."""
    return settings.tls is not None or settings.insecure_plaintext or member.is_loopback


def _at_least(settings: RaftSettings, field: str, bound: int, reason: str) -> None:
    value = getattr(settings, field)
    if value < bound:
        raise ValueError(f"raft {field} is {value}, and must be at least {bound}: {reason}")


def _at_most(settings: RaftSettings, field: str, bound: int, reason: str) -> None:
    value = getattr(settings, field)
    if value > bound:
        raise ValueError(f"raft {field} is {value}, and must be at most {bound}: {reason}")
