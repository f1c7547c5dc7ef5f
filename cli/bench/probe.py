"""Another client, which acquires one lease after the other while something else goes on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from garbagetruck.cli.bench.figures import Measurement
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S
from garbagetruck.cli.bench.subject import Subject


@dataclass(slots=True)
class Probe:
    """Remembers when each call was sent and what it took, in nanoseconds."""

    subject: Subject
    calls: list[tuple[int, int]] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Acquire for as long as the block lasts."""
        async with while_running(self._run()):
            yield

    def between(self, begin_ns: int, end_ns: int) -> Measurement:
        """What was on the way at some time between these two."""
        return self._those(lambda sent, took: sent + took >= begin_ns and sent < end_ns)

    def within(self, spans: list[tuple[int, int]]) -> Measurement:
        """What was on the way at some time within one of these spans."""
        return self._those(lambda sent, took: _touches(spans, sent, took))

    def without(self, spans: list[tuple[int, int]]) -> Measurement:
        """What was on the way outside of all of these spans."""
        return self._those(lambda sent, took: not _touches(spans, sent, took))

    def _those(self, counts: Callable[[int, int], bool]) -> Measurement:
        measured = Measurement(latencies_ns=[took for sent, took in self.calls if counts(sent, took)])
        for sent_ns, kind in self.failures:
            if counts(sent_ns, 0):
                measured.count_error(kind)
        return measured

    async def _run(self) -> None:
        number = 0
        while True:
            request = self.subject.acquire_request(number)
            number += 1
            sent_ns = time.perf_counter_ns()
            try:
                await self.subject.leader.lease.Acquire(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as failure:
                self.failures.append((sent_ns, failure.code().name))
            else:
                self.calls.append((sent_ns, time.perf_counter_ns() - sent_ns))


def _touches(spans: list[tuple[int, int]], sent_ns: int, took_ns: int) -> bool:
    return any(sent_ns + took_ns >= begin and sent_ns <= end for begin, end in spans)


@contextlib.asynccontextmanager
async def while_running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have `work`, which never ends by itself, go on for as long as the block lasts. What it raised is raised."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
