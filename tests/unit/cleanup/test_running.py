"""Short blocking calls share hops, and nothing else."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest

from garbagetruck.cluster.cleanup.running import CALLS_PER_HOP_MAX, HOPS_MAX, GatheredCalls, run_directly

T = TypeVar("T")


def fail() -> None:
    raise OSError("its own")


async def test_each_call_gets_its_own_result_or_exception() -> None:
    gathered = GatheredCalls(run_directly)
    answers = await asyncio.gather(gathered(lambda: 1), gathered(fail), gathered(lambda: 3), return_exceptions=True)
    assert [answers[0], answers[2]] == [1, 3]
    assert isinstance(answers[1], OSError)


async def test_calls_that_wait_together_go_together_up_to_the_bounds() -> None:
    hops: list[int] = []
    in_flight = in_flight_max = 0

    async def count(call: Callable[[], T]) -> T:
        nonlocal in_flight, in_flight_max
        in_flight += 1
        in_flight_max = max(in_flight_max, in_flight)
        await asyncio.sleep(0.001)
        answers = call()
        assert isinstance(answers, list)
        hops.append(len(answers))
        in_flight -= 1
        return answers

    gathered = GatheredCalls(count)
    count_of_calls = 10 * CALLS_PER_HOP_MAX
    assert await asyncio.gather(*(gathered(partial(int, number)) for number in range(count_of_calls))) == list(
        range(count_of_calls)
    )
    assert hops == [CALLS_PER_HOP_MAX] * 10
    assert in_flight_max == HOPS_MAX


async def test_what_was_cancelled_before_its_turn_is_not_run() -> None:
    gate, ran = asyncio.Event(), list[int]()

    async def wait(call: Callable[[], T]) -> T:
        await gate.wait()
        return call()

    gathered = GatheredCalls(wait)
    tasks = [asyncio.create_task(gathered(partial(ran.append, number))) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ran == [0, 2]


async def test_a_pool_that_is_shut_down_fails_the_calls_and_not_the_loop() -> None:
    async def closed(call: Callable[[], T]) -> T:
        raise RuntimeError("cannot schedule new futures after shutdown")

    gathered = GatheredCalls(closed)
    with pytest.raises(RuntimeError, match="cannot be run"):
        await gathered(lambda: 1)
