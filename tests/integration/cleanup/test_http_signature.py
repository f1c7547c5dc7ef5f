"""What an `http` handler signs is what arrives, and what docs/handlers.md tells services to verify."""

import hashlib
import hmac
import inspect
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handlers.http_signature import SIGNED_HEADERS
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.examples_of_services import example
from tests.integration.cleanup.http_service import ENVIRON, NOW_S, Service, http_handler

PAGE = Path(__file__).resolve().parents[3] / "docs" / "handlers.md"
SECRET = ENVIRON["SECRET"].encode()
KEPT = {"env": "SECRET"}
ROW = {"path": "rows/ü 42&x=(1)"}

Verify = Callable[[bytes, float, str, str, Mapping[str, str], bytes], bool]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service().served() as served:
        yield served


@pytest.fixture
def verify() -> Verify:
    """The function that the page shows, and nothing else."""
    (block,) = re.findall(r"```python\n((?:(?!```).)*def verify(?:(?!```).)*)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"hashlib": hashlib, "hmac": hmac, "re": re, "time": time, "Mapping": Mapping}
    exec(block, names)
    shown: Verify = names["verify"]
    return shown


def seen(service: Service, at: int = -1) -> tuple[str, str, Mapping[str, str], bytes]:
    request: web.Request = service.requests[at]
    return request.method, request.raw_path, request.headers, service.bodies[at]


@pytest.mark.parametrize("method", ["DELETE", "POST"])
@pytest.mark.parametrize("base", ["", "/", "/base/", "/a%20b/c:d"])
async def test_the_shown_function_accepts_what_is_sent(
    service: Service, verify: Verify, method: str, base: str
) -> None:
    async with http_handler(service.url + base, method=method, signing_secret=KEPT) as handler:
        await handler.clean(call_of(handler, ROW, token=1234, resource="uploads/ü 42"))
    assert verify(SECRET, NOW_S, *seen(service))


@pytest.mark.parametrize("name", SIGNED_HEADERS)
async def test_every_header_that_a_service_decides_by_is_signed(service: Service, verify: Verify, name: str) -> None:
    async with http_handler(service.url, signing_secret=KEPT) as handler:
        await handler.clean(call_of(handler, ROW))
    method, path, headers, body = seen(service)
    assert not verify(SECRET, NOW_S, method, path, {**headers, name: headers[name] + "0"}, body)
    assert not verify(SECRET, NOW_S, method, path, {key: each for key, each in headers.items() if key != name}, body)


async def test_method_path_and_body_are_signed_and_so_is_the_secret_needed(service: Service, verify: Verify) -> None:
    async with http_handler(service.url, method="POST", signing_secret=KEPT) as handler:
        await handler.clean(call_of(handler, ROW))
    method, path, headers, body = seen(service)
    assert verify(SECRET, NOW_S, method, path, headers, body)
    assert not verify(SECRET, NOW_S, "DELETE", path, headers, body)
    assert not verify(SECRET, NOW_S, method, path + "/x", headers, body)
    assert not verify(SECRET, NOW_S, method, path, headers, body + b" ")
    assert not verify(b"another secret, as long", NOW_S, method, path, headers, body)
    assert not verify(SECRET, NOW_S, method, path, {**headers, "GarbageTruck-Signature": "ü"}, body)


async def test_a_request_that_was_held_up_for_long_is_refused_by_its_time(service: Service, verify: Verify) -> None:
    async with http_handler(service.url, signing_secret=KEPT) as handler:
        await handler.clean(call_of(handler, ROW))
    assert verify(SECRET, NOW_S + 290, *seen(service))
    assert not verify(SECRET, NOW_S + 310, *seen(service))
    assert not verify(SECRET, NOW_S - 310, *seen(service))


async def test_without_a_secret_nothing_is_signed(service: Service, verify: Verify) -> None:
    async with http_handler(service.url) as handler:
        await handler.clean(call_of(handler, ROW))
    assert "GarbageTruck-Signature" not in service.requests[0].headers
    assert not verify(SECRET, NOW_S, *seen(service))


def test_the_page_and_the_example_show_the_same_function() -> None:
    with example("http_service") as module:
        source = inspect.getsource(module.verify)
    assert source in PAGE.read_text("utf-8")
