"""The `http` handler against a real server: what it sends, and what it makes of each answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handler import NOT_OBSERVED, CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.answers import ANSWER_CHARACTERS_SHOWN
from garbagetruck.cluster.cleanup.handlers.http import http_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.http_service import LOOPBACK, Service, http_handler

ROW = {"path": "rows/42"}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service().served() as served:
        yield served


async def test_the_request_carries_what_the_service_needs_to_fence(service: Service) -> None:
    async with http_handler(f"{service.url}/base/", headers={"Authorization": {"env": "TOKEN"}}) as handler:
        assert await handler.observe(ROW) == NOT_OBSERVED
        call = call_of(handler, ROW, token=1234, attempt=3, resource="uploads/ü 42")
        assert await handler.clean(call) == CleanupResult.done()
    (request,) = service.requests
    assert (request.method, request.raw_path) == ("DELETE", "/base/rows/42")
    assert request.headers["GarbageTruck-Fencing-Token"] == "1234"
    assert request.headers["GarbageTruck-Generation"] == "7"
    assert request.headers["GarbageTruck-Resource"] == "uploads/%C3%BC%2042"
    assert request.headers["GarbageTruck-Namespace"] == "default"
    assert request.headers["GarbageTruck-Cluster"] == "cluster-1"
    assert request.headers["GarbageTruck-Attempt"] == "3"
    assert request.headers["Idempotency-Key"] == call.idempotency_key
    assert request.headers["Authorization"] == "Bearer 7"
    assert service.bodies == [b""]


async def test_a_service_may_be_asked_by_post(service: Service) -> None:
    async with http_handler(service.url, method="POST") as handler:
        await handler.clean(call_of(handler, ROW, token=1234))
    (request,) = service.requests
    assert request.method == "POST"
    body = await request.json()
    assert body["fencing_token"] == 1234
    assert body["parameters"] == ROW
    assert body["idempotency_key"] == request.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("a b", "/base/a%20b"),
        ("ünï/😀", "/base/%C3%BCn%C3%AF/%F0%9F%98%80"),
        ("a:b@c;d=e,f&g+h", "/base/a:b@c;d=e,f&g+h"),
        ("http:/evil.example", "/base/http:/evil.example"),
        ('x"<>^`{|}', "/base/x%22%3C%3E%5E%60%7B%7C%7D"),
        ("a.b~c_d-e", "/base/a.b~c_d-e"),
    ],
)
async def test_a_path_arrives_as_it_was_given_and_below_the_base(service: Service, path: str, sent: str) -> None:
    async with http_handler(f"{service.url}/base") as handler:
        await handler.clean(call_of(handler, {"path": path}))
    (request,) = service.requests
    assert request.raw_path == sent
    assert request.path == f"/base/{path}"


@pytest.mark.parametrize(
    ("status", "verdict", "retryable"),
    [
        (200, Verdict.DONE, True),
        (202, Verdict.DONE, True),
        (204, Verdict.DONE, True),
        (404, Verdict.ALREADY_GONE, True),
        (410, Verdict.ALREADY_GONE, True),
        (302, Verdict.FAILED, False),
        (308, Verdict.FAILED, False),
        (400, Verdict.FAILED, False),
        (405, Verdict.FAILED, False),
        (422, Verdict.FAILED, False),
        (401, Verdict.FAILED, True),
        (403, Verdict.FAILED, True),
        (408, Verdict.FAILED, True),
        (409, Verdict.FAILED, True),
        (412, Verdict.FAILED, True),
        (429, Verdict.FAILED, True),
        (500, Verdict.FAILED, True),
        (503, Verdict.FAILED, True),
    ],
)
async def test_each_status_has_its_meaning(service: Service, status: int, verdict: Verdict, retryable: bool) -> None:
    service.status = status
    service.headers = {"Location": f"{service.url}/elsewhere"} if status in (302, 308) else {}
    async with http_handler(service.url) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (verdict, retryable)
    assert (str(status) in result.error) == (verdict is Verdict.FAILED)
    assert len(service.requests) == 1, "no redirect is followed"


async def test_what_the_service_says_is_kept_short_and_printable(service: Service) -> None:
    service.status = 500
    service.body = b"row is\nlocked\x00 by \xff\xfe " + b"x" * 1_000_000
    async with http_handler(service.url) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert result.error.startswith("500: the service failed: row is locked by")
    assert len(result.error) < ANSWER_CHARACTERS_SHOWN + 50
    assert result.error.isprintable()


async def test_an_endless_answer_is_not_waited_for(service: Service) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    service.answer = endless
    async with http_handler(service.url) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW)), 10)
    assert result.verdict is Verdict.FAILED


async def test_a_service_that_does_not_answer_is_left_at_the_deadline(service: Service) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    service.answer = silent
    async with http_handler(service.url) as handler:
        result = await handler.clean(call_of(handler, ROW, remaining_s=lambda: 0.1))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "no answer in time" in result.error


async def test_a_service_that_is_not_there_is_a_failure_that_may_be_retried(service: Service) -> None:
    async with http_handler("http://127.0.0.1:1/") as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "127.0.0.1" in result.error


async def test_i8_nothing_is_sent_when_the_attempt_may_not_proceed(service: Service) -> None:
    async with http_handler(service.url) as handler:
        for call in (
            call_of(handler, ROW, still_leading=lambda: False),
            call_of(handler, ROW, remaining_s=lambda: 0.0),
        ):
            assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert service.requests == []


async def test_i8_cancelling_an_attempt_closes_its_request(service: Service) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        arrived.set()
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        gone.set()
        return web.Response()

    service.answer = wait
    async with http_handler(service.url) as handler:
        attempt = asyncio.create_task(handler.clean(call_of(handler, ROW)))
        await arrived.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await asyncio.wait_for(gone.wait(), 20)


async def test_a_missing_credential_keeps_the_node_from_starting() -> None:
    handler = http_handlers(run_directly, {})(
        {"base_url": "http://127.0.0.1:1", "allow_addresses": LOOPBACK, "headers": {"A": {"env": "NONE"}}}, "index"
    )
    with pytest.raises(HandlerSettingsError, match="the variable NONE is not set"):
        await handler.start()
    await handler.stop()


async def test_i8_an_attempt_sends_one_request_when_the_service_hangs_up(service: Service) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with http_handler(service.url) as handler:
        await handler.clean(call_of(handler, ROW))
        service.requests.clear()
        service.answer = hang_up
        result = await handler.clean(call_of(handler, ROW))
    assert result.verdict is Verdict.FAILED
    assert result.retryable
    assert len(service.requests) == 1
