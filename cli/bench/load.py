"""A closed loop: so many calls in flight, each followed by the next as soon as it is answered.

It measures what a caller waits for. It does not measure what calls would wait for that a stalled server kept from being
sent at all (coordinated omission); the worst latencies of a closed loop are therefore lower bounds.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import grpc.aio

from garbagetruck.cli.bench.figures import NS_PER_S, Measurement

Call = Callable[[int], Awaitable[int]]
"""Does the call of this number; the answer is how many of its items failed."""

CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When a load ends: after so many calls or after so long, whatever comes first."""

    calls_max: int | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        assert self.calls_max is not None or self.duration_s is not None


@dataclass(slots=True)
class ProcessorTime:
    """What was used within a `processor_time`; None before its end, and where nothing can be told."""

    client_s: float | None = None
    server_s: float | None = None


@contextlib.contextmanager
def processor_time(servers_s: Callable[[], float | None]) -> Iterator[ProcessorTime]:
    """Processor time of this process and of the nodes, as `servers_s` sums it up, from here to the end."""
    used = ProcessorTime()
    servers_before_s, client_before_s = servers_s(), time.process_time()
    yield used
    used.client_s = time.process_time() - client_before_s
    servers_after_s = servers_s()
    if servers_before_s is not None and servers_after_s is not None:
        used.server_s = servers_after_s - servers_before_s


async def closed_loop(
    call: Call, *, in_flight: int, budget: Budget, processor_s: Callable[[], float | None], first: int = 0
) -> Measurement:
    """Run `call` with the numbers from `first` on. Failures are counted by kind; anything but gRPC's is raised."""
    measured = Measurement()
    number = first
    end = None if budget.calls_max is None else first + budget.calls_max
    began_ns = time.perf_counter_ns()
    deadline_ns = None if budget.duration_s is None else began_ns + round(budget.duration_s * NS_PER_S)

    async def worker() -> None:
        nonlocal number
        while True:
            mine, sent_ns = number, time.perf_counter_ns()
            if (end is not None and mine >= end) or (deadline_ns is not None and sent_ns >= deadline_ns):
                return
            number += 1
            try:
                refused = await call(mine)
            except grpc.aio.AioRpcError as failure:
                measured.count_failure(failure.code().name)
                continue
            if refused:
                measured.count_error("ITEM_REFUSED", refused)
            measured.latencies_ns.append(time.perf_counter_ns() - sent_ns)

    with processor_time(processor_s) as processor:
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(in_flight):
                    workers.create_task(worker())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group  # callers know single errors, and one is as good as all
        measured.elapsed_ns = time.perf_counter_ns() - began_ns
    measured.client_cpu_s, measured.server_cpu_s = processor.client_s, processor.server_s
    return measured
