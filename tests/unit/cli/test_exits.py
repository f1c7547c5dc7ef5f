"""Exit codes that need a server which answers, or keeps silent, as told."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner
from typing_extensions import override

from garbagetruck.cli.app import app
from garbagetruck.cli.exits import Exit
from garbagetruck.cli.failures import exit_code
from garbagetruck.client.errors import BY_REASON

CODES = {
    "PERMISSION_DENIED": (grpc.StatusCode.PERMISSION_DENIED, Exit.PERMISSION),
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, Exit.PERMISSION),
    "LEASE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, Exit.NOT_FOUND),
    "LEASE_ENDED": (grpc.StatusCode.FAILED_PRECONDITION, Exit.PRECONDITION),
    "INVALID_ARGUMENT": (grpc.StatusCode.INVALID_ARGUMENT, Exit.REFUSED),
    "QUOTA_EXCEEDED": (grpc.StatusCode.RESOURCE_EXHAUSTED, Exit.REFUSED),
    "STORAGE_LOW": (grpc.StatusCode.RESOURCE_EXHAUSTED, Exit.REFUSED),
    "NO_LEADER": (grpc.StatusCode.UNAVAILABLE, Exit.UNREACHABLE),
    "OUTCOME_UNKNOWN": (grpc.StatusCode.UNAVAILABLE, Exit.UNKNOWN),
    "FEATURE_NOT_BUILT": (grpc.StatusCode.UNIMPLEMENTED, Exit.REFUSED),
    "EVENT_INDEX_TOO_OLD": (grpc.StatusCode.OUT_OF_RANGE, Exit.REFUSED),
}


class Refusing(grpc.GenericRpcHandler):
    """Every method of every service, refused with one reason."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="garbagetruck", metadata={"oldest_index": "17"}))
        self._status = status_pb2.Status(code=code.value[0], message=f"because of {reason}", details=[info])

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort_with_status(rpc_status.to_status(self._status))
            raise AssertionError

        return grpc.unary_unary_rpc_method_handler(refuse)


@contextlib.contextmanager
def refusing(code: grpc.StatusCode, reason: str) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Refusing(code, reason)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def run(endpoints: str, *arguments: str) -> tuple[int, str]:
    environment = {"GARBAGETRUCK_ENDPOINTS": endpoints, "GARBAGETRUCK_TIMEOUT": "1s"}
    result = CliRunner(env=environment).invoke(app, arguments)
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.parametrize("reason", CODES)
def test_each_reason_has_its_exit_code_and_is_named(reason: str) -> None:
    code, wanted = CODES[reason]
    with refusing(code, reason) as endpoints:
        exit_code_, told = run(endpoints, "lease", "acquire", "a", "--ttl", "5s")
    assert exit_code_ == wanted
    assert f"because of {reason}" in told
    assert f"[{reason}]" in told


def test_an_unknown_outcome_tells_the_id_under_which_to_repeat() -> None:
    with refusing(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN") as endpoints:
        _, told = run(endpoints, "cleanup", "retry", "a", "--request-id", "mine-1")
    assert "--request-id mine-1" in told


def test_events_that_are_gone_tell_where_to_go_on() -> None:
    with refusing(grpc.StatusCode.OUT_OF_RANGE, "EVENT_INDEX_TOO_OLD") as endpoints:
        code, told = run(endpoints, "watch", "--from", "3")
    assert code == Exit.REFUSED
    assert "watch --from 17" in told


@pytest.fixture
def silent() -> Iterator[str]:
    """A node that accepts connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A node that takes calls and never answers."""

    class Hanging(grpc.GenericRpcHandler):
        @override
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(_never)

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([Hanging()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _never(request: bytes, context: grpc.ServicerContext) -> bytes:
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(60)
    return b""


def test_a_change_without_an_answer_is_unknown_and_so_is_a_read() -> None:
    with hanging() as endpoints:
        code, told = run(endpoints, "lease", "acquire", "a", "--ttl", "5s")
        assert code == Exit.UNKNOWN
        assert "--request-id" in told
        code, told = run(endpoints, "lease", "list")
        assert code == Exit.UNKNOWN
        assert "--timeout" in told


@pytest.mark.parametrize(
    "arguments", [("status",), ("lease", "list"), ("watch",), ("lease", "exec", "a", "--ttl=5s", "--", "true")]
)
def test_nobody_there_is_3_and_says_who_was_asked(arguments: tuple[str, ...], silent: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    for endpoints in (nobody, silent):
        code, told = run(endpoints, *arguments)
        assert code == Exit.UNREACHABLE
        assert f"no node answered at {endpoints}" in told


def test_every_reason_of_the_api_has_an_exit_code() -> None:
    assert {exit_code(kind("x")) for kind in BY_REASON.values()} == {
        Exit.REFUSED,
        Exit.UNREACHABLE,
        Exit.NOT_FOUND,
        Exit.PRECONDITION,
        Exit.PERMISSION,
        Exit.UNKNOWN,
    }
