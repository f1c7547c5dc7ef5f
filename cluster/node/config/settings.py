"""The settings of a node: one frozen tree, every leaf with its meaning, bounds and default.

Duty: name what can be set. The annotations here are the only description of a setting: the loader, the example file
and the reference table are all made from them.
Invariants: a tree that `cluster.node.config.loading` returned is complete and within bounds, and its parts fit together.
A field whose name carries `_ms` is a duration in milliseconds; its key in a file has no `_ms`, but a unit in its value.
Must not know: where a value came from, nor how the parts that take these values work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from garbagetruck.cluster.machine.features import LEVEL_NEWEST, LEVEL_OLDEST
from garbagetruck.cluster.node.config.cleanup_section import CleanupSection
from garbagetruck.cluster.node.config.lives import JOINED_INCARNATION
from garbagetruck.cluster.node.config.raft_section import RaftSection
from garbagetruck.cluster.node.config.routes import Routes
from garbagetruck.cluster.node.config.skips import SkippedEntries, SkippedEntry
from garbagetruck.cluster.node.config.storage_section import StorageSection
from garbagetruck.cluster.node.config.tables import Handlers, HandlerSettings, Members, MemberSettings
from garbagetruck.cluster.node.config.values import (
    Address,
    Choice,
    Duration,
    Endpoint,
    Folder,
    Name,
    Share,
    Whole,
)
from garbagetruck.cluster.raft.settings import PROPOSAL_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSection:
    """The cluster that the node belongs to: the same on every node."""

    id: Annotated[
        str,
        Name(
            meaning="Name of the cluster, chosen once: a data folder and a peer of another cluster are refused.",
            example="production",
        ),
    ]
    incarnation: Annotated[int, JOINED_INCARNATION] = 1
    members: Annotated[
        tuple[MemberSettings, ...],
        Members(
            meaning="Every node of the cluster, this one included, with the addresses the others reach it at: for its founding"
            " and for joining it. Later the cluster's own records count (docs/membership.md), and of this only the node's own."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """This node."""

    id: Annotated[str, Name(meaning="Which of `cluster.members` this node is.", example="n1")]
    data_dir: Annotated[
        Path,
        Folder(
            meaning=(
                "Folder of the identity, the journal and the snapshots. It belongs to one node for ever: never copy or share"
                " it."
            ),
            example="/var/lib/garbagetruck",
        ),
    ]
    api: Annotated[
        Address | None,
        Endpoint(meaning="Where the gRPC API listens. Default: the `api` address of this member."),
    ] = None
    http: Annotated[
        Address | None,
        Endpoint(meaning="Where metrics and health listen. Default: the `http` address of this member."),
    ] = None
    raft: Annotated[
        Address | None,
        Endpoint(
            meaning="Where Raft listens: on loopback, unless nodes have TLS. Default: the `raft` address of this member."
        ),
    ] = None
    peer: Annotated[
        Address | None,
        Endpoint(
            meaning="Where the other nodes bring what is for the leader: on loopback, unless nodes have TLS. Default: the"
            " `peer` address of this member."
        ),
    ] = None
    raft_routes: Annotated[
        Mapping[str, Address],
        Routes(
            meaning="Where this node reaches members' Raft ports, when not at the addresses that the cluster's records tell:"
            " behind address translation, or through a proxy."
        ),
    ] = field(default_factory=dict)
    peer_routes: Annotated[
        Mapping[str, Address],
        Routes(meaning="The same for their `peer` ports."),
    ] = field(default_factory=dict)
    drain_timeout_ms: Annotated[
        int,
        Duration(
            meaning="How long a stopping node waits for running cleanups and open calls, each, before it ends them.",
            minimum_ms=0,
            maximum_ms=600_000,
        ),
    ] = 10_000
    feature_level: Annotated[
        int,
        Whole(
            meaning="What this node says it can read, and reads: newer entries and snapshots are refused. Lower it to"
            " bring a version in without its features, and raise it on one node after the other; the cluster uses what all"
            " have. It can be lowered again as long as nothing newer is in the log.",
            minimum=LEVEL_OLDEST,
            maximum=LEVEL_NEWEST,
        ),
    ] = LEVEL_NEWEST
    skip_entries: Annotated[
        tuple[SkippedEntry, ...],
        SkippedEntries(
            meaning="Entries of the log that every node dies of: they are not applied, and an event says so. The last line"
            " of such a node names the text; it must be the same on all nodes, see docs/consensus.md."
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSection:
    """Cluster time, as this node keeps it while it leads."""

    step_ms: Annotated[
        int,
        Duration(
            meaning="The most cluster time that one credit can grant: what a stalled leader can at most over-count.",
            minimum_ms=10,
            maximum_ms=10_000,
        ),
    ] = 250
    probe_interval_ms: Annotated[
        int,
        Duration(
            meaning="How often the leader proves to itself that renewals get through. At most half of `clock.step`.",
            minimum_ms=5,
            maximum_ms=5_000,
        ),
    ] = 100
    tick_ms: Annotated[
        int,
        Duration(
            meaning="How often an idle leader writes the time to the log when no deadline is near.",
            minimum_ms=50,
            maximum_ms=10_000,
        ),
    ] = 1_000
    drift_ppm_max: Annotated[
        int,
        Whole(
            meaning="By how much this machine's oscillator may be fast; cluster time is slowed by as much.",
            unit="parts per million",
            minimum=0,
            maximum=100_000,
        ),
    ] = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSection:
    """The commit queue of a leader, where operations wait for the next batch."""

    operations_max: Annotated[
        int,
        Whole(
            meaning="Operations that may wait; more are refused with `UNAVAILABLE`, and may be sent again.",
            unit="operations",
            minimum=100,
            maximum=1_000_000,
        ),
    ] = 20_000
    renewals_reserved: Annotated[
        float,
        Share(
            meaning="Part of that room which only renewals may take, so that load does not end leases.",
            minimum=0.05,
            maximum=0.9,
        ),
    ] = 0.25
    batch_operations_max: Annotated[
        int,
        Whole(meaning="Operations in one entry of the log.", unit="operations", minimum=1, maximum=10_000),
    ] = 1_000
    batch_bytes_max: Annotated[
        int,
        Whole(
            meaning="Encoded size of one entry of the log.", unit="bytes", minimum=65_536, maximum=PROPOSAL_BYTES_MAX
        ),
    ] = 1_048_576
    batches_in_flight_max: Annotated[
        int,
        Whole(meaning="Batches proposed and not yet applied.", unit="batches", minimum=1, maximum=2),
    ] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSection:
    """Limits of the gRPC API."""

    message_bytes_max: Annotated[
        int,
        Whole(
            meaning="Largest request taken; larger ones are refused with `RESOURCE_EXHAUSTED`.",
            unit="bytes",
            minimum=65_536,
            maximum=16_777_216,
        ),
    ] = 4_194_304
    calls_max: Annotated[
        int,
        Whole(
            meaning="Calls answered at once; more are refused with `UNAVAILABLE`, and may be sent again.",
            unit="calls",
            minimum=1,
            maximum=100_000,
        ),
    ] = 2_000
    streams_max: Annotated[
        int,
        Whole(
            meaning="Streams (keep-alive, watch) open at once; more are refused with `UNAVAILABLE`.",
            unit="streams",
            minimum=1,
            maximum=1_000_000,
        ),
    ] = 10_000
    timeout_ms: Annotated[
        int,
        Duration(meaning="Deadline of a call that brings none of its own.", minimum_ms=100, maximum_ms=300_000),
    ] = 5_000
    timeout_ms_max: Annotated[
        int,
        Duration(meaning="A call's own deadline is cut to this.", minimum_ms=100, maximum_ms=300_000),
    ] = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
    """What the process writes to standard error."""

    level: Annotated[
        str,
        Choice(meaning="The least severe line that is written.", choices=("debug", "info", "warning", "error")),
    ] = "info"
    format: Annotated[
        str,
        Choice(
            meaning="`json`: one object a line. `console`: for people. `auto`: `console` on a terminal, else `json`.",
            choices=("auto", "json", "console"),
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Everything that a node is told from outside."""

    cluster: ClusterSection
    node: NodeSection
    raft: RaftSection = field(default_factory=RaftSection)
    clock: ClockSection = field(default_factory=ClockSection)
    queue: QueueSection = field(default_factory=QueueSection)
    cleanup: CleanupSection = field(default_factory=CleanupSection)
    api: ApiSection = field(default_factory=ApiSection)
    storage: StorageSection = field(default_factory=StorageSection)
    log: LogSection = field(default_factory=LogSection)
    handlers: Annotated[
        Mapping[str, HandlerSettings],
        Handlers(
            meaning="The cleanups that clients may name, one table each. `kind` says which handler it is, by default the"
            " table's own name; `slots`, `rate`, `burst`, `attempt_timeout` and `attempts` are its own limits; the other keys are the handler's (see"
            " docs/handlers.md). Give the same on every node."
        ),
    ] = field(default_factory=dict)

    @property
    def member(self) -> MemberSettings:
        """This node's own entry of the members."""
        return next(member for member in self.cluster.members if member.id == self.node.id)

    @property
    def peers(self) -> tuple[MemberSettings, ...]:
        """The other members."""
        return tuple(member for member in self.cluster.members if member.id != self.node.id)

    @property
    def api_listen(self) -> Address:
        """Where the gRPC API listens."""
        return self.node.api or self.member.api

    @property
    def http_listen(self) -> Address:
        """Where metrics and health listen."""
        return self.node.http or self.member.http

    @property
    def raft_listen(self) -> Address:
        """Where Raft listens."""
        return self.node.raft or self.member.raft

    @property
    def peer_listen(self) -> Address:
        """Where the other nodes' requests are listened for."""
        return self.node.peer or self.member.peer
