"""A node's metrics: what happens is counted as it happens, what is, is looked up when it is scraped.

Duty: one Prometheus registry for each node, and the names in it; docs/metrics.md lists them, and a test compares.
Invariants: names follow Prometheus's conventions (base units, `_total`); no id, namespace or resource is ever a label,
and every label has a bounded set of values. Nothing here blocks or raises.

Must not know: who counts. The ports that this implements are declared where they are called: `CallObserver` in
`cluster.api.ports`, `CleanupMeter` in `cluster.cleanup.meter`, `ApplyListener` in `cluster.node.applier`.
"""

import enum
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from typing_extensions import override

from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import EventType
from garbagetruck.cluster.machine.outcomes import Reason
from garbagetruck.cluster.machine.questions import EventsGone
from garbagetruck.cluster.observe.collector import NodeCollector
from garbagetruck.cluster.observe.facts import NodeFacts

CALL_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 5.0)
APPLY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
LATENESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
ATTEMPT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
EVENTS_PER_LOOK_MAX = 1_000
REASONS = frozenset(reason.value for reason in Reason)


class KnowsLeader(Protocol):
    """As much of a log's status as is counted here."""

    @property
    def leader(self) -> str | None: ...


class MethodMetrics:
    """The counters of one method of the API."""

    __slots__ = ("_handled", "_labels", "_parent", "_seconds", "_started")

    def __init__(self, parent: "CallMetrics", labels: tuple[str, str, str]) -> None:
        self._parent = parent
        self._labels = labels
        self._started = parent.calls_started.labels(*labels)
        self._seconds = parent.call_seconds.labels(*labels)
        self._handled: dict[str, Counter] = {}
        """By code; there are seventeen."""

    def started(self) -> None:
        self._started.inc()
        self._parent.in_flight.inc()

    def finished(self, code: str, seconds: float) -> None:
        handled = self._handled.get(code)
        if handled is None:
            handled = self._handled[code] = self._parent.calls_handled.labels(*self._labels, code)
        handled.inc()
        self._seconds.observe(seconds)
        self._parent.in_flight.dec()


class CallMetrics:
    """Calls of the API, under the names that gRPC's own libraries use. Implements `CallObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        method = ("grpc_type", "grpc_service", "grpc_method")
        self.calls_started = Counter("grpc_server_started", "Calls begun.", method, registry=registry)
        self.calls_handled = Counter(
            "grpc_server_handled", "Calls ended, by status code.", (*method, "grpc_code"), registry=registry
        )
        self.call_seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long calls took; streams, from their opening to their end.",
            method,
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge("garbagetruck_calls_in_flight", "Calls and streams being served.", registry=registry)

    def method(self, service: str, method: str, kind: str) -> MethodMetrics:
        return MethodMetrics(self, (kind, service, method))


class CleanupMetrics:
    """What the executor does while this node leads. Implements `CleanupMeter`; handlers' names are the operator's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._slots = Gauge(
            "garbagetruck_cleanup_slots_in_use", "Attempts running here.", ("handler",), registry=registry
        )
        self._claims_refused = Counter(
            "garbagetruck_cleanup_claims_refused",
            "Claims that this node proposed and that were refused, or not applied.",
            ("handler", "reason"),
            registry=registry,
        )
        self._attempts = Counter(
            "garbagetruck_cleanup_attempts", "Attempts ended here.", ("handler", "result"), registry=registry
        )
        self._attempt_seconds = Histogram(
            "garbagetruck_cleanup_attempt_seconds",
            "How long handlers took.",
            ("handler",),
            buckets=ATTEMPT_BUCKETS,
            registry=registry,
        )
        self._lateness = Histogram(
            "garbagetruck_reclaim_lateness_seconds",
            "How long after they were due cleanups were done, in cluster time; counted by the leader that did them.",
            buckets=LATENESS_BUCKETS,
            registry=registry,
        )
        self._reports_lost = Counter(
            "garbagetruck_cleanup_reports_lost",
            "Attempts whose end could not be told before their claim was over; they are repeated.",
            ("handler",),
            registry=registry,
        )
        self._handlers_unknown = Counter(
            "garbagetruck_cleanup_handlers_unknown",
            "Handlers that cleanups wait for and this node does not have, once for each time of leading.",
            registry=registry,
        )

    def slots_in_use(self, handler: str, slots: int) -> None:
        self._slots.labels(handler).set(slots)

    def claim_refused(self, handler: str, reason: str) -> None:
        self._claims_refused.labels(handler, reason if reason in REASONS else "ERROR").inc()

    def attempt_ended(self, handler: str, end: enum.Enum, duration_s: float) -> None:
        self._attempts.labels(handler, end.value).inc()
        self._attempt_seconds.labels(handler).observe(duration_s)

    def reclaimed(self, handler: str, lateness_s: float) -> None:
        del handler
        self._lateness.observe(max(0.0, lateness_s))

    def report_lost(self, handler: str) -> None:
        self._reports_lost.labels(handler).inc()

    def handler_unknown(self, handler: str) -> None:
        del handler  # a client's word: no label
        self._handlers_unknown.inc()


