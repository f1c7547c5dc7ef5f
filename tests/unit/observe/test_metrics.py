"""Metrics: named by convention, listed on their page, bounded in their labels, true at the moment of a scrape."""

import enum
import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from garbagetruck.cluster.api.gateway import NotSealed
from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Bounds, CleanupSpec, EventType
from garbagetruck.cluster.machine.operations import (
    BATCH_FORMAT,
    AcquireLease,
    Batch,
    EnterEpoch,
    Operation,
    PauseCleanups,
    ReleaseLeases,
    SetBounds,
)
from garbagetruck.cluster.observe.metrics import NodeMetrics
from tests.unit.observe.node import a_node

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
FILE = CleanupSpec("file", (("path", "a"),), "file:/a")


class End(enum.Enum):
    DONE = "done"


class World:
    """A machine that is applied to, a node that says what it is told to, and its metrics."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.not_ready: tuple[str, ...] = ()
        self.facts = a_node(clock_ms=1_000)
        self.metrics = NodeMetrics(lambda: self.facts, lambda: self.machine)
        self._sequence = 0
        self.apply(EnterEpoch("n1"))

    def apply(self, *operations: Operation, at_ms: int = 1_000) -> None:
        self._sequence += 1
        self.facts = a_node(clock_ms=max(self.facts.clock_ms, at_ms), not_ready=self.not_ready)
        batch = Batch(BATCH_FORMAT, 1, at_ms, "n1", self._sequence, operations)
        self.metrics.log.on_applied(self.machine.apply(codec.encode_batch(batch)))
        self.metrics.log.on_progress()

    def text(self) -> str:
        return generate_latest(self.metrics.exposition).decode()

    def value(self, sample: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.text()):
            for each in family.samples:
                if each.name == sample and each.labels == labels:
                    return each.value
        return None


def acquire(world: World, number: int, cleanup: CleanupSpec | None = None, at_ms: int = 1_000) -> None:
    world.apply(
        AcquireLease(at_ms, "default", "", f"lease-{number}", f"r{number}", "h", 60_000, cleanup=cleanup), at_ms=at_ms
    )


def names_of(world: World) -> set[str]:
    return {line.split(" ")[2] for line in world.text().splitlines() if line.startswith("# TYPE garbagetruck_")} | {
        line.split(" ")[2] for line in world.text().splitlines() if line.startswith("# TYPE grpc_")
    }


def exercise(world: World) -> None:
    """Let everything that is counted happen once."""
    method = world.metrics.calls.method("garbagetruck.v1.LeaseService", "Acquire", "unary")
    method.started()
    method.finished("OK", 0.002)
    cleanups = world.metrics.cleanups
    cleanups.slots_in_use("file", 2)
    cleanups.claim_refused("file", "CLEANUP_NOT_DUE")
    cleanups.claim_refused("file", "[Errno 5] a text that nobody bounded")
    cleanups.attempt_ended("file", End.DONE, 0.01)
    cleanups.reclaimed("file", 0.2)
    cleanups.report_lost("file")
    cleanups.handler_unknown("a client's word")
    world.metrics.log.committed(0.002)
    world.metrics.log.applied_entry(0.0003)
    world.metrics.log.proposal_failed(NotSealed, 3)


def test_every_metric_stands_on_the_page_and_nothing_else_does() -> None:
    world = World()
    exercise(world)
    listed = set(re.findall(r"^\| `((?:garbagetruck|grpc)_[a-z_]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == names_of(world)


def test_names_follow_the_conventions() -> None:
    world = World()
    exercise(world)
    for line in world.text().splitlines():
        if not line.startswith("# TYPE garbagetruck_"):
            continue
        _, _, name, kind = line.split(" ")
        assert (kind == "counter") == name.endswith("_total"), line
        assert not re.search(r"_(ms|millis|milliseconds|kb|percent)$", name), line
        assert not name.endswith("_created")


def test_no_label_holds_what_clients_say() -> None:
    world = World()
    exercise(world)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(world.text()):
        if family.name.startswith(("garbagetruck", "grpc")):
            for sample in family.samples:
                for key, value in sample.labels.items():
                    labels.setdefault(key, set()).add(value)
    assert set(labels) <= {
        "grpc_type", "grpc_service", "grpc_method", "grpc_code", "handler", "reason", "result", "state", "type", "le",
        "version",
    }  # fmt: skip
    assert labels["handler"] == {"file"}
    assert labels["reason"] == {"CLEANUP_NOT_DUE", "ERROR", "NotSealed"}
    assert labels["type"] == {each.value for each in EventType}


def test_gauges_are_true_at_the_moment_of_the_scrape() -> None:
    world = World()
    assert world.value("garbagetruck_leases") == 0
    acquire(world, 1, FILE)
    acquire(world, 2)
    assert world.value("garbagetruck_leases") == 2
    assert world.value("garbagetruck_resources") == 2
    world.apply(ReleaseLeases(1_000, "default", ("lease-1",)))
    assert world.value("garbagetruck_cleanups", state="orphaned") == 1
    world.apply(at_ms=3_001)
    assert world.value("garbagetruck_cleanups", state="due") == 1
    assert world.value("garbagetruck_oldest_overdue_cleanup_seconds") == 0
    world.facts = a_node(clock_ms=10_501)
    assert world.value("garbagetruck_oldest_overdue_cleanup_seconds") == 7.5
    world.apply(PauseCleanups(1_000, "", "", "", "look first"))
    assert world.value("garbagetruck_cleanups_paused") == 1
    world.apply(PauseCleanups(1_000, "default", "", "", "look first"))
    assert world.value("garbagetruck_namespaces_paused") == 1


def test_the_node_says_whether_it_leads_and_is_ready() -> None:
    world = World()
    assert world.value("garbagetruck_server_has_leader") == 1
    assert world.value("garbagetruck_server_is_leader") == 1
    assert world.value("garbagetruck_ready") == 1
    world.facts = a_node(role="candidate", leader_id="", not_ready=("no leader is known",))
    assert world.value("garbagetruck_server_has_leader") == 0
    assert world.value("garbagetruck_server_is_leader") == 0
    assert world.value("garbagetruck_ready") == 0
    assert world.value("garbagetruck_server_proposals_applied_total") == 40


def test_leader_changes_are_counted_from_the_second_leader_on() -> None:
    class Status:
        def __init__(self, leader: str | None) -> None:
            self.leader = leader

    world = World()
    for leader in (None, "n1", "n1", None, "n1", "n2", None, "n3"):
        world.metrics.log.on_status(Status(leader))
    assert world.value("garbagetruck_server_leader_changes_seen_total") == 2


def test_events_are_counted_once_the_node_has_caught_up() -> None:
    world = World()
    world.metrics = NodeMetrics(lambda: world.facts, lambda: world.machine)
    world.not_ready = ("1,000 committed entries are not applied yet",)
    acquire(world, 1)
    acquire(world, 2)
    world.not_ready = ()
    acquire(world, 3)
    assert world.value("garbagetruck_events_total", type="lease_acquired") == 0
    acquire(world, 4)
    acquire(world, 5)
    assert world.value("garbagetruck_events_total", type="lease_acquired") == 2
    assert world.value("garbagetruck_operations_applied_total") == 5


def test_events_that_left_the_ring_before_they_were_looked_at_are_passed_over() -> None:
    world = World()
    world.apply(SetBounds(Bounds(events_max=3)))
    world.apply(
        *(AcquireLease(1_000, "default", "", f"lease-{number}", f"r{number}", "h", 60_000) for number in range(10))
    )
    assert world.value("garbagetruck_events_total", type="lease_acquired") == 3


def test_calls_are_counted_by_method_and_code() -> None:
    world = World()
    method = world.metrics.calls.method("garbagetruck.v1.LeaseService", "Renew", "unary")
    labels = {"grpc_type": "unary", "grpc_service": "garbagetruck.v1.LeaseService", "grpc_method": "Renew"}
    method.started()
    method.started()
    method.finished("OK", 0.003)
    assert world.value("garbagetruck_calls_in_flight") == 1
    method.finished("NOT_FOUND", 0.001)
    assert world.value("grpc_server_started_total", **labels) == 2
    assert world.value("grpc_server_handled_total", **labels, grpc_code="NOT_FOUND") == 1
    assert world.value("grpc_server_handling_seconds_count", **labels) == 2
    assert world.value("garbagetruck_calls_in_flight") == 0


def test_two_nodes_in_one_process_share_no_metric() -> None:
    one, other = World(), World()
    one.metrics.cleanups.reclaimed("file", 0.1)
    assert one.value("garbagetruck_reclaim_lateness_seconds_count") == 1
    assert other.value("garbagetruck_reclaim_lateness_seconds_count") == 0
