"""What a node's core is, whether it is ready, and what is told of it.

Duty: one answer to "how is this node", for health, metrics, probes, the status page and the log.
Invariants: asking waits for nothing and changes nothing.
Must not know: who asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from typing_extensions import override

import garbagetruck
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node.applier import Applier, ApplyListener
from garbagetruck.cluster.node.bootstrap import Enrolment
from garbagetruck.cluster.node.chronicling import Chronicler
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.digests import DigestWatch
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.leadership import Leadership, LeadershipObserver
from garbagetruck.cluster.node.peers.status import own_role
from garbagetruck.cluster.observe.facts import ArchiveFacts, NodeFacts
from garbagetruck.cluster.raft.cursor import LogCursor
from garbagetruck.cluster.raft.log import ReplicatedLog

LAG_ENTRIES_MAX = 1_000
"""How far a ready node's machine may be behind the commit index it knows."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """Log and machine, and what decides when this node leads."""

    log: ReplicatedLog
    machine: Machine
    applier: Applier
    clock: ClusterClock
    queue: CommitQueue
    leadership: Leadership
    enrolment: Enrolment
    digests: DigestWatch
    chronicler: Chronicler
    cursor: LogCursor

    @property
    def listeners(self) -> tuple[ApplyListener, ...]:
        """Who hears first of what was applied, in this order."""
        return (self.digests, self.leadership, self.chronicler)


class LeadershipJournal(LeadershipObserver):
    """Tells in the log when this node leads and when no longer."""

    @override
    def started_leading(self, epoch: int) -> None:
        _log.info("leading", epoch=epoch)

    @override
    def stopped_leading(self, epoch: int) -> None:
        _log.info("leading_ended", epoch=epoch)


class Health:
    """Whether this node can answer clients now, and why not."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._draining = False
        self.archive: Callable[[], ArchiveFacts | None] = lambda: None
        """What is kept outside the nodes; None where nothing is."""
        self.unknown_handlers: Callable[[], Mapping[str, int]] = dict
        """Handlers that this node does not have and that cleanups wait for, with how many, while it leads."""

    def drain(self) -> None:
        """Not ready from now on."""
        self._draining = True

    @property
    def ready(self) -> bool:
        return not self.reasons_not_ready()

    def reasons_not_ready(self) -> tuple[str, ...]:
        """What keeps the node from being ready, as sentences; empty when nothing does."""
        core = self._core
        status = core.log.status
        lag_entries = status.commit_index - core.applier.applied_index
        found = (
            (self._draining, "the node is shutting down"),
            (status.leader is None, "no leader is known"),
            (lag_entries > LAG_ENTRIES_MAX, f"{lag_entries} committed entries are not applied yet"),
            (not core.enrolment.complete, "the cluster does not have this node's record yet"),
        )
        return tuple(reason for applies, reason in found if applies)


def facts_of(identity: NodeIdentity, core: Core, health: Health) -> NodeFacts:
    """One look at the node, for metrics, probes and the status page."""
    status = core.log.status
    leads = core.leadership.leading
    return NodeFacts(
        cluster_id=identity.cluster_id,
        node_id=identity.node_id,
        version=garbagetruck.__version__,
        role=own_role(status, leads=leads).value,
        leader_id=status.leader or "",
        term=status.term,
        commit_index=status.commit_index,
        applied_index=core.applier.applied_index,
        last_index=status.last_index,
        clock_ms=core.clock.now_ms() if leads else core.machine.clock_ms,
        operations_waiting=core.queue.waiting_operations,
        batches_in_flight=core.queue.batches_in_flight,
        peers_connected=len(status.connected),
        storage_low=identity.node_id in status.low_on_space,
        feature_level=core.machine.level,
        digest_agreed_index=core.digests.agreed_index,
        digest_differences=core.digests.differences,
        cleanups_held=core.digests.holds_cleanups,
        not_ready=health.reasons_not_ready(),
        archive=health.archive(),
        unknown_handlers=dict(health.unknown_handlers()),
    )
