"""The `grpc` handler against a real server: what it sends, and what it makes of each answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

import grpc
import pytest

from garbagetruck.cluster.cleanup.handler import NOT_OBSERVED, CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.answers import ANSWER_CHARACTERS_SHOWN
from garbagetruck.cluster.cleanup.handlers.grpc.channels import SERVICE
from garbagetruck.v1 import cleanup_handler_pb2 as wire
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.grpc_service import (
    NOT_SERVING,
    SERVING,
    Context,
    GrpcService,
    grpc_handler,
    refusing_server,
    silent_server,
)

ROW = {"path": "rows/42"}


@pytest.fixture
async def service() -> AsyncIterator[GrpcService]:
    async with GrpcService().served() as served:
        yield served


async def test_the_call_carries_what_the_service_needs_to_fence(service: GrpcService) -> None:
    async with grpc_handler(service.address, metadata={"authorization": {"env": "TOKEN"}}) as handler:
        assert await handler.observe(ROW) == NOT_OBSERVED
        call = call_of(handler, {"path": "rows/ü 42"}, token=2**53 - 1, attempt=3, resource="uploads/ü\n42")
        assert call.target == "grpc:/index/rows/ü 42"
        assert await handler.clean(call) == CleanupResult.done()
    (request,) = service.requests
    assert request == wire.CleanUpRequest(
        handler="index",
        path="rows/ü 42",
        fencing_token=2**53 - 1,
        idempotency_key=call.idempotency_key,
        cluster_id="cluster-1",
        namespace="default",
        resource="uploads/ü\n42",
        generation=7,
        attempt=3,
    )
    assert service.metadata[0]["authorization"] == "Bearer 7"


@pytest.mark.parametrize(
    ("outcome", "verdict", "retryable"),
    [
        (wire.CLEAN_UP_OUTCOME_DONE, Verdict.DONE, True),
        (wire.CLEAN_UP_OUTCOME_ALREADY_GONE, Verdict.ALREADY_GONE, True),
        (wire.CLEAN_UP_OUTCOME_RETRY_LATER, Verdict.FAILED, True),
        (wire.CLEAN_UP_OUTCOME_FAILED_PERMANENTLY, Verdict.FAILED, False),
        (wire.CLEAN_UP_OUTCOME_UNSPECIFIED, Verdict.FAILED, True),
        (77, Verdict.FAILED, True),
    ],
)
async def test_each_outcome_has_its_meaning(
    service: GrpcService, outcome: wire.CleanUpOutcome.ValueType, verdict: Verdict, retryable: bool
) -> None:
    service.response = wire.CleanUpResponse(outcome=outcome, reason="because\nof\x00 it" + "x" * 10_000)
    async with grpc_handler(service.address) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (verdict, retryable)
    assert ("because of it" in result.error) == (verdict is Verdict.FAILED)
    assert len(result.error) < ANSWER_CHARACTERS_SHOWN + 100
    assert result.error.isprintable()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_is_never_a_success(service: GrpcService, code: grpc.StatusCode) -> None:
    async def refuse(context: Context) -> NoReturn:
        await context.abort(code, "no\r\nway")

    service.answer = refuse
    async with grpc_handler(service.address) as handler:
        result = await handler.clean(call_of(handler, ROW))
    for_good = code.name in ("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "OUT_OF_RANGE")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, not for_good)
    assert result.error == f"{service.address}: {code.name}: no way"
    assert len(service.requests) == 1


async def test_an_answer_that_is_too_large_is_not_taken(service: GrpcService) -> None:
    service.response = wire.CleanUpResponse(outcome=wire.CLEAN_UP_OUTCOME_DONE, reason="x" * 1_000_000)
    async with grpc_handler(service.address) as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "RESOURCE_EXHAUSTED" in result.error


async def test_the_attempts_time_is_the_calls_deadline_and_the_service_learns_of_it(service: GrpcService) -> None:
    told: list[float] = []
    given_up = asyncio.Event()

    async def wait(context: Context) -> NoReturn:
        told.append(context.time_remaining() or 0.0)
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    async with grpc_handler(service.address) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done(), "the connection stands"
        service.answer = wait
        result = await handler.clean(call_of(handler, ROW, remaining_s=lambda: 1.0))
        await asyncio.wait_for(given_up.wait(), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "DEADLINE_EXCEEDED" in result.error
    assert 0 < told[0] < 1.5, "rounded up by gRPC on its way"


async def test_i8_cancelling_an_attempt_cancels_its_call(service: GrpcService) -> None:
    arrived, given_up = asyncio.Event(), asyncio.Event()

    async def wait(_context: Context) -> NoReturn:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    service.answer = wait
    async with grpc_handler(service.address) as handler:
        attempt = asyncio.create_task(handler.clean(call_of(handler, ROW)))
        await arrived.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await asyncio.wait_for(given_up.wait(), 10)


async def test_i8_nothing_is_called_when_the_attempt_may_not_proceed(service: GrpcService) -> None:
    async with grpc_handler(service.address) as handler:
        for call in (
            call_of(handler, ROW, still_leading=lambda: False),
            call_of(handler, ROW, remaining_s=lambda: 0.0),
        ):
            assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert service.requests == []


async def test_a_service_that_is_not_there_is_a_failure_that_may_be_retried() -> None:
    async with grpc_handler("127.0.0.1:1") as handler:
        result = await handler.clean(call_of(handler, ROW))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "127.0.0.1:1: UNAVAILABLE" in result.error


@pytest.mark.parametrize("plaintext", [True, False])
async def test_a_half_open_server_is_left_at_the_deadline(plaintext: bool) -> None:
    async with silent_server(hang_up=False) as (address, _), grpc_handler(address, plaintext=plaintext) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW, remaining_s=lambda: 0.3)), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "DEADLINE_EXCEEDED" in result.error


async def test_i8_an_attempt_makes_one_call_even_if_the_service_refuses_it_unseen() -> None:
    async with refusing_server() as (address, refused), grpc_handler(address, health=False) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW, remaining_s=lambda: 2.0)), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert len(refused) == 1


async def test_what_is_no_grpc_server_is_a_failure_that_may_be_retried() -> None:
    async with silent_server(hang_up=True) as (address, _), grpc_handler(address) as handler:
        result = await asyncio.wait_for(handler.clean(call_of(handler, ROW, remaining_s=lambda: 3.0)), 10)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)


# -- health -----------------------------------------------------------------------------------------------------


async def test_a_service_that_says_it_cannot_is_not_called_until_it_can(service: GrpcService) -> None:
    await service.health.set(SERVICE, NOT_SERVING)
    async with grpc_handler(service.address) as handler:
        result = await handler.clean(call_of(handler, ROW, remaining_s=lambda: 5.0))
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert service.requests == []
        await service.health.set(SERVICE, SERVING)
        async with asyncio.timeout(10):
            while (await handler.clean(call_of(handler, ROW))).verdict is not Verdict.DONE:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
    assert len(service.requests) == 1


async def test_health_may_be_left_out_of_account(service: GrpcService) -> None:
    await service.health.set(SERVICE, NOT_SERVING)
    async with grpc_handler(service.address, health=False) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()


async def test_a_service_that_tells_no_health_is_called() -> None:
    async with GrpcService(tells_health=False).served() as service, grpc_handler(service.address) as handler:
        assert await handler.clean(call_of(handler, ROW)) == CleanupResult.done()
