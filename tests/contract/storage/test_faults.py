"""What befalls PostgreSQL and those who write to it, one thing at a time."""

import asyncio
import math
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from garbagetruck.storage.embedded.server import EmbeddedPostgres
from garbagetruck.storage.errors import (
    Fenced,
    SnapshotDamaged,
    StorageTimedOut,
    StorageUnreachable,
)
from garbagetruck.storage.postgres.connections import PROBES
from garbagetruck.storage.postgres.queries import queries
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import CHUNK_BYTES_MAX, Span
from tests.contract.storage.processes import kill, stopped
from tests.contract.storage.rigs import SHORT, PostgresRig, until
from tests.contract.storage.samples import (
    FIRST,
    LEADER,
    SECOND,
    SUCCESSOR,
    archive,
    archived,
    content,
    entries,
    header,
    store,
)

COPYING = "state = 'active' AND query LIKE 'COPY %'"


@pytest.fixture
def rig(server: EmbeddedPostgres) -> PostgresRig:
    return PostgresRig(server)


@pytest.fixture
async def storage(rig: PostgresRig) -> AsyncIterator[Storage]:
    async with rig.open(**SHORT) as opened:
        await opened.incarnations.reserve(FIRST, by="n1")
        yield opened


@asynccontextmanager
async def slow_copies(rig: PostgresRig, table: str, seconds: float) -> AsyncIterator[None]:
    """Every row that is copied for this rig's clusters takes so long."""
    name = f"slow_{rig.cluster_id().partition('-')[0]}"
    await rig.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END'"
    )
    condition = f"NEW.cluster_id = '{rig.cluster_id()}'"
    await rig.execute(
        f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {name}()"
    )
    try:
        yield
    finally:
        # One whose client has gone sleeps on until a row is copied, and is in the way until then.
        await rig.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {COPYING}")
        await rig.execute(f"DROP FUNCTION {name} CASCADE")


async def is_copying(rig: PostgresRig) -> bool:
    return bool(await rig.execute(f"SELECT FROM pg_stat_activity WHERE {COPYING}"))


@pytest.mark.parametrize("table", ["archive_entries", "snapshot_chunks"])
async def test_killed_in_the_middle_of_a_copy(rig: PostgresRig, server: EmbeddedPostgres, table: str) -> None:
    of = header(3)
    async with rig.open() as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await archive(storage, 4)
        sink = await storage.snapshots.begin(of)
        await sink.write(b"x" * CHUNK_BYTES_MAX)
        async with slow_copies(rig, table, 5.0):
            copying: asyncio.Task[object]
            if table == "archive_entries":
                copying = asyncio.create_task(storage.archive.append(LEADER, entries(5, 9)))
            else:
                copying = asyncio.create_task(sink.write(b"y" * CHUNK_BYTES_MAX))
            await until(lambda: is_copying(rig))
            await asyncio.to_thread(kill, server)
            with pytest.raises(StorageUnreachable):
                await copying
            with pytest.raises(StorageUnreachable):
                await storage.archive.resume(LEADER)
            await sink.abandon()
            await asyncio.to_thread(server.start)
        assert await storage.archive.resume(LEADER) == Span(1, 4, 3)
        assert await storage.snapshots.whole() == []
        await storage.archive.append(LEADER, entries(5, 9))
        assert await archived(storage, 1) == entries(1, 9)
        await store(storage, header(4))
        left = await rig.execute("SELECT FROM snapshots WHERE cluster_id = $1", rig.cluster_id())
        assert len(left) == 1, "what was half written is gone since the same node began again"


async def test_stopped_for_longer_than_every_timeout(
    storage: Storage, server: EmbeddedPostgres, rig: PostgresRig
) -> None:
    await archive(storage, 4)
    loop = asyncio.get_running_loop()
    with stopped(server):
        for _ in range(2):
            began = loop.time()
            with pytest.raises(StorageTimedOut):
                await storage.archive.append(LEADER, entries(5, 6))
            assert loop.time() - began < 10.0, "it was waited for, with a bound"
        with pytest.raises(StorageTimedOut):
            await storage.snapshots.whole()
    span = await storage.archive.resume(LEADER)
    assert span in (Span(1, 4, 3), Span(1, 6, 3)), "whether it happened was not known; now it is"
    await storage.archive.append(LEADER, entries(span.next_index, span.next_index + 3))
    assert await archived(storage, 1) == entries(1, span.next_index + 3)


async def test_leaving_while_the_server_is_stopped_takes_a_bounded_time(
    rig: PostgresRig, server: EmbeddedPostgres
) -> None:
    async with rig.open(**SHORT) as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        with stopped(server):
            async with asyncio.timeout(10.0):
                await storage.__aexit__(None, None, None)


async def test_a_leader_that_is_deposed_in_the_middle_of_an_append(rig: PostgresRig) -> None:
    """Its successor waits for what is under way, and finds it; what comes after that is refused."""
    async with rig.open() as first, rig.open() as second:
        await first.incarnations.reserve(FIRST, by="n1")
        await archive(first, 4)
        async with slow_copies(rig, "archive_entries", 0.3):
            appending = asyncio.create_task(first.archive.append(LEADER, entries(5, 5)))
            await until(lambda: is_copying(rig))
            assert await second.archive.resume(SUCCESSOR) == Span(1, 5, 3)
            assert await appending == Span(1, 5, 3)
        with pytest.raises(Fenced):
            await first.archive.append(LEADER, entries(6, 6))


