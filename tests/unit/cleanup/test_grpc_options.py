"""What a `grpc` handler takes from the operator, and from clients."""

import pytest

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.grpc import grpc_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

ROW = {"path": "rows/42"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "handlers.index: .*address"),
        ({"address": "index.internal"}, "index.address: is not an address"),
        ({"address": "index.internal:0"}, "index.address: is not an address"),
        ({"address": "index.internal:70000"}, "index.address: is not an address"),
        ({"address": "https://index.internal:443"}, "index.address: is not an address"),
        ({"address": "dns:///index.internal:443"}, "index.address: is not an address"),
        ({"address": "unix:/run/index"}, "index.address: is not an address"),
        ({"address": "2130706433:443"}, "index.address: its host is a number"),
        ({"address": "127.0.0.1:443"}, "index.address: 127.0.0.1 is a loopback address; name it in `allow_addresses`"),
        ({"address": "[::1]:443"}, "index.address: ::1 is a loopback address"),
        ({"address": "x:1", "metadata": {"Authorization": "a"}}, "metadata.Authorization: is not a key of text"),
        ({"address": "x:1", "metadata": {"a-bin": "a"}}, "metadata.a-bin: is not a key of text"),
        ({"address": "x:1", "metadata": {"grpc-timeout": "1S"}}, "is set by gRPC itself"),
        ({"address": "x:1", "metadata": {"a": "b\nc"}}, "metadata.a: its value cannot be sent"),
        ({"address": "x:1", "metadata": {"a": {}}}, "metadata.a: names no single source"),
        ({"address": "x:1", "metadata": {f"a{number}": "b" for number in range(33)}}, "metadata: are too many"),
        ({"address": "x:1", "tls": {"key": "/k"}}, "tls.certificate: is missing"),
        ({"address": "x:1", "tls": {"authority": "ca.pem"}}, "tls.authority: is not an absolute path"),
        ({"address": "x:1", "tls": {"server_name": "a/b"}}, "tls.server_name: is not a host name"),
        ({"address": "x:1", "tls": {"verify": False}}, "unknown field `verify`"),
        ({"address": "x:1", "tls": {"authority": "/ca"}, "insecure_plaintext": True}, "together with"),
        ({"address": "x:1", "allow_addresses": ["all"]}, "allow_addresses: holds no network"),
    ],
)
def test_options_that_are_wrong_say_what_is_right(options: dict[str, object], expected: str) -> None:
    with pytest.raises(HandlerSettingsError, match=expected) as caught:
        grpc_handlers(run_directly, {})(options, "index")
    assert caught.value.remedy


def test_clients_choose_nothing_but_a_path() -> None:
    handler = grpc_handlers(run_directly, {})({"address": "index.internal:443"}, "index")
    assert handler.canonical_target(ROW) == "grpc:/index/rows/42"
    for parameters in ({}, {"path": ""}, {"path": "../x"}, {"path": "a\nb"}, {"path": "a", "address": "b"}):
        with pytest.raises(InvalidParametersError):
            handler.canonical_target(parameters)
