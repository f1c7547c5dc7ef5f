"""The example of a handler of one's own works as its README says, and keeps the promises of the interface."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import importlib.util
import sqlite3
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType, ModuleType

import pytest

from garbagetruck.cluster.cleanup.handler import ABSENT, CleanupResult, Handler, InvalidParametersError, Verdict
from garbagetruck.cluster.cleanup.registry import ENTRY_POINT_GROUP, HandlerFactory, HandlerRegistry, build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettings, HandlerSettingsError
from tests.integration.cleanup.calls import call_of

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "handlers"
ROW = {"id": "42"}


@pytest.fixture
def plug_in() -> Iterator[ModuleType]:
    """The module as an installed distribution would bring it, without installing anything."""
    spec = importlib.util.spec_from_file_location("sqlite_rows", EXAMPLE / "sqlite_rows" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sqlite_rows"] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["sqlite_rows"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE uploads (id TEXT PRIMARY KEY, fencing_token INTEGER NOT NULL)")
        connection.execute("INSERT INTO uploads VALUES ('42', 50), ('43', 51)")
    return path


def rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT id, fencing_token FROM uploads"))


def write(database: Path, key: str, token: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO uploads VALUES (?, ?)", (key, token))


def registry_of(
    plug_in: ModuleType, database: Path, changes: Mapping[str, object] = MappingProxyType({})
) -> HandlerRegistry:
    def find(kind: str) -> HandlerFactory | None:
        declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"][ENTRY_POINT_GROUP]
        module, _, name = declared[kind].partition(":")
        assert module == plug_in.__name__
        factory: HandlerFactory = getattr(plug_in, name)
        return factory

    options = {"database": str(database), "table": "uploads", "key_column": "id", "token_column": "fencing_token"}
    settings = HandlerSettings(name="uploads-index", kind="sqlite-rows", options={**options, **changes})
    return build_registry([settings], run_blocking=run_directly, environ={}, find_factory=find)


@pytest.fixture
def handler(plug_in: ModuleType, database: Path) -> Handler:
    registered = registry_of(plug_in, database).find("uploads-index")
    assert registered is not None
    return registered.handler


async def test_a_row_is_deleted_and_its_neighbours_are_not(handler: Handler, database: Path) -> None:
    identity = await handler.observe(ROW)
    assert identity == "token-50"
    assert await handler.clean(call_of(handler, ROW, token=100, identity=identity)) == CleanupResult.done()
    assert rows(database) == {"43": 51}
    assert await handler.observe(ROW) == ABSENT
    assert await handler.clean(call_of(handler, ROW, token=101)) == CleanupResult.already_gone()


async def test_i5_a_row_written_anew_survives_a_stale_claim(handler: Handler, database: Path) -> None:
    stale = call_of(handler, ROW, token=100, identity=await handler.observe(ROW))
    assert (await handler.clean(call_of(handler, ROW, token=200))).verdict is Verdict.DONE
    write(database, "42", 201)
    result = await handler.clean(stale)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert rows(database)["42"] == 201


async def test_i8_nothing_is_deleted_when_the_attempt_may_not_proceed(handler: Handler, database: Path) -> None:
    await handler.clean(call_of(handler, ROW, still_leading=lambda: False))
    assert rows(database) == {"42": 50, "43": 51}


async def test_a_database_that_is_away_is_a_failure_and_is_not_created(
    plug_in: ModuleType, handler: Handler, database: Path
) -> None:
    database.rename(database.with_suffix(".away"))
    assert "there is no database" in handler.check()[0]
    assert (await handler.clean(call_of(handler, ROW))).verdict is Verdict.FAILED
    with pytest.raises(Exception, match="unable to open"):
        await handler.observe(ROW)
    assert not database.exists()


def test_the_target_is_one_segment_for_each_key(plug_in: ModuleType, database: Path) -> None:
    registry = registry_of(plug_in, database)
    assert registry.complete("uploads-index", {"id": "a/b ü"}).target == f"sqlite:{database}/uploads/a%2Fb%20%C3%BC"
    for parameters in ({}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 600}, {"id": "1", "table": "users"}):
        with pytest.raises(InvalidParametersError):
            registry.complete("uploads-index", parameters)


@pytest.mark.parametrize(
    "changes",
    [{"table": "uploads; DROP TABLE users"}, {"key_column": 'id" OR 1=1'}, {"database": "index.db"}, {"colour": "red"}],
)
def test_options_that_are_not_plain_are_refused(
    plug_in: ModuleType, database: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(HandlerSettingsError, match=r"handlers\.uploads-index"):
        registry_of(plug_in, database, changes)
