"""What an `http` handler takes from the operator, and from clients."""

from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.http import http_handlers
from garbagetruck.cluster.cleanup.handlers.http_options import fetch_credentials, read_http_options
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

BASE = "https://index.internal:8443/cleanups"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "index.internal",
        "ftp://index.internal/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@index.internal/",
        "http://user:secret@index.internal/",
        "http://index.internal/?a=b",
        "http://index.internal/?",
        "http://index.internal/#there",
        "http://index.internal/a/../b",
        "http://index.internal:0/",
        "http://index.internal:99999/",
        "http://index.internal/a b",
        "http://index.internal/a\r\nX-Header: b",
        "http://[::1/",
    ],
)
def test_an_address_that_is_not_plain_is_refused(base_url: str) -> None:
    with pytest.raises(HandlerSettingsError) as caught:
        read_http_options("index", {"base_url": base_url})
    assert caught.value.option == "base_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", [BASE, "http://192.88.98.7:9000", "http://[2606:4700::11]:9000/a/b/", "https://x/a%20b"]
)
def test_a_plain_address_is_taken(base_url: str) -> None:
    assert read_http_options("index", {"base_url": base_url}).base_url == base_url


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"X Y": "z"}, "not a header's name"),
        ({"X\r\nY": "z"}, "not a header's name"),
        ({"X": "a\r\nY: b"}, "cannot be sent"),
        ({"X": ""}, "cannot be sent"),
        ({"X": "ü"}, "cannot be sent"),
        ({"idempotency-key": "1"}, "set by the handler itself"),
        ({"Host": "evil"}, "set by the handler itself"),
        ({"GarbageTruck-Fencing-Token": "1"}, "set by the handler itself"),
        ({"X": "a", "x": "b"}, "named twice"),
        ({"X": {}}, "names no single source"),
        ({"X": {"env": "A", "file": "/b"}}, "names no single source"),
        ({"X": {"vault": "a"}}, "unknown field"),
        ({"X": 5}, "Expected"),
        ({f"X-{number}": "a" for number in range(40)}, "too many"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, object], problem: str) -> None:
    with pytest.raises(HandlerSettingsError, match=problem):
        read_http_options("index", {"base_url": BASE, "headers": headers})


def test_another_method_is_refused() -> None:
    with pytest.raises(HandlerSettingsError, match="method"):
        read_http_options("index", {"base_url": BASE, "method": "GET"})


def test_values_of_headers_are_fetched_from_where_they_are_kept(tmp_path: Path) -> None:
    kept = tmp_path / "token"
    kept.write_text("Bearer two\nsecond line\n")
    options = read_http_options(
        "index",
        {"base_url": BASE, "headers": {"A": "one", "Authorization": {"file": str(kept)}, "B": {"env": "TOKEN"}}},
    )
    assert fetch_credentials("index", options, {"TOKEN": "three"}).headers == {
        "A": "one",
        "Authorization": "Bearer two",
        "B": "three",
    }


def test_a_value_that_is_not_there_is_told_without_telling_any(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"top\x00secret")
    for kept in ({"env": "TOKEN"}, {"file": str(tmp_path / "none")}, {"file": str(tmp_path / "bad")}):
        make = http_handlers(run_directly, {})
        handler = make({"base_url": BASE, "headers": {"Authorization": kept}}, "index")
        (problem,) = handler.check()
        assert "handlers.index.headers.Authorization" in problem
        assert "secret" not in problem


# -- parameters -------------------------------------------------------------------------------------------------


def target(**parameters: str) -> str:
    return http_handlers(run_directly, {})({"base_url": BASE}, "index").canonical_target(parameters)


def test_the_target_is_named_after_the_handler_and_not_after_its_address() -> None:
    assert target(path="rows/42") == "http:/index/rows/42"
    assert target(path="ünï/a b") == "http:/index/ünï/a b"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/rows",
        "//evil.example/x",
        "rows//42",
        "rows/",
        "..",
        "rows/../admin",
        "./rows",
        "rows?force=1",
        "rows#x",
        "rows%2f42",
        "%2e%2e/admin",
        "rows\\42",
        "rows\r\nX: y",
        "rows\0",
        "rows\ud800",
        "a" * 2_049,
        "/".join("a" * 65),
    ],
)
def test_a_path_that_is_not_plain_is_refused_with_a_remedy(path: str) -> None:
    with pytest.raises(InvalidParametersError) as caught:
        target(path=path)
    assert caught.value.parameter == "path"
    assert caught.value.remedy


def test_clients_choose_no_address() -> None:
    for parameters in ({"path": "x", "url": "http://evil"}, {"path": "x", "method": "GET"}, {"url": "http://evil"}):
        with pytest.raises(InvalidParametersError, match="give `path` alone"):
            target(**parameters)
    assert target(path="http:evil") == "http:/index/http:evil", "text of a path, not an address"
