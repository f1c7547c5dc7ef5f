"""Reading: pages in order of creation, fair turns for cleanups, numbers that add up, and no trace of having looked."""

import sys
import time

import pytest

from garbagetruck.cluster.machine import pages
from garbagetruck.cluster.machine.model import Bounds, CleanupSpec, Resource, ResourceKey, ResourceState
from garbagetruck.cluster.machine.outcomes import LeaseGranted
from garbagetruck.cluster.machine.questions import LeaseFilter, ResourceFilter
from garbagetruck.cluster.machine.resource_table import ResourceTable
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import Scribe, accepted, file


@pytest.fixture
def log() -> Scribe:
    return Scribe().begin()


def told_in_pages(log: Scribe, wanted: LeaseFilter, limit: int) -> list[list[str]]:
    found, after = [], 0
    while True:
        page = log.machine.leases(wanted, after, limit, log.at_ms)
        found.append([each.resource for each in page.items])
        if not page.next_after:
            return found
        after = page.next_after


def test_pages_are_in_order_of_creation_and_end_exactly(log: Scribe) -> None:
    for number in range(6):
        log.lease(f"r{number}", f"h{number % 2}", labels=(("even", "yes"),) if number % 2 == 0 else ())
    everything = LeaseFilter("default")
    assert told_in_pages(log, everything, 4) == [["r0", "r1", "r2", "r3"], ["r4", "r5"]]
    assert told_in_pages(log, everything, 3) == [["r0", "r1", "r2"], ["r3", "r4", "r5"]]
    assert told_in_pages(log, LeaseFilter("default", holder="h1"), 2) == [["r1", "r3"], ["r5"]]
    assert told_in_pages(log, LeaseFilter("default", labels=(("even", "yes"),)), 2) == [["r0", "r2"], ["r4"]]
    assert told_in_pages(log, LeaseFilter("default", resource="r3"), 2) == [["r3"]]
    assert told_in_pages(log, LeaseFilter("default", session_id="none"), 2) == [[]]
    assert told_in_pages(log, LeaseFilter("nowhere"), 2) == [[]]


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("holder", ["", "h1", "nobody"])
def test_a_list_that_matches_little_is_told_in_short_pages(
    log: Scribe, holder: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call looks at a bounded number of rows: filtering a million leases must not stop a node's loop."""
    monkeypatch.setattr(pages, "SCANNED_ROWS_MAX", 4)
    for number in range(30):
        log.lease(f"r{number}", f"h{number % 3}", cleanup=file(f"f{number}"))
    log.release(*(f"lease-{number}" for number in (3, 4, 5, 20)))
    wanted = LeaseFilter("default", holder=holder)
    told = told_in_pages(log, wanted, limit)
    everything = [
        f"r{number}" for number in range(30) if number + 1 not in (3, 4, 5, 20) and holder in ("", f"h{number % 3}")
    ]
    assert [name for page in told for name in page] == everything
    assert all(len(page) <= min(limit, 4) for page in told)
    due: list[Resource] = []
    page = log.machine.cleanups("default", None, 0, limit)
    while page.next_after:
        due += page.items
        page = log.machine.cleanups("default", None, page.next_after, limit)
    assert [each.name for each in (*due, *page.items)] == ["r2", "r3", "r4", "r19"]


def test_a_page_goes_on_where_it_stopped_though_leases_come_and_go(log: Scribe) -> None:
    ids = [log.lease(f"r{number}").id for number in range(6)]
    first = log.machine.leases(LeaseFilter("default"), 0, 2, log.at_ms)
    log.release(ids[1], ids[2])
    log.lease("r6")
    rest = log.machine.leases(LeaseFilter("default"), first.next_after, 10, log.at_ms)
    assert [each.resource for each in rest.items] == ["r3", "r4", "r5", "r6"]


def test_sessions_and_resources_are_listed_likewise(log: Scribe) -> None:
    for number in range(4):
        log.session(f"h{number % 2}")
        log.lease(f"{'ab'[number % 2]}{number}", f"h{number}", cleanup=file(f"f{number}"))
    log.release_holder("h3")
    page = log.machine.sessions("default", "h1", 0, 1, log.at_ms)
    assert len(page.items) == 1
    rest = log.machine.sessions("default", "h1", page.next_after, 1, log.at_ms)
    assert (len(rest.items), rest.next_after) == (1, 0)
    names = [each.name for each in log.machine.resources(ResourceFilter("default", prefix="b"), 0, 10).items]
    assert names == ["b1", "b3"]
    due = log.machine.resources(ResourceFilter("default", state=ResourceState.DUE), 0, 10).items
    assert [each.name for each in due] == ["b3"]


def test_cleanups_take_turns_between_namespaces(log: Scribe) -> None:
    for namespace, count in (("default", 5), ("team", 2), ("club", 1)):
        log.namespace = namespace
        log.settings(namespace)
        for number in range(count):
            log.release(log.lease(f"r{number}", cleanup=file(f"{namespace}{number}")).id)
    order = [(each.namespace, each.name) for each in log.machine.ready(7)]
    assert order == [
        ("default", "r0"),
        ("team", "r0"),
        ("club", "r0"),
        ("default", "r1"),
        ("team", "r1"),
        ("default", "r2"),
        ("default", "r3"),
    ]


def test_one_crowded_namespace_does_not_hide_behind_a_paused_one(log: Scribe) -> None:
    log.settings("team")
    for namespace in ("default", "team"):
        log.namespace = namespace
        log.release(log.lease("r", cleanup=file(namespace)).id)
    log.one(log.pausing("default"))
    assert [each.namespace for each in log.machine.ready(10)] == ["team"]


def test_what_waits_of_one_handler_is_read_no_further_than_it_is_asked_for(
    log: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        unknown = CleanupSpec("unknown", (), f"elsewhere:/f{number}")
        log.release(log.lease(f"u{number}", cleanup=unknown).id)
    for number in range(5):
        log.release(log.lease(f"r{number}", cleanup=file(f"f{number}")).id)
    read: list[ResourceKey] = []
    look = ResourceTable.__getitem__

    def note(table: ResourceTable, key: ResourceKey) -> Resource:
        read.append(key)
        return look(table, key)

    monkeypatch.setattr(ResourceTable, "__getitem__", note)
    assert log.machine.ready_counts() == {"unknown": 500, "file": 5}
    assert log.machine.has_ready()
    waiting = log.machine.waiting("file")
    assert read == []
    assert [next(waiting["default"]).name for _ in range(2)] == ["r0", "r1"]
    assert len(read) == 2


def test_what_waits_leaves_out_namespaces_that_may_not_clean_and_counts_them(log: Scribe) -> None:
    log.settings("team")
    for namespace in ("default", "team"):
        log.namespace = namespace
        log.release(log.lease("r", cleanup=file(namespace)).id)
    log.one(log.pausing("default"))
    assert list(log.machine.waiting("file")) == ["team"]
    assert log.machine.ready_counts() == {"file": 2}
    log.one(log.pausing())
    assert log.machine.waiting("file") == {}
    assert not log.machine.has_ready()


def test_handlers_take_turns_so_that_one_with_a_backlog_holds_up_no_other(log: Scribe) -> None:
    for number in range(5):
        log.release(log.lease(f"slow{number}", cleanup=CleanupSpec("http", (), f"http:/f{number}")).id)
    log.release(log.lease("quick", cleanup=file("f")).id)
    assert [each.name for each in log.machine.ready(3)] == ["slow0", "quick", "slow1"]


def test_what_is_overdue_counts_from_when_it_could_be_cleaned(log: Scribe) -> None:
    assert log.machine.summary().oldest_due_ms is None
    log.release(log.lease("r1", cleanup=file("a")).id)
    due_ms = log.at_ms
    log.advance(500)
    log.release(log.lease("r2", cleanup=file("b")).id)
    assert log.machine.summary().oldest_due_ms == due_ms
    log.one(log.pausing())
    assert log.machine.summary().oldest_due_ms is None, "a pause is no lateness of ours"
    log.one(log.resuming())
    log.one(log.holding("r1"))
    assert log.machine.summary().oldest_due_ms == due_ms + 500
    log.claim("r2")
    assert log.machine.summary().oldest_due_ms is None


def test_the_summary_and_the_usage_add_up(log: Scribe) -> None:
    log.settings("team")
    session = log.session("ann")
    for number in range(3):
        log.lease(f"r{number}", "ann", session=session.id, cleanup=file(f"f{number}"))
    log.namespace = "team"
    log.release(log.lease("due", cleanup=file("due")).id)
    log.release(log.lease("claimed", cleanup=file("claimed")).id)
    log.claim("claimed")
    summary = log.machine.summary()
    assert (summary.leases, summary.sessions, summary.resources) == (3, 1, 5)
    assert (summary.due, summary.claimed, summary.dead_letter) == (1, 1, 0)
    ours, theirs = log.machine.usage("default"), log.machine.usage("team")
    assert (ours.leases, ours.sessions, ours.holders, ours.resources) == (3, 1, 1, 3)
    assert (theirs.due, theirs.claimed, theirs.resources) == (1, 1, 2)


def test_looking_changes_nothing(log: Scribe) -> None:
    log.bounds(Bounds(expirations_per_batch_max=1))
    for number in range(5):
        log.lease(f"r{number}", ttl_ms=1_000, cleanup=file(f"f{number}"))
    log.outlast(1_000)
    digest = log.machine.digest()
    log.machine.leases(LeaseFilter("default"), 0, 100, log.at_ms + 10_000)
    log.machine.ready(100)
    log.machine.summary()
    log.machine.next_deadline_ms()
    assert log.machine.sweep_backlog()
    assert log.machine.digest() == digest
    assert log.machine.clock_ms == log.at_ms


def test_a_backlog_of_many_cleanups_takes_little_room_and_no_time_to_ask(log: Scribe) -> None:
    """Its index keeps a name of each, and what is asked for costs what is read."""
    count = 20_000
    for start in range(0, count, 1_000):
        names = [f"r{number}" for number in range(start, start + 1_000)]
        granted = log.many(*(log.acquiring(name, cleanup=file(name)) for name in names))
        log.many(log.releasing(*(accepted(each, LeaseGranted).lease.id for each in granted)))
    ready = state_of(log.machine).ready
    held = ready.handlers("default")["file"]
    assert log.machine.ready_counts() == {"file": count}
    assert sys.getsizeof(held) + sum(map(sys.getsizeof, held)) < 200 * count
    began_s = time.process_time()
    for _ in range(1_000):
        assert next(log.machine.waiting("file")["default"]).name == "r0"
    assert time.process_time() - began_s < 1.0, "a scan of all of them would take a hundred times as long"
