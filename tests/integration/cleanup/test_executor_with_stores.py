"""Machine, executor and the handlers of stores together: from the last lease's end to the row's, and the objects'."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import ExecutorSettings, HandlerSettings
from garbagetruck.cluster.machine.model import CleanupSpec, ResourceState, Tombstone
from garbagetruck.cluster.machine.outcomes import Reason
from tests.integration.cleanup.databases import BARE, FENCED, OBSERVE, Database
from tests.integration.cleanup.machine_ledger import MachineLedger
from tests.integration.cleanup.stores import CREDENTIALS, Bucket
from tests.unit.machine.scribe import Scribe, refused

PATIENCE_S = 60.0
A_DELAY_MS = 20_000
"""More than any delay between two attempts."""


class Cluster:
    """One node that leads, with one handler, `store`."""

    def __init__(self, registry: HandlerRegistry) -> None:
        self.ledger = MachineLedger(Scribe().begin())
        self.registry = registry

    def lease(self, resource: str, **parameters: str) -> tuple[str, int]:
        """Its id and its token."""
        spec = self.registry.complete("store", parameters)
        lease = self.ledger.scribe.lease(resource, cleanup=spec)
        return lease.id, lease.fencing_token

    def release(self, lease_id: str) -> None:
        self.ledger.apply(self.ledger.scribe.releasing(lease_id))
        self.ledger.advance(1)

    def state_of(self, resource: str) -> ResourceState:
        found = self.ledger.scribe.machine.resource("default", resource)
        if isinstance(found, Tombstone):
            return ResourceState.CLEANED
        assert found is not None
        return found.state

    def error_of(self, resource: str) -> str:
        return self.ledger.scribe.resource(resource).last_error


@asynccontextmanager
async def cluster_with(kind: str, **options: object) -> AsyncIterator[Cluster]:
    registry = build_registry(
        [HandlerSettings(name="store", kind=kind, options=options)], run_blocking=run_directly, environ={}
    )
    await registry.start()
    cluster = Cluster(registry)
    errors: list[BaseException] = []
    executor = CleanupExecutor(
        node_id="n1",
        ledger=cluster.ledger,
        registry=registry,
        settings=ExecutorSettings(slots_max=4, attempt_timeout_ms=20_000),
        monotonic_ns=time.monotonic_ns,
        random=Random(1),
        on_fatal=errors.append,
    )
    executor.started_leading(1)
    try:
        yield cluster
    finally:
        await executor.stop()
        await registry.stop()
    assert errors == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the store is another process's, which has no event for us
            await asyncio.sleep(0.01)


def of_database(database: Database, *statements: dict[str, object]) -> dict[str, object]:
    return {
        "dsn": database.dsn(),
        "password_file": str(database.server.password_file),
        "statements": {f"s{number}": each for number, each in enumerate(statements)},
    }


async def test_i1_i4_the_rows_of_ended_leases_are_removed_and_those_in_use_stay(database: Database) -> None:
    async with cluster_with("sql", **of_database(database, database.statement(FENCED, observe=OBSERVE))) as cluster:
        leases = {}
        for key in range(20):
            leases[key], token = cluster.lease(f"rows/{key}", id=str(key))
            await database.write(key, token)
        for key in range(0, 20, 2):
            cluster.release(leases[key])
        await until(lambda: all(cluster.state_of(f"rows/{key}") is ResourceState.CLEANED for key in range(0, 20, 2)))
        assert (await database.rows()).keys() == set(range(1, 20, 2))


async def test_i4_a_statement_that_touches_too_much_ends_as_a_dead_letter_with_its_reason(database: Database) -> None:
    wide = "DELETE FROM {schema}.uploads WHERE id >= :id AND fencing_token < :fencing_token"
    async with cluster_with("sql", **of_database(database, database.statement(wide))) as cluster:
        lease_id, token = cluster.lease("rows/1", id="1")
        await database.write(1, token)
        await database.write(2, token)
        cluster.release(lease_id)
        await until(lambda: cluster.state_of("rows/1") is ResourceState.DEAD_LETTER)
        assert "touches 2 rows, not 0 to 1" in cluster.error_of("rows/1")
        assert (await database.rows()).keys() == {1, 2}


async def test_i4_a_statement_that_is_not_registered_any_more_is_a_dead_letter_that_says_so(database: Database) -> None:
    async with cluster_with("sql", **of_database(database, database.statement(FENCED))) as cluster:
        spec = CleanupSpec("store", (("id", "1"), ("statement", "former")), "sql:/store/former/1")
        cluster.release(cluster.ledger.scribe.lease("rows/1", cleanup=spec).id)
        await until(lambda: cluster.state_of("rows/1") is ResourceState.DEAD_LETTER)
        assert "statement: is not registered; name one of s0" in cluster.error_of("rows/1")


async def test_i1_two_statements_for_one_row_cannot_have_two_owners(database: Database) -> None:
    statements = [
        database.statement(FENCED, target="uploads/:id"),
        database.statement(BARE, observe=OBSERVE, target="uploads/:id"),
    ]
    async with cluster_with("sql", **of_database(database, *statements)) as cluster:
        cluster.lease("one", statement="s0", id="42")
        spec = cluster.registry.complete("store", {"statement": "s1", "id": "042"})
        (outcome,) = cluster.ledger.apply(cluster.ledger.scribe.acquiring("two", cleanup=spec))
        refused(outcome, Reason.TARGET_IN_USE)


async def test_i4_a_prefix_is_removed_in_portions_until_nothing_is_left(versioned: Bucket) -> None:
    options: dict[str, object] = {"buckets": {versioned.name: ["jobs/"]}, "fence": "version", "objects_max": 4}
    reached = {"endpoint_url": versioned.url, "credentials": CREDENTIALS}
    async with cluster_with("s3", **options, **reached) as cluster:
        lease_id, _ = cluster.lease("jobs/7", prefix="jobs/7/")
        for number in range(10):
            await versioned.write(f"jobs/7/{number}")
        await versioned.write("jobs/70/0")
        cluster.release(lease_id)
        for failures in (1, 2):
            await until(lambda: cluster.ledger.scribe.resource("jobs/7").failures == failures)  # noqa: B023
            assert "4 were removed, and more are left" in cluster.error_of("jobs/7")
            cluster.ledger.advance(A_DELAY_MS)
        await until(lambda: cluster.state_of("jobs/7") is ResourceState.CLEANED)
        assert await versioned.keys() == {"jobs/70/0"}