@pytest.mark.parametrize("table", ["archive_entries", "snapshot_chunks"])
async def test_i9_a_reservation_waits_for_what_is_under_way_and_lets_nothing_follow(
    rig: PostgresRig, table: str
) -> None:
    async with rig.open() as old, rig.open() as restore:
        await old.incarnations.reserve(FIRST, by="n1")
        await archive(old, 4)
        sink = await old.snapshots.begin(header(4))
        async with slow_copies(rig, table, 0.3):
            writing: asyncio.Task[object]
            if table == "archive_entries":
                writing = asyncio.create_task(old.archive.append(LEADER, entries(5, 5)))
            else:
                writing = asyncio.create_task(sink.write(b"x" * CHUNK_BYTES_MAX))
            await until(lambda: is_copying(rig))
            await restore.incarnations.reserve(SECOND, by="a restore")
            found = await restore.archive.spans(1)
            await writing
        assert await restore.archive.spans(1) == found, "written after the restore had looked"
        with pytest.raises(Fenced):
            await old.archive.append(LEADER, entries(6, 6))
        with pytest.raises(Fenced):
            await sink.finish()
        await sink.abandon()


async def test_a_writer_that_stands_still_in_a_transaction_is_in_the_way_for_a_bounded_time(
    rig: PostgresRig, storage: Storage
) -> None:
    await archive(storage, 4)
    password = rig.server.password_file.read_text(encoding="utf-8")
    settings = {"search_path": rig.schema, "idle_in_transaction_session_timeout": "1000"}
    still = await asyncpg.connect(rig.server.dsn, password=password, server_settings=settings)
    try:
        await still.execute("BEGIN")
        await still.fetch(queries()["incarnation_lock_for_archive"], rig.cluster_id(), 1)
        with pytest.raises(StorageTimedOut):
            await storage.archive.resume(SUCCESSOR)
        await until(lambda: _closed(still))
        assert await storage.archive.resume(SUCCESSOR) == Span(1, 4, 3)
    finally:
        still.terminate()


async def test_a_writer_whose_machine_is_gone_is_probed_for_soon(rig: PostgresRig, storage: Storage) -> None:
    """In the middle of a COPY no timeout of the server's holds, and a lock would stand for as long as the kernel waits."""
    await archive(storage, 4)
    seen: list[float] = []

    async def all_probed() -> bool:
        seen[:] = probed_after_s(rig.server.port)
        return bool(seen) and math.inf not in seen

    await until(all_probed)
    assert max(seen) <= float(PROBES["tcp_keepalives_idle"]), "the kernel's own would be two hours"


def probed_after_s(port: int) -> list[float]:
    """When the kernel probes next, for each connection that was made to this port; see proc_net_tcp in its documentation."""
    found = []
    for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        if int(local.partition(":")[2], 16) == port and state == "01":
            kind, _, ticks = timer.partition(":")
            found.append(int(ticks, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else math.inf)
    return found


async def _closed(connection: asyncpg.Connection) -> bool:
    return bool(connection.is_closed())


async def test_a_writer_of_snapshots_is_not_in_the_way_of_the_archive(rig: PostgresRig, storage: Storage) -> None:
    await archive(storage, 4)
    async with rig.open(lock_timeout_ms=200) as slow, slow_copies(rig, "snapshot_chunks", 5.0):
        sink = await slow.snapshots.begin(header(4))
        writing = asyncio.create_task(sink.write(b"x" * CHUNK_BYTES_MAX))
        await until(lambda: is_copying(rig))
        await storage.archive.append(LEADER, entries(5, 9))
        assert not writing.done()
        writing.cancel()
        await asyncio.wait([writing])
        await sink.abandon()
    assert await storage.snapshots.whole() == []


async def test_a_broken_connection_is_replaced(rig: PostgresRig, storage: Storage) -> None:
    await archive(storage, 4)
    await rig.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'garbagetruck'")
    span: Span | None = None
    for _ in range(5):
        try:
            span = await storage.archive.resume(LEADER)
            break
        except StorageUnreachable:
            continue
    assert span == Span(1, 4, 3)


async def test_a_cancelled_write_leaves_nothing_half_done(rig: PostgresRig, storage: Storage) -> None:
    await archive(storage, 4)
    async with slow_copies(rig, "archive_entries", 0.05):
        for number in range(6):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02 * number):
                    await storage.archive.append(LEADER, entries(5, 24))
    span = await storage.archive.resume(LEADER)
    assert span == Span(1, 4, 3)
    await storage.archive.append(LEADER, entries(5, 24))
    assert await archived(storage, 1) == entries(1, 24)


async def test_a_chunk_that_was_put_at_anothers_place_is_found(rig: PostgresRig, storage: Storage) -> None:
    stored = await store(storage, header(4))
    snapshot_id = stored.header.snapshot_id
    for before, after in ((1, 99), (2, 1), (99, 2)):
        await rig.execute(
            "UPDATE snapshot_chunks SET number = $3 WHERE cluster_id = $1 AND snapshot_id = $2 AND number = $4",
            rig.cluster_id(),
            snapshot_id,
            after,
            before,
        )
    with pytest.raises(SnapshotDamaged) as caught:
        await content(storage, snapshot_id)
    assert caught.value.chunk == 1


def test_i10_no_statement_asks_for_the_servers_time() -> None:
    """Its clock may say what it likes: it is only written down, by migrations, for people to read."""
    clock = re.compile(r"\b(now|clock_timestamp|statement_timestamp|timeofday|age|interval|current_\w+|localtime\w*)\b")
    told = {name: re.sub(r"--.*", "", text) for name, text in queries().items()}
    assert {name for name, text in told.items() if clock.search(text.lower())} == set()
