"""The `sql` handler against a real PostgreSQL: what it removes, what it leaves, and what it makes of each failure."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import ABSENT, NOT_OBSERVED, CleanupResult, ObservationError, Verdict
from garbagetruck.cluster.cleanup.handlers.sql import SqlHandler
from garbagetruck.cluster.cleanup.handlers.sql import handler as sql_handler
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.databases import BARE, FENCED, OBSERVE, Database
from tests.integration.cleanup.held_wire import HeldWire

HERE = {"id": "42"}
PARTS = "DELETE FROM {schema}.parts WHERE upload = :id"


async def attempt(handler: SqlHandler, parameters: dict[str, str] | None = None, *, token: int = 100) -> CleanupResult:
    """Observe and clean, as one attempt does."""
    given = parameters or HERE
    identity = await handler.observe(given)
    return await handler.clean(call_of(handler, given, token=token, identity=identity))


async def test_a_row_is_deleted_and_its_neighbours_are_not(database: Database) -> None:
    await database.write(42, 50)
    await database.write(43, 51)
    async with database.handler(database.statement(FENCED)) as handler:
        assert await handler.observe(HERE) == NOT_OBSERVED
        assert await attempt(handler) == CleanupResult.done()
        assert await database.rows() == {43: 51}
        assert await attempt(handler) == CleanupResult.already_gone()


async def test_what_is_observed_tells_one_life_of_a_row_from_another(database: Database) -> None:
    async with database.handler(database.statement(BARE, observe=OBSERVE)) as handler:
        assert await handler.observe(HERE) == ABSENT
        await database.write(42, 50)
        first = await handler.observe(HERE)
        assert first == await handler.observe(HERE)
        await database.execute("DELETE FROM uploads")
        await database.write(42, 50)
        assert await handler.observe(HERE) not in (ABSENT, first)


async def test_several_steps_are_one_transaction(database: Database) -> None:
    await database.write(42, 50)
    await database.execute("INSERT INTO parts VALUES (42, 1), (42, 2)")
    fenced = f"{PARTS} AND upload IN (SELECT id FROM {{schema}}.uploads WHERE fencing_token < :fencing_token)"
    failing = "DELETE FROM {schema}.uploads WHERE id = :id AND fencing_token / 0 < :fencing_token"
    async with database.handler(database.statement(fenced, failing, rows_max=9)) as handler:
        result = await attempt(handler)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
        assert "division by zero" in result.error
    assert len(await database.execute("SELECT FROM parts")) == 2
    async with database.handler(database.statement(fenced, FENCED, rows_max=9)) as handler:
        assert await attempt(handler) == CleanupResult.done()
    assert await database.execute("SELECT FROM parts") == []
    assert await database.rows() == {}


@pytest.mark.parametrize(("rows_min", "rows_max"), [(0, 1), (3, 9)])
async def test_more_or_fewer_rows_than_the_operator_allows_are_rolled_back_for_good(
    database: Database, rows_min: int, rows_max: int
) -> None:
    await database.write(42, 50, "a")
    await database.write(43, 50, "a")
    step = {
        "sql": f"DELETE FROM {database.schema}.uploads WHERE owner = :owner AND fencing_token < :fencing_token",
        "rows_min": rows_min,
        "rows_max": rows_max,
    }
    async with database.handler({"parameters": {"owner": "text"}, "steps": [step]}) as handler:
        result = await attempt(handler, {"owner": "a"})
        assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
        assert f"touches 2 rows, not {rows_min} to {rows_max}; nothing was changed" in result.error
    assert len(await database.rows()) == 2


async def test_rows_that_a_token_protects_are_not_taken_for_gone(database: Database) -> None:
    await database.write(42, 100)
    async with database.handler(database.statement(FENCED, observe=OBSERVE)) as handler:
        result = await attempt(handler, token=100)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "leaves rows that it shall remove" in result.error
        assert await database.rows() == {42: 100}
        assert await attempt(handler, token=101) == CleanupResult.done()


async def test_i1_a_row_that_changed_since_it_was_observed_is_left_alone(database: Database) -> None:
    async with database.handler(database.statement(BARE, observe=OBSERVE)) as handler:
        call = call_of(handler, HERE, identity=await handler.observe(HERE))
        await database.write(42, 50)
        result = await handler.clean(call)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "changed since it was observed: it was absent" in result.error
    assert await database.rows() == {42: 50}


@pytest.mark.parametrize(
    ("kind", "column", "stored", "given"),
    [
        ("text", "text", "'it''s'", "it's"),
        ("text", "varchar(20)", "'x'", "x"),
        ("integer", "int2", "7", "007"),
        ("integer", "int4", "7", "7"),
        ("integer", "int8", "9223372036854775807", "9223372036854775807"),
        ("integer", "numeric", "7", "7"),
        ("uuid", "uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"),
        ("boolean", "bool", "true", "true"),
        ("date", "date", "'2030-02-28'", "2030-02-28"),
    ],
)
async def test_each_kind_is_bound_to_the_types_that_fit_it(
    database: Database, kind: str, column: str, stored: str, given: str
) -> None:
    await database.execute(f"CREATE TABLE kept (value {column}, token bigint)")
    await database.execute(f"INSERT INTO kept VALUES ({stored}, 1)")
    step = {"sql": f"DELETE FROM {database.schema}.kept WHERE value = :value AND token < :fencing_token"}
    async with database.handler({"parameters": {"value": kind}, "steps": [step]}) as handler:
        assert await attempt(handler, {"value": given}) == CleanupResult.done()


async def test_the_facts_of_the_claim_can_be_bound(database: Database) -> None:
    await database.execute("CREATE TABLE notes (key uuid, token bigint, resource text, namespace text, cluster text)")
    noted = (
        ":idempotency_key, :fencing_token, CAST(:resource AS text), CAST(:namespace AS text), CAST(:cluster AS text)"
    )
    note = f"INSERT INTO {{schema}}.notes SELECT {noted} WHERE 0 < CAST(:id AS bigint)"
    async with database.handler(database.statement(note)) as handler:
        call = call_of(handler, HERE, token=2**53 - 1, identity=NOT_OBSERVED, resource="uploads/'; --")
        assert await handler.clean(call) == CleanupResult.done()
    ((key, *rest),) = await database.execute("SELECT * FROM notes")
    assert key.hex == call.idempotency_key
    assert rest == [2**53 - 1, "uploads/'; --", "default", "cluster-1"]


@pytest.mark.parametrize(
    "value",
    [
        "'; DELETE FROM uploads; --",
        "x' OR '1'='1",
        "$1",
        ":id",
        "\\'; DELETE FROM uploads; --",
        "/*",
        "%",
        "x\u2019 or 1=1",
    ],
)
async def test_i1_a_value_is_never_read_as_sql(database: Database, value: str) -> None:
    await database.write(42, 50, "somebody")
    await database.write(43, 50, value)
    step = {"sql": f"DELETE FROM {database.schema}.uploads WHERE owner = :owner AND fencing_token < :fencing_token"}
    async with database.handler({"parameters": {"owner": "text"}, "steps": [step]}) as handler:
        assert await attempt(handler, {"owner": value}) == CleanupResult.done()
    assert await database.rows() == {42: 50}


async def test_a_value_that_does_not_fit_its_column_is_a_dead_letter(database: Database) -> None:
    await database.execute("CREATE TABLE small (value int2, token bigint)")
    step = {"sql": f"DELETE FROM {database.schema}.small WHERE value = :value AND token < :fencing_token"}
    async with database.handler({"parameters": {"value": "integer"}, "steps": [step]}) as handler:
        result = await attempt(handler, {"value": "70000"})
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "70000" in result.error


async def test_i8_nothing_is_changed_when_the_attempt_may_not_proceed(database: Database) -> None:
    await database.write(42, 50)
    async with database.handler(database.statement(FENCED)) as handler:
        for allowed in (0, 1):  # the second time it may run its step, and not commit
            answers: Iterator[bool] = iter([True] * allowed + [False] * 9)
            call = call_of(handler, HERE, identity=NOT_OBSERVED, still_leading=lambda: next(answers))  # noqa: B023
            result = await handler.clean(call)
            assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
            assert await database.rows() == {42: 50}


async def test_i8_a_cancelled_attempt_is_rolled_back_and_its_connection_not_used_again(database: Database) -> None:
    await database.write(42, 50)
    wire = HeldWire("127.0.0.1", database.server.port)
    statement = database.statement(FENCED)
    async with wire.served(), database.handler(statement, wire.port, connections_max=1) as handler:
        wire.hold(b"COMMIT")
        running = asyncio.create_task(attempt(handler))
        await asyncio.wait_for(wire.held.wait(), 20)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        wire.let_go()
        assert await attempt(handler) in (CleanupResult.done(), CleanupResult.already_gone())
    assert await database.rows() == {}


async def test_another_transactions_lock_is_waited_for_as_long_as_the_operator_says(database: Database) -> None:
    await database.write(42, 50)
    async with database.handler(database.statement(FENCED), lock_timeout="50ms") as handler:
        await database.execute("BEGIN")
        await database.execute("SELECT FROM uploads FOR UPDATE")
        result = await attempt(handler)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "lock timeout" in result.error
        await database.execute("ROLLBACK")
        assert await attempt(handler) == CleanupResult.done()


async def test_a_statement_ends_after_as_long_as_the_operator_says(database: Database) -> None:
    slow = "SELECT pg_sleep(60) WHERE 0 < CAST(:fencing_token AS bigint) AND 0 < CAST(:id AS bigint)"
    bounds = {"lock_timeout": "50ms", "statement_timeout": "50ms"}
    async with database.handler(database.statement(slow), **bounds) as handler:
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "statement timeout" in result.error


async def test_a_database_that_is_away_fails_the_attempt_and_keeps_no_node_from_starting(database: Database) -> None:
    async with database.handler(database.statement(FENCED, observe=OBSERVE), 1) as handler:
        with pytest.raises(ObservationError) as caught:
            await handler.observe(HERE)
        assert caught.value.retryable
        result = await handler.clean(call_of(handler, HERE))
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)


async def test_a_password_may_change_and_is_shown_nowhere(database: Database, tmp_path: Path) -> None:
    kept = tmp_path / "password"
    kept.write_text("hush-wrong")
    async with database.handler(database.statement(FENCED), password_file=str(kept)) as handler:
        result = await attempt(handler)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "password" in result.error
        assert "hush-wrong" not in result.error
        kept.write_bytes(database.server.password_file.read_bytes())
        assert await attempt(handler) == CleanupResult.already_gone()
        assert "hush-wrong" not in repr(handler)


async def test_more_attempts_than_connections_wait_for_each_other(database: Database) -> None:
    for number in range(20):
        await database.write(number, 50)
    async with database.handler(database.statement(FENCED), connections_max=2) as handler:
        results = await asyncio.gather(*(attempt(handler, {"id": str(number)}) for number in range(20)))
    assert set(results) == {CleanupResult.done()}
    assert await database.rows() == {}


async def test_what_observe_finds_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_handler, "OBSERVED_ROWS_MAX", 2)
    many = "SELECT generate_series(1, 1000000000) WHERE 0 < CAST(:id AS bigint)"
    async with database.handler(database.statement(BARE, observe=many)) as handler:
        with pytest.raises(ObservationError, match="more than 2 rows") as caught:
            await handler.observe(HERE)
        assert not caught.value.retryable


async def test_i1_observing_changes_nothing_whatever_it_calls(database: Database) -> None:
    await database.write(42, 50)
    schema = database.schema
    await database.execute(
        f"CREATE FUNCTION {schema}.sweep() RETURNS int LANGUAGE sql AS 'DELETE FROM {schema}.uploads RETURNING 1'"
    )
    sly = "SELECT {schema}.sweep() WHERE 0 < CAST(:id AS bigint)"
    async with database.handler(database.statement(BARE, observe=sly)) as handler:
        with pytest.raises(ObservationError, match="read-only transaction"):
            await handler.observe(HERE)
    assert await database.rows() == {42: 50}


# -- config check -----------------------------------------------------------------------------------------------


async def problems_of(database: Database, *statements: dict[str, object], **options: object) -> list[str]:
    named = {f"s{number}": each for number, each in enumerate(statements)}
    handler = database.made_handler(statements=named, **options)
    return list(await asyncio.to_thread(handler.check))


async def test_check_finds_nothing_where_nothing_is_wrong(database: Database) -> None:
    assert await problems_of(database, database.statement(FENCED), database.statement(BARE, observe=OBSERVE)) == []


async def test_check_has_the_server_read_every_statement(database: Database) -> None:
    char = "DELETE FROM {schema}.chars WHERE value = :value AND token < :fencing_token"
    await database.execute("CREATE TABLE chars (value char(3), token int)")
    problems = await problems_of(
        database,
        database.statement("DELETE FROM {schema}.absent WHERE id = :id AND token < :fencing_token"),
        database.statement(char, parameters={"value": "text"}),
        database.statement(char.replace(":value", "CAST(:value AS text)"), parameters={"value": "text"}),
        database.statement(FENCED, "DELETE FRM x WHERE :id < :fencing_token"),
        database.statement(BARE, observe="SELECT nothing FROM {schema}.uploads WHERE id = :id"),
        database.statement(FENCED, parameters={"id": "text"}),
    )
    told = "\n".join(problems)
    assert 'statements.s0.steps[0]: relation "' in told
    assert "statements.s1.steps[0]: :value would be of type bpchar" in told
    assert "write CAST(:value AS text)" in told
    assert "statements.s2.steps[0]: :fencing_token would be of type int4" in told
    assert "write CAST(:fencing_token AS bigint)" in told
    assert "statements.s3.steps[1]: syntax error" in told
    assert "statements.s4.observe: column" in told
    assert "statements.s5.steps[0]: :id would be of type int8" in told
    assert len(problems) == 6


async def test_check_tells_what_the_account_may_not_do(database: Database, tmp_path: Path) -> None:
    name, password = f"r{database.schema}", "of-a-reader"
    await database.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await database.execute(f"GRANT USAGE ON SCHEMA {database.schema} TO {name}")
    kept = tmp_path / "password"
    kept.write_text(password)
    try:
        dsn = database.dsn().replace("garbagetruck@", f"{name}@")
        (problem,) = await problems_of(database, database.statement(FENCED), dsn=dsn, password_file=str(kept))
        assert "permission denied for table uploads" in problem
    finally:
        await database.execute(f"DROP OWNED BY {name}")
        await database.execute(f"DROP ROLE {name}")


async def test_check_tells_when_the_database_cannot_be_reached(database: Database, tmp_path: Path) -> None:
    assert len(await problems_of(database, database.statement(FENCED), dsn=database.dsn(port=1))) == 1
    (problem,) = await problems_of(database, database.statement(FENCED), password_file=str(tmp_path / "none"))
    assert "cannot be read" in problem