class LogMetrics:
    """Commits, applies and events. Its `on_…` methods are an `ApplyListener`'s."""

    def __init__(
        self, registry: CollectorRegistry, facts: Callable[[], NodeFacts], machine: Callable[[], Machine]
    ) -> None:
        self._facts = facts
        self._machine = machine
        self._leader: str | None = None
        self._events_seen: int | None = None
        self._leader_changes = Counter(
            "garbagetruck_server_leader_changes_seen", "Leaders that followed another.", registry=registry
        )
        self._proposals_failed = Counter(
            "garbagetruck_server_proposals_failed",
            "Operations that were not applied, or of which nobody knows.",
            ("reason",),
            registry=registry,
        )
        self._operations = Counter(
            "garbagetruck_operations_applied", "Operations that the machine of this node has met.", registry=registry
        )
        self._batch = Histogram(
            "garbagetruck_batch_operations",
            "Operations in an applied batch.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "garbagetruck_commit_latency_seconds",
            "From the sealing of a batch to its being applied, on the leader.",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self._apply_seconds = Histogram(
            "garbagetruck_apply_duration_seconds",
            "How long the machine took for one entry of the log.",
            buckets=APPLY_BUCKETS,
            registry=registry,
        )
        events = Counter(
            "garbagetruck_events", "What happened to leases, resources and cleanups.", ("type",), registry=registry
        )
        self._events = {each: events.labels(each.value) for each in EventType}

    def committed(self, seconds: float) -> None:
        """A batch of this node's was applied here, so long after it was sealed."""
        self._commit_seconds.observe(seconds)

    def applied_entry(self, seconds: float) -> None:
        """The machine applied one entry, in so long."""
        self._apply_seconds.observe(seconds)

    def proposal_failed(self, reason: type[Exception], operations: int = 1) -> None:
        """Operations were given up; `reason` is the class of the operating error: there are a handful."""
        self._proposals_failed.labels(reason.__name__).inc(operations)

    def on_applied(self, applied: Applied) -> None:
        operations = len(applied.outcomes)
        self._operations.inc(operations)
        if operations:
            self._batch.observe(operations)

    def on_restored(self) -> None:
        """What happened meanwhile was counted elsewhere."""

    def on_progress(self) -> None:
        """Count the events since the last look. What is replayed before the node was first ready is history."""
        machine = self._machine()
        last = machine.event_index
        if self._events_seen is None:
            self._events_seen = None if self._facts().not_ready else last
            return
        while self._events_seen < last:
            try:
                events = machine.events_after(self._events_seen, EVENTS_PER_LOOK_MAX)
            except EventsGone as gone:
                self._events_seen = gone.oldest_index - 1
                continue
            for event in events:
                self._events[event.type].inc()
            self._events_seen = events[-1].index

    def on_status(self, status: KnowsLeader) -> None:
        leader = status.leader
        if leader is not None and leader != self._leader:
            if self._leader is not None:
                self._leader_changes.inc()
            self._leader = leader


class NodeMetrics:
    """All metrics of one node. Runs on its main loop; scrapes do, too."""

    def __init__(self, facts: Callable[[], NodeFacts], machine: Callable[[], Machine]) -> None:
        registry = CollectorRegistry(auto_describe=True)
        self.calls = CallMetrics(registry)
        self.cleanups = CleanupMetrics(registry)
        self.log = LogMetrics(registry, facts, machine)
        self._parts: tuple[Collector, ...] = (registry, NodeCollector(facts, machine))
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    @property
    def exposition(self) -> Collector:
        """What a scrape shows."""
        return Exposition(self._parts)


class Exposition(Collector):
    """Several collectors as one, without the `_created` series that nobody reads and that double the output."""

    def __init__(self, parts: Iterable[Collector]) -> None:
        self._parts = tuple(parts)

    @override
    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            for metric in part.collect():
                created = f"{metric.name}_created"
                metric.samples = [sample for sample in metric.samples if sample.name != created]
                yield metric
