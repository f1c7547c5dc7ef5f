"""The closed loop: how many calls it keeps on the way, when it ends, and what it does with failures."""

import asyncio

import grpc
import grpc.aio
import pytest

from garbagetruck.cli.bench.load import Budget, closed_loop


def unavailable() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


async def test_every_number_is_called_once_and_never_more_at_a_time_than_asked() -> None:
    numbers: list[int] = []
    now, most = 0, 0

    async def call(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        numbers.append(number)
        now -= 1
        return 0

    measured = await closed_loop(call, in_flight=7, budget=Budget(calls_max=100), processor_s=lambda: None, first=1_000)
    assert sorted(numbers) == list(range(1_000, 1_100))
    assert most == 7
    assert (len(measured.latencies_ns), measured.calls, measured.errors) == (100, 100, 0)
    assert measured.elapsed_ns > 0
    assert measured.server_cpu_s is None


async def test_a_duration_ends_the_load_when_calls_do_not() -> None:
    async def call(number: int) -> int:
        await asyncio.sleep(0.001)
        return 0

    measured = await closed_loop(call, in_flight=2, budget=Budget(duration_s=0.02), processor_s=lambda: 1.0)
    assert measured.elapsed_ns >= 20_000_000
    assert measured.latencies_ns
    assert measured.server_cpu_s == 0.0


async def test_failed_calls_and_refused_items_are_counted_by_kind() -> None:
    async def call(number: int) -> int:
        if number % 2:
            raise unavailable()
        return 3

    measured = await closed_loop(call, in_flight=1, budget=Budget(calls_max=10), processor_s=lambda: None)
    assert (len(measured.latencies_ns), measured.calls) == (5, 10)
    assert measured.errors_by_kind == {"UNAVAILABLE": 5, "ITEM_REFUSED": 15}
    assert measured.errors == 20


async def test_what_is_no_answer_of_the_cluster_ends_the_load_as_it_is() -> None:
    async def call(number: int) -> int:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await closed_loop(call, in_flight=3, budget=Budget(calls_max=10), processor_s=lambda: None)
