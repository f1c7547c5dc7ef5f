"""What an `sql` handler takes from the operator, and from clients."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.sql import options as sql_options
from garbagetruck.cluster.cleanup.handlers.sql import sql_handlers
from garbagetruck.cluster.cleanup.handlers.sql.options import read_sql_options
from garbagetruck.cluster.cleanup.handlers.sql.parameters import TEXT_BYTES_MAX
from garbagetruck.cluster.cleanup.registry import HandlerRegistry, build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettings, HandlerSettingsError

DSN = "postgresql://cleaner@db.internal/orders?sslmode=verify-full"
FENCED = {"sql": "DELETE FROM uploads WHERE id = :id AND fencing_token < :fencing_token"}
UPLOAD: Mapping[str, object] = {"parameters": {"id": "integer"}, "steps": [FENCED]}


def registry_of(dsn: str = DSN, **options: object) -> HandlerRegistry:
    given = {"dsn": dsn, "statements": {"upload": UPLOAD}, **options}
    return build_registry(
        [HandlerSettings(name="orders", kind="sql", options=given)], run_blocking=run_directly, environ={}
    )


def with_upload(**changes: object) -> HandlerRegistry:
    return registry_of(statements={"upload": {**UPLOAD, **changes}})


def target(registry: HandlerRegistry, **parameters: str) -> str:
    return registry.complete("orders", parameters).target


# -- targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["42", "042", "0000000000000000042"])
def test_i1_one_row_has_one_target_however_its_key_is_written(given: str) -> None:
    assert target(registry_of(), id=given) == "sql:/orders/upload/42"


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("integer", "-7", "-7"),
        ("integer", "-0", "0"),
        ("uuid", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("boolean", "true", "true"),
        ("date", "2030-02-28", "2030-02-28"),
        ("text", "a/b ü", "a%2Fb%20%C3%BC"),
        ("text", "..", "%2E%2E"),
        ("text", ".", "%2E"),
        ("text", "'; DROP TABLE uploads; --", "%27%3B%20DROP%20TABLE%20uploads%3B%20--"),
    ],
)
def test_each_kind_has_one_spelling_and_is_one_segment(kind: str, given: str, expected: str) -> None:
    assert target(with_upload(parameters={"id": kind}), id=given) == f"sql:/orders/upload/{expected}"


def test_the_operator_says_what_identifies_the_target() -> None:
    registry = registry_of(
        database="shop",
        statements={
            "upload": {**UPLOAD, "target": "uploads/:id"},
            "upload-and-parts": {**UPLOAD, "target": "uploads/:id"},
            "tenant": {
                "parameters": {"tenant": "text", "reason": "text"},
                "target": "tenants/:tenant",
                "steps": [{"sql": "DELETE FROM t WHERE tenant = :tenant AND r <> :reason AND token < :fencing_token"}],
            },
        },
    )
    assert target(registry, statement="upload", id="7") == "sql:/shop/uploads/7"
    assert target(registry, statement="upload-and-parts", id="7") == "sql:/shop/uploads/7"
    assert target(registry, statement="tenant", tenant="x", reason="y") == "sql:/shop/tenants/x"


def test_the_statement_may_be_left_out_where_there_is_but_one() -> None:
    registry = registry_of()
    assert target(registry, id="7") == target(registry, id="7", statement="upload")
    several = registry_of(statements={"a": UPLOAD, "b": UPLOAD})
    with pytest.raises(InvalidParametersError, match="statement: is missing; name one of a, b"):
        several.complete("orders", {"id": "7"})


# -- clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "parameters", "problem"),
    [
        ("integer", {}, "id: is missing"),
        ("integer", {"id": "7", "table": "users"}, "table: is not a parameter of upload"),
        ("integer", {"id": "7", "fencing_token": "1"}, "fencing_token: is not a parameter"),
        ("integer", {"id": "7", "statement": "users"}, "statement: is not registered"),
        ("integer", {"id": "7", "statement": "DELETE FROM users"}, "statement: is not registered"),
        ("integer", {"id": "7 OR 1=1"}, "id: is not an integer"),
        ("integer", {"id": "9223372036854775808"}, "id: is not an integer"),
        ("integer", {"id": "٧"}, "id: is not an integer"),
        ("integer", {"id": "7\n"}, "id: is not an integer"),
        ("integer", {"id": "+7"}, "id: is not an integer"),
        ("integer", {"id": "9" * 5_000}, "id: is not an integer"),
        ("uuid", {"id": "42"}, "id: is not a UUID"),
        ("boolean", {"id": "TRUE"}, "id: is neither"),
        ("date", {"id": "2030-02-30"}, "id: is not a date"),
        ("date", {"id": "20300228"}, "id: is not a date"),
        ("text", {"id": ""}, "id: is empty"),
        ("text", {"id": "a\0b"}, "id: contains a control"),
        ("text", {"id": "a\udc80"}, "id: contains a control"),
        ("text", {"id": "ü" * TEXT_BYTES_MAX}, "id: is too long"),
    ],
)
def test_parameters_that_fit_no_statement_are_refused_at_the_door(
    kind: str, parameters: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidParametersError, match=problem) as caught:
        with_upload(parameters={"id": kind}).complete("orders", parameters)
    assert caught.value.remedy


# -- operators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": []}, r"statements\.upload\.steps: has 0 entries"),
        ({"steps": [{"sql": "DELETE FROM a WHERE x = :id"}]}, r"steps\[0\]: has no fence"),
        ({"steps": [FENCED, {"sql": "DELETE FROM a WHERE x = :id"}]}, r"steps\[1\]: has no fence"),
        ({"steps": [{"sql": "DELETE FROM a WHERE x = :key"}]}, "names :key, which is not known"),
        ({"steps": [{"sql": "DELETE FROM a; DELETE FROM b"}]}, "more than one statement"),
        ({"steps": [{"sql": "COMMIT"}]}, "begins with COMMIT"),
        ({"steps": [{"sql": "DROP TABLE a"}]}, "begins with DROP"),
        ({"steps": [{"sql": "CALL f(:id)"}]}, "begins with CALL"),
        ({"steps": [{**FENCED, "rows_min": 2}]}, "bounds of rows"),
        ({"steps": [{**FENCED, "rows_max": -1}]}, "bounds of rows"),
        ({"steps": [{**FENCED, "rows": 1}]}, "unknown field `rows`"),
        ({"observe": "DELETE FROM a WHERE x = :id"}, "observe: begins with DELETE"),
        ({"observe": "SELECT 1 WHERE 1 < :fencing_token"}, "it is there for steps alone"),
        ({"parameters": {"id": "float"}}, "Invalid enum value"),
        ({"parameters": {"Id": "text"}}, "is not a plain name"),
        ({"parameters": {"resource": "text"}}, "has a meaning of its own"),
        ({"parameters": {"statement": "text"}}, "has a meaning of its own"),
        ({"parameters": {f"p{number}": "text" for number in range(20)}}, "are too many"),
        ({"target": "uploads/:key"}, "names :key, which is not declared"),
        ({"target": "uploads/../:id"}, "not plain"),
        ({"target": "/uploads/:id"}, "not plain"),
        ({"target": "uploads/x:id"}, "not plain"),
    ],
)
def test_statements_that_are_wrong_say_what_is_right(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(HandlerSettingsError, match=expected) as caught:
        with_upload(**changes)
    assert caught.value.remedy
    assert caught.value.option.startswith("statements")


def test_i5_a_statement_is_fenced_by_a_token_or_by_observing_or_by_the_operators_own_word() -> None:
    bare = {"sql": "DELETE FROM uploads WHERE id = :id"}
    with_upload(steps=[FENCED])
    with_upload(steps=[bare], observe="SELECT xmin FROM uploads WHERE id = :id")
    with_upload(steps=[bare], unfenced=True)


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "orders",
        "mysql://u:hush@localhost/orders",
        "postgresql://u:hush@localhost",
        "postgresql://localhost/orders",
        "postgresql://u:hush@/orders",
        "postgresql://u:hush@db.internal/orders",
        "postgresql://u:hush@localhost,db.internal/orders",
        "postgresql://u:hush@db.internal/orders?sslmode=prefer",
        "postgresql://u:hush@db.internal/orders?sslmode=allow",
        "postgresql://u:hush@[::1/orders",
        "postgresql://u:hush@localhost/orders?sslmode",
    ],
)
def test_an_address_that_leaves_something_open_is_refused_without_being_repeated(dsn: str) -> None:
    with pytest.raises(HandlerSettingsError, match=r"handlers\.orders\.dsn") as caught:
        registry_of(dsn)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@localhost/orders",
        "postgresql://u@127.0.0.1:5433/orders",
        "postgres://u@[::1]/orders",
        "postgresql://u@%2Frun%2Fpostgresql/orders",
        "postgresql:///orders?host=/run/postgresql&user=u",
        "postgresql://u@a,b/orders?sslmode=require",
        "postgresql://u@db.internal/orders?sslmode=disable",
    ],
)
def test_an_address_that_says_all_is_taken(dsn: str) -> None:
    registry_of(dsn)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"connections_max": 0}, "connections_max: is out of bounds"),
        ({"lock_timeout": "1"}, "lock_timeout: .* is not a duration"),
        ({"lock_timeout": "20s"}, "lock_timeout: is longer than statement_timeout"),
        ({"statement_timeout": "1h"}, "statement_timeout: is out of bounds"),
        ({"statements": {}}, "statements: there are 0"),
        ({"statements": {"a/b": UPLOAD}}, "statements.a/b: is not a plain name"),
        ({"database": "a/b"}, "database: is not a plain name"),
        ({"dsn": "postgresql://u:hush@localhost/orders", "password_file": "/p"}, "one password too many"),
    ],
)
def test_options_out_of_bounds_say_what_is_right(options: dict[str, object], expected: str) -> None:
    with pytest.raises(HandlerSettingsError, match=expected) as caught:
        registry_of(**options)  # type: ignore[arg-type]
    assert "hush" not in str(caught.value)


def test_a_password_is_read_from_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    kept = tmp_path / "password"
    _, access = read_sql_options(
        "orders", {"dsn": "postgresql://u@localhost/orders", "statements": {}, "password_file": str(kept)}
    )
    with pytest.raises(HandlerSettingsError, match="cannot be read"):
        access.read_password()
    kept.write_text("hush\n")
    assert access.read_password() == "hush"
    for content in (b"", b"x" * 5_000, b"\xff"):
        kept.write_bytes(content)
        with pytest.raises(HandlerSettingsError, match="password_file"):
            access.read_password()
    _, access = read_sql_options("orders", {"dsn": "postgresql://u:hush@localhost/orders", "statements": {}})
    assert access.password == "hush"
    assert "hush" not in repr(access)


def test_without_its_driver_the_handler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garbagetruck.cluster.cleanup.handlers.sql.handler.find_spec", lambda _name: None)
    with pytest.raises(HandlerSettingsError, match=r"install garbagetruck\[postgres\]"):
        sql_handlers(run_directly)({"dsn": DSN, "statements": {"upload": UPLOAD}}, "orders")


def test_one_row_is_all_that_a_step_may_touch_unless_it_says_more() -> None:
    assert sql_options.StepOptions(sql="").rows_max == 1
