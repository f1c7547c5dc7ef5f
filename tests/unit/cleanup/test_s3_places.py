"""What an `s3` handler takes from the operator, and from clients."""

import pytest

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.s3 import s3_handlers
from garbagetruck.cluster.cleanup.handlers.s3.options import read_s3_options
from garbagetruck.cluster.cleanup.handlers.s3.places import KEY_BYTES_MAX, locate
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

BUCKETS = {"uploads": ["tmp/", "in/coming/"], "scratch": ["*"]}
KEYS = {"access_key_id": "AKIA", "secret_access_key": "hush"}
OPTIONS: dict[str, object] = {"buckets": {"uploads": ["tmp/"]}, "fence": "version", "credentials": KEYS}


def target(**parameters: str) -> str:
    return locate(parameters, BUCKETS).target("blobs")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bucket": "uploads", "key": "tmp/42.jpg"}, "s3:/blobs/uploads/tmp/42.jpg"),
        ({"bucket": "uploads", "key": "in/coming/a b"}, "s3:/blobs/uploads/in/coming/a%20b"),
        ({"bucket": "scratch", "key": "%2Fupload"}, "s3:/blobs/scratch/%252Fupload"),
        ({"bucket": "scratch", "key": "...."}, "s3:/blobs/scratch/...."),
        ({"bucket": "scratch", "key": "ünï?#=&"}, "s3:/blobs/scratch/%C3%BCn%C3%AF%3F%23%3D%26"),
        ({"bucket": "uploads", "prefix": "tmp/job-4/"}, "s3:/blobs/uploads/tmp/job-4"),
        ({"bucket": "scratch", "key": "a/b", "upload_id": "x/y."}, "s3:/blobs/scratch/a/b/%2Fupload/x%2Fy%2E"),
    ],
)
def test_i1_each_place_has_one_target_and_what_contains_it_is_a_prefix(
    parameters: dict[str, str], expected: str
) -> None:
    assert target(**parameters) == expected


