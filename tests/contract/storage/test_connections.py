"""How PostgreSQL is reached: log-in, TLS, several hosts, the schema's version; and what errors do not say."""

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from garbagetruck.storage.embedded.server import HOST, USER, EmbeddedPostgres
from garbagetruck.storage.errors import (
    SchemaTooNew,
    SchemaTooOld,
    StorageError,
    StorageMisconfigured,
    StorageUnreachable,
)
from garbagetruck.storage.postgres import schema as schemas
from garbagetruck.storage.postgres.queries import migrations, queries
from garbagetruck.storage.postgres.settings import PostgresSettings
from garbagetruck.storage.postgres.storage import PostgresStorage
from tests.contract.storage.rigs import PostgresRig, until
from tests.contract.storage.samples import FIRST

SECRET = "s3cret-w0rd"


def everything_told(error: BaseException | None) -> str:
    told = ""
    while error is not None:
        told += f"{error!r} {error} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


def address(server: EmbeddedPostgres, query: str = "sslmode=disable", hosts: str = "", login: str = USER) -> str:
    return f"postgresql://{login}@{hosts or f'{HOST}:{server.port}'}/postgres?{query}"


async def refused(settings: PostgresSettings) -> StorageError:
    async with PostgresStorage(settings, "c-1") as storage:
        with pytest.raises(StorageError) as caught:
            await storage.incarnations.reserved()
    return caught.value


async def test_a_wrong_password_is_misconfigured_and_not_told(server: EmbeddedPostgres, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "\n", encoding="utf-8")
    for settings in (
        PostgresSettings(dsn=address(server), password_file=file),
        PostgresSettings(dsn=address(server, login=f"{USER}:{SECRET}")),
        PostgresSettings(dsn=address(server, query=f"sslmode=disable&password={SECRET}")),
    ):
        error = await refused(settings)
        assert isinstance(error, StorageMisconfigured)
        assert SECRET not in everything_told(error)
        assert SECRET not in repr(settings) + settings.described
        assert f"{USER}@{HOST}:{server.port}/postgres" in settings.described


async def test_a_password_that_a_server_repeats_is_hidden(server: EmbeddedPostgres) -> None:
    """No server does; but what is hidden does not rest on that. A database of that name makes it say the word."""
    password = server.password_file.read_text(encoding="utf-8")
    dsn = f"postgresql://{USER}:{password}@{HOST}:{server.port}/{password}?sslmode=disable"
    error = await refused(PostgresSettings(dsn=dsn))
    assert isinstance(error, StorageMisconfigured)
    assert "[hidden]" in str(error)
    assert password not in everything_told(error)


async def test_a_newer_schema_is_refused_also_when_the_connection_ended_while_nobody_used_it(
    server: EmbeddedPostgres,
) -> None:
    """The driver's pool replaces such a one by itself, and nothing fails on the way."""
    rig = PostgresRig(server, schema=f"newer_{secrets.token_hex(4)}")
    name = f"newer-{secrets.token_hex(4)}"
    async with rig.open(application_name=name) as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await rig.execute(f"INSERT INTO schema_migrations (version, name) VALUES ({len(migrations()) + 1}, 'later')")
        await rig.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'")

        async def ended() -> bool:
            return not await rig.execute(f"SELECT FROM pg_stat_activity WHERE application_name = '{name}'")

        await until(ended)
        for _ in range(3):
            with pytest.raises((SchemaTooNew, StorageUnreachable)):
                await storage.incarnations.reserved()
        with pytest.raises(SchemaTooNew):
            await storage.incarnations.reserved()


async def test_a_password_file_is_read_anew_for_every_connection(rig_of: PostgresRig, tmp_path: Path) -> None:
    file = tmp_path / "password"
    async with rig_of.open(password_file=file) as storage:
        with pytest.raises(StorageMisconfigured, match="cannot be read"):
            await storage.incarnations.reserved()
        file.write_text("", encoding="utf-8")
        with pytest.raises(StorageMisconfigured, match="is empty"):
            await storage.incarnations.reserved()
        file.write_bytes(rig_of.server.password_file.read_bytes() + b"\r\n")
        assert await storage.incarnations.reserved() == []


@pytest.fixture
def rig_of(server: EmbeddedPostgres) -> PostgresRig:
    return PostgresRig(server)


async def test_no_server_is_unreachable_and_entering_does_not_mind(tmp_path: Path) -> None:
    dsn = f"postgresql://{USER}:{SECRET}@{HOST}:9/postgres?sslmode=disable"
    error = await refused(PostgresSettings(dsn=dsn, connect_timeout_ms=500))
    assert isinstance(error, StorageUnreachable)
    assert SECRET not in everything_told(error)


