"""The settings of replication: the `raft` part of the tree in `settings`.

Duty and invariants: as there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from garbagetruck.cluster.node.config.values import Duration, File, Switch, Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSection:
    """Replication. The same on every node."""

    heartbeat_ms: Annotated[
        int,
        Duration(meaning="How often the leader tells its followers that it is there.", minimum_ms=10, maximum_ms=5_000),
    ] = 100
    election_timeout_ms_min: Annotated[
        int,
        Duration(
            meaning="The shortest silence of a leader after which a node stands for election. At least four heartbeats.",
            minimum_ms=50,
            maximum_ms=30_000,
        ),
    ] = 500
    election_timeout_ms_max: Annotated[
        int,
        Duration(
            meaning="The longest such silence; each node draws its own between the two. At least 1.5 times the shortest.",
            minimum_ms=60,
            maximum_ms=60_000,
        ),
    ] = 1_000
    leader_fallback_ms: Annotated[
        int,
        Duration(
            meaning="A leader that no majority answered for this long steps down. From three heartbeats to"
            " `raft.election_timeout_max`.",
            minimum_ms=30,
            maximum_ms=60_000,
        ),
    ] = 500
    connection_timeout_ms: Annotated[
        int,
        Duration(
            meaning="A connection on which nothing was read for this long is closed. At least"
            " `raft.election_timeout_max`.",
            minimum_ms=60,
            maximum_ms=300_000,
        ),
    ] = 3_000
    segment_bytes: Annotated[
        int,
        Whole(
            meaning="Size of one file of the journal. One is always reserved ahead, and old ones are deleted as a whole.",
            unit="bytes",
            minimum=65_536,
            maximum=1_073_741_824,
        ),
    ] = 67_108_864
    free_bytes_alarm: Annotated[
        int,
        Whole(
            meaning="With less free space on the disk of `node.data_dir`, new leases and sessions are refused with"
            " `STORAGE_LOW`, so that renewals still find room. 0 switches the alarm off.",
            unit="bytes",
            minimum=0,
            maximum=1_099_511_627_776,
        ),
    ] = 536_870_912
    snapshot_entries: Annotated[
        int,
        Whole(
            meaning="A snapshot is taken after this many entries of the log, or up to a quarter fewer. A restart replays"
            " what came since, and the journal is kept for the last two.",
            unit="entries",
            minimum=100,
            maximum=10_000_000,
        ),
    ] = 100_000
    snapshot_log_bytes: Annotated[
        int,
        Whole(
            meaning="A snapshot is also taken when the log has grown by this much: a restart replays about 20,000 leases taken in"
            " a second, of 300 bytes or so each. Up to twice as much is held in memory.",
            unit="bytes",
            minimum=1_048_576,
            maximum=1_073_741_824,
        ),
    ] = 33_554_432
    snapshot_interval_ms: Annotated[
        int,
        Duration(
            meaning="When the last snapshot is this old, or up to twice, an eighth of `snapshot_entries` or `snapshot_log_bytes` is enough for"
            " the next, so that a node restarts quickly that was busy and is not now.",
            minimum_ms=1_000,
            maximum_ms=86_400_000,
        ),
    ] = 60_000
    tls_certificate: Annotated[
        Path | None,
        File(
            meaning="PEM file of this node's certificate, for the connections between nodes: Raft's, and the peers'. See docs/consensus.md."
        ),
    ] = None
    tls_key: Annotated[Path | None, File(meaning="PEM file of its key.")] = None
    tls_authority: Annotated[
        Path | None, File(meaning="PEM file of the authorities that sign the nodes' certificates.")
    ] = None
    insecure_plaintext: Annotated[
        bool,
        Switch(
            meaning="Let nodes talk to each other unencrypted at addresses that are not on this machine. Whoever reaches such"
            " a port can read and write everything."
        ),
    ] = False