def test_the_bucket_may_be_left_out_where_there_is_but_one() -> None:
    assert locate({"key": "tmp/42"}, {"uploads": ["tmp/"]}).bucket == "uploads"
    with pytest.raises(InvalidParametersError, match="bucket: is missing; name one of uploads, scratch"):
        target(key="tmp/42")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"bucket": "other", "key": "tmp/42"}, "bucket: is not a bucket of this handler"),
        ({"bucket": "uploads"}, "name no single thing"),
        ({"bucket": "uploads", "key": "tmp/42", "prefix": "tmp/42/"}, "name no single thing"),
        ({"bucket": "uploads", "key": "tmp/42", "version": "1"}, "version: is not a parameter"),
        ({"bucket": "uploads", "key": "final/42"}, "key: lies outside"),
        ({"bucket": "uploads", "key": "tmpfinal/42"}, "key: lies outside"),
        ({"bucket": "uploads", "key": "tmp"}, "key: lies outside"),
        ({"bucket": "uploads", "prefix": "tmp/"}, "prefix: lies outside"),
        ({"bucket": "uploads", "prefix": "in/"}, "prefix: lies outside"),
        ({"bucket": "scratch", "prefix": ""}, "prefix: does not end with a slash"),
        ({"bucket": "scratch", "prefix": "/"}, "prefix: is empty"),
        ({"bucket": "scratch", "prefix": "job-4"}, "prefix: does not end with a slash"),
        ({"bucket": "scratch", "prefix": "a//"}, "prefix: contains an empty segment"),
        ({"bucket": "scratch", "key": ""}, "key: is empty"),
        ({"bucket": "scratch", "key": "/a"}, "key: contains an empty segment"),
        ({"bucket": "scratch", "key": "a/"}, "key: contains an empty segment"),
        ({"bucket": "uploads", "key": "tmp/../final/42"}, "key: contains an empty segment, `.` or `..`"),
        ({"bucket": "scratch", "key": "."}, "key: contains an empty segment"),
        ({"bucket": "scratch", "key": "a\nb"}, "key: contains a control character"),
        ({"bucket": "scratch", "key": "a\udc80"}, "key: contains a control character"),
        ({"bucket": "scratch", "key": ".garbagetruck-probe"}, "begins with .garbagetruck-"),
        ({"bucket": "scratch", "key": "ü" * KEY_BYTES_MAX}, "key: is too long"),
        ({"bucket": "scratch", "prefix": "a/", "upload_id": "x"}, "upload_id: goes with a key alone"),
        ({"bucket": "scratch", "key": "a", "upload_id": ""}, "upload_id: cannot be"),
        ({"bucket": "scratch", "key": "a", "upload_id": "x" * 600}, "upload_id: cannot be"),
    ],
)
def test_what_names_no_place_below_the_operators_prefixes_is_refused(parameters: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidParametersError, match=problem) as caught:
        target(**parameters)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fence": "hope"}, "fence: Invalid enum value"),
        ({"fence": None}, "fence: "),
        ({"credentials": "none"}, "credentials: "),
        ({"credentials": None}, "credentials: are missing"),
        ({"ambient_credentials": True}, "or given twice"),
        ({"credentials": {**KEYS, "secret_access_key": ""}}, r"credentials\.secret_access_key: cannot be"),
        ({"credentials": {**KEYS, "session_token": "a\nb"}}, r"credentials\.session_token: cannot be"),
        ({"buckets": {}}, "buckets: has 0 entries"),
        ({"buckets": {"Up/loads": ["tmp/"]}}, "is not the name of a bucket"),
        ({"buckets": {"uploads": []}}, "has 0 prefixes"),
        ({"buckets": {"uploads": [""]}}, "'' is not a plain prefix"),
        ({"buckets": {"uploads": ["/"]}}, "'/' is not a plain prefix"),
        ({"buckets": {"uploads": ["tmp"]}}, "'tmp' is not a plain prefix"),
        ({"buckets": {"uploads": ["tmp/../"]}}, "is not a plain prefix"),
        ({"endpoint_url": "s3.internal"}, "is not an http or https address"),
        ({"endpoint_url": "http://s3.internal:9000"}, "leads to another machine in plain text"),
        ({"endpoint_url": "https://a:hush@s3.internal"}, "more than a host and a port"),
        ({"endpoint_url": "https://s3.internal/path"}, "more than a host and a port"),
        ({"endpoint_url": "https://s3.internal:99999"}, "is not an address"),
        ({"store": "a/b"}, "store: is not a plain name"),
        ({"region": "eu central"}, "region: is not the name"),
        ({"objects_max": 0}, "objects_max: is out of bounds"),
        ({"answer_timeout": "1h"}, "answer_timeout: is out of bounds"),
        ({"connect_timeout": "5"}, "connect_timeout: .* is not a duration"),
        ({"bucket": "x"}, "unknown field `bucket`"),
    ],
)
def test_options_that_are_wrong_say_what_is_right(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(HandlerSettingsError, match=expected) as caught:
        read_s3_options("blobs", {**OPTIONS, **changes})
    assert caught.value.remedy
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"credentials": None, "ambient_credentials": True},
        {"endpoint_url": "https://s3.internal:9000/"},
        {"endpoint_url": "http://127.0.0.1:9000"},
        {"endpoint_url": "http://s3.internal", "insecure_plaintext": True},
        {"buckets": {"a.b-c": ["*", "x/y/"]}},
    ],
)
def test_options_that_say_all_are_taken_and_show_no_secret(changes: dict[str, object]) -> None:
    assert "hush" not in repr(read_s3_options("blobs", {**OPTIONS, **changes}))


def test_without_its_client_the_handler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garbagetruck.cluster.cleanup.handlers.s3.handler.find_spec", lambda _name: None)
    with pytest.raises(HandlerSettingsError, match=r"install garbagetruck\[s3\]"):
        s3_handlers()(OPTIONS, "blobs")