@pytest.mark.parametrize(
    "bad",
    [
        {"dsn": "mysql://u@h/d"},
        {"dsn": f"postgresql://u:{SECRET}@[::1/d"},
        {"dsn": f"postgresql://u:{SECRET}@h/d", "password_file": Path("password")},
        {"dsn": "postgresql://u@h/d", "connections_max": 0},
        {"dsn": "postgresql://u@h/d", "schema": 'public"; --'},
        {"dsn": "postgresql://u@h/d", "statement_timeout_ms": 30_000},
        {"dsn": "postgresql://u@h/d", "lock_timeout_ms": 0},
        {"dsn": "postgresql://u@h/d", "connect_timeout_ms": 0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        PostgresSettings(**bad)
    assert SECRET not in everything_told(caught.value)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server_with_tls")
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_tls_is_used_as_the_address_says(rig_of: PostgresRig, reachable_folder: Path, mode: str) -> None:
    query = f"sslmode={mode}" + ("" if mode == "require" else f"&sslrootcert={reachable_folder}/certificates/ca.pem")
    file = rig_of.server.password_file
    async with rig_of.open(dsn=address(rig_of.server, query), password_file=file) as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        async with storage._connections.transaction("looking") as session:
            encrypted = await session._connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert encrypted is True


@pytest.mark.usefixtures("server_with_tls")
async def test_a_server_of_another_authority_is_refused(rig_of: PostgresRig, reachable_folder: Path) -> None:
    query = f"sslmode=verify-full&sslrootcert={reachable_folder}/certificates/stranger.pem"
    error = await refused(rig_of.settings(dsn=address(rig_of.server, query), password_file=rig_of.server.password_file))
    assert isinstance(error, StorageMisconfigured)


# --- several hosts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["sslmode=disable", "sslmode=disable&target_session_attrs=any"])
async def test_of_several_hosts_one_that_answers_is_taken(rig_of: PostgresRig, query: str) -> None:
    dsn = address(rig_of.server, query, hosts=f"{HOST}:9,{HOST}:{rig_of.server.port}")
    async with rig_of.open(dsn=dsn, password_file=rig_of.server.password_file) as storage:
        await storage.incarnations.reserve(FIRST, by="n1")


async def test_of_several_hosts_one_that_only_reads_is_not_taken(rig_of: PostgresRig) -> None:
    """By itself: an archive needs one that writes."""
    role = f"reads_{secrets.token_hex(4)}"
    await rig_of.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    await rig_of.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    hosts = f"{HOST}:9,{HOST}:{rig_of.server.port}"
    error = await refused(rig_of.settings(dsn=address(rig_of.server, hosts=hosts, login=f"{role}:{SECRET}")))
    assert isinstance(error, StorageUnreachable)
    assert SECRET not in everything_told(error)


# --- the schema -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(server: EmbeddedPostgres) -> PostgresRig:
    """With a schema that is not there yet."""
    return PostgresRig(server, schema=f"other_{secrets.token_hex(4)}")


async def test_the_schema_is_made_at_the_first_call(fresh: PostgresRig) -> None:
    async with fresh.open() as storage:
        assert await storage.incarnations.reserved() == []


async def test_who_may_not_migrate_says_so(fresh: PostgresRig) -> None:
    async with fresh.open(migrate=False) as storage:
        with pytest.raises(SchemaTooOld):
            await storage.incarnations.reserved()
        async with fresh.open() as owner:
            await owner.incarnations.reserve(FIRST, by="n1")
        assert len(await storage.incarnations.reserved()) == 1, "once it is there, no restart is needed"


async def test_a_schema_of_a_later_version_is_left_alone(server: EmbeddedPostgres) -> None:
    rig = PostgresRig(server, schema=f"later_{secrets.token_hex(4)}")
    async with rig.open() as storage:
        await storage.incarnations.reserved()
    await rig.execute("INSERT INTO schema_migrations (version, name) VALUES (99, 'of the future')")
    async with rig.open() as storage:
        with pytest.raises(SchemaTooNew) as caught:
            await storage.incarnations.reserve(FIRST, by="n1")
    assert caught.value.found == 99
    assert await rig.execute("SELECT FROM incarnations") == []


async def test_a_schema_that_is_gone_is_made_again(fresh: PostgresRig) -> None:
    async with fresh.open() as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await fresh.execute(f"DROP SCHEMA {fresh.schema} CASCADE")
        with pytest.raises(StorageMisconfigured):
            await storage.incarnations.reserved()
        assert await storage.incarnations.reserved() == []


async def test_an_older_schema_is_brought_up_to_date(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = PostgresRig(server, schema=f"older_{secrets.token_hex(4)}")
    async with rig.open() as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
    known = migrations()
    later = (*known, (len(known) + 1, "0002_next", "ALTER TABLE clusters ADD COLUMN next text"))
    monkeypatch.setattr("garbagetruck.storage.postgres.schema.migrations", lambda: later)
    monkeypatch.setattr(schemas, "KNOWN_VERSION", len(later))
    async with rig.open() as one, rig.open() as two, rig.open() as three:
        await asyncio.gather(*(each.incarnations.reserved() for each in (one, two, three)))
    versions = await rig.execute("SELECT version FROM schema_migrations ORDER BY version")
    assert [row["version"] for row in versions] == list(range(1, len(later) + 1))


async def test_of_many_that_make_the_schema_at_once_one_does(fresh: PostgresRig) -> None:
    storages = [fresh.open() for _ in range(4)]
    for storage in storages:
        await storage.__aenter__()
    try:
        await asyncio.gather(*(storage.incarnations.reserve(FIRST, by="all") for storage in storages))
    finally:
        for storage in storages:
            await storage.__aexit__(None, None, None)


async def test_every_named_statement_can_be_prepared(rig_of: PostgresRig) -> None:
    async with rig_of.open() as storage, storage._connections.transaction("preparing") as session:
        for name, text in queries().items():
            try:
                await session._connection.prepare(text)
            except Exception as error:
                raise AssertionError(f"{name}: {error}") from error


def test_every_named_statement_is_used() -> None:
    folder = Path(schemas.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert {name for name in queries() if not re.search(rf'"{name}"', source)} == set()
