"""What a node and its replica are at the moment of a scrape.

The counts of the replicated state are the same on every node, but for what a follower has yet to apply: so alert on any
one node, or on the maximum. Names that end as etcd's do mean what etcd's mean.
"""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.observe.facts import ArchiveFacts, NodeFacts

MS_PER_S = 1_000


class NodeCollector(Collector):
    """Looks everything up when asked; keeps nothing."""

    def __init__(self, facts: Callable[[], NodeFacts], machine: Callable[[], Machine]) -> None:
        self._facts = facts
        self._machine = machine

    @override
    def collect(self) -> Iterable[Metric]:
        facts, machine = self._facts(), self._machine()
        yield from _of_node(facts)
        yield from _of_log(facts)
        yield from _of_state(facts, machine)
        if facts.archive is not None:
            yield from _of_archive(facts.archive)


def _of_node(facts: NodeFacts) -> Iterable[Metric]:
    info = InfoMetricFamily("garbagetruck_build", "What this node runs.")
    info.add_metric((), {"version": facts.version})
    yield info
    yield _gauge("garbagetruck_server_has_leader", "Whether a leader is known (1) or not (0).", bool(facts.leader_id))
    yield _gauge("garbagetruck_server_is_leader", "Whether this node leads (1) or not (0).", facts.leads)
    yield _gauge("garbagetruck_ready", "Whether this node can answer clients (1) or not (0).", not facts.not_ready)
    yield _gauge("garbagetruck_peers_connected", "Peers with a live Raft connection.", facts.peers_connected)
    yield _gauge(
        "garbagetruck_storage_low",
        "Whether the disk has less free space than it should (1), so that no lease is begun, or not (0).",
        facts.storage_low,
    )
    yield _gauge("garbagetruck_feature_level", "The feature level that this node reads.", facts.feature_level)
    yield _gauge(
        "garbagetruck_digest_agreed_index",
        "The last entry of the log behind which this node had the digest that another noted.",
        facts.digest_agreed_index,
    )
    yield _counter(
        "garbagetruck_digest_differences",
        "Digests that were not what was noted, of this node or reported by another.",
        facts.digest_differences,
    )
    yield _gauge(
        "garbagetruck_cleanups_held",
        "Whether this node starts no cleanup because digests differed (1) or not (0).",
        facts.cleanups_held,
    )


def _of_log(facts: NodeFacts) -> Iterable[Metric]:
    yield _gauge("garbagetruck_raft_term", "The Raft term that this node is in.", facts.term)
    yield _gauge("garbagetruck_raft_last_index", "The end of this node's log.", facts.last_index)
    yield _counter(
        "garbagetruck_server_proposals_committed",
        "The highest index of the log that this node knows to be committed.",
        facts.commit_index,
    )
    yield _counter(
        "garbagetruck_server_proposals_applied",
        "The highest index of the log that this node has applied.",
        facts.applied_index,
    )
    yield _gauge(
        "garbagetruck_server_proposals_pending", "Operations that wait here to be sealed.", facts.operations_waiting
    )
    yield _gauge(
        "garbagetruck_batches_in_flight", "Batches proposed here and not yet applied.", facts.batches_in_flight
    )
    yield _counter(
        "garbagetruck_cluster_clock_seconds",
        "Cluster time: it stands still while no renewal could be accepted.",
        facts.clock_ms / MS_PER_S,
    )


def _of_state(facts: NodeFacts, machine: Machine) -> Iterable[Metric]:
    summary = machine.summary()
    yield _gauge("garbagetruck_leases", "Active leases.", summary.leases)
    yield _gauge("garbagetruck_sessions", "Active sessions.", summary.sessions)
    yield _gauge("garbagetruck_resources", "Resources that are not cleaned.", summary.resources)
    yield _gauge("garbagetruck_namespaces", "Namespaces.", len(machine.namespaces()))
    cleanups = GaugeMetricFamily("garbagetruck_cleanups", "Orphans, by the state of their cleanup.", labels=("state",))
    for state, number in (
        ("orphaned", summary.orphaned),
        ("due", summary.due),
        ("claimed", summary.claimed),
        ("dead_letter", summary.dead_letter),
    ):
        cleanups.add_metric((state,), number)
    yield cleanups
    overdue_ms = facts.clock_ms - summary.oldest_due_ms if summary.oldest_due_ms is not None else 0
    yield _gauge(
        "garbagetruck_oldest_overdue_cleanup_seconds",
        "How long the oldest cleanup that may be claimed has been due, in cluster time; 0 when none is.",
        max(0, overdue_ms) / MS_PER_S,
    )
    yield _gauge("garbagetruck_cleanups_paused", "Whether the whole cluster's cleanups are paused.", summary.paused)
    yield _gauge(
        "garbagetruck_namespaces_paused",
        "Namespaces whose cleanups are paused by themselves.",
        sum(namespace.paused for namespace in machine.namespaces()),
    )
    yield _gauge(
        "garbagetruck_cluster_feature_level",
        "The feature level that the cluster uses: the lowest of its members'.",
        machine.feature_level,
    )
    yield _gauge(
        "garbagetruck_digests_differ",
        "Whether nodes reported different states and no operator has resumed cleanups since (1) or not (0).",
        machine.open_difference() is not None,
    )
    yield _gauge(
        "garbagetruck_cleanups_of_unknown_handlers",
        "On the leader: due cleanups whose handler it does not have.",
        sum(facts.unknown_handlers.values()),
    )
    yield _gauge("garbagetruck_brakes_engaged", "Namespaces whose brake is engaged.", len(summary.braked))
    fleet = machine.fleet_brake
    yield _gauge(
        "garbagetruck_fleet_brake_engaged",
        "Whether the brake of the whole fleet is engaged (1) or not (0).",
        fleet is not None and fleet.engaged,
    )
    yield _gauge("garbagetruck_breakers_open", "Handlers whose breaker is open.", len(machine.breakers()))


def _of_archive(archive: ArchiveFacts) -> Iterable[Metric]:
    yield _gauge(
        "garbagetruck_snapshot_archive_lag_seconds",
        "How long the first entry of the log that is not archived has been applied here.",
        archive.lag_s,
    )
    yield _gauge(
        "garbagetruck_snapshot_archived_index", "The end of the archive, as last heard.", archive.archived_index
    )
    yield _gauge(
        "garbagetruck_snapshot_archive_failing",
        "Whether the storage could not be used at the last attempt (1) or could (0).",
        archive.failing,
    )


def _counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    """For what only rises, in this process or an earlier one."""
    return CounterMetricFamily(name, documentation, float(value))


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, float(value))
