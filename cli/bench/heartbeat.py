"""Scenario session-heartbeat: sessions with many leases, kept alive on bidirectional streams.

One message renews one session with all its leases. Each stream has a window of messages on the way: with a window of
one the row tells the latency of a heartbeat among few, with a wider one the rate that the leader can take.
"""

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import grpc.aio

from garbagetruck.cli.bench.figures import Row, row
from garbagetruck.cli.bench.load import closed_loop
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.subject import NAMESPACE, Subject, SubjectError
from garbagetruck.v1 import session_pb2

STREAMS = 10
WINDOWS = (1, 32)
"""Messages on the way on each stream."""
SESSIONS = 100
LEASES_PER_SESSION = 100


class _Stream:
    """One stream, used as a call. Answers come in the order of the messages: the oldest waiter is always meant."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._call = self._subject.leader.session.KeepSessionAlive()
        self._reader = asyncio.create_task(self._read(), name="heartbeat-reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None, "entered once"
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def ask(self, session_id: str) -> int:
        """Send one heartbeat and wait for its answer, which says how many sessions were refused."""
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with self._writing:  # gRPC takes one message at a time
            self._waiting.append(waiter)
            await self._call.write(session_pb2.KeepSessionAliveRequest(namespace=NAMESPACE, session_ids=[session_id]))
        return await waiter

    async def _read(self) -> None:
        """Hand answers out until the stream ends, which nobody asked for: that ends the measurement."""
        try:
            while (answer := await self._call.read()) is not grpc.aio.EOF:
                assert isinstance(answer, session_pb2.KeepSessionAliveResponse), answer
                self._waiting.popleft().set_result(len(answer.errors))
            ended = SubjectError(f"a stream of heartbeats ended: {await self._call.details()}")
        except grpc.aio.AioRpcError as failure:
            ended = SubjectError(f"a stream of heartbeats broke: {failure.details()}")
        for waiter in self._waiting:
            waiter.set_exception(ended)


async def session_heartbeat(subject: Subject, plan: Plan) -> list[Row]:
    """Operations and their rate are heartbeats; each renews `leases_per_session` leases."""
    sessions = [await subject.open_session() for _ in range(SESSIONS)]
    await subject.acquire_many(SESSIONS * LEASES_PER_SESSION, sessions=sessions)
    try:
        return await _measure(subject, plan, sessions)
    finally:
        for session_id in sessions:
            await subject.close_session(session_id)


async def _measure(subject: Subject, plan: Plan, sessions: list[str]) -> list[Row]:
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(_Stream(subject)) for _ in range(STREAMS)]

        async def call(number: int) -> int:
            return await streams[number % STREAMS].ask(sessions[number % SESSIONS])

        for window in WINDOWS:
            in_flight = min(STREAMS * window, plan.operations or STREAMS * window)
            await closed_loop(call, in_flight=in_flight, budget=plan.warm_up(), processor_s=subject.processor_s)
            measured = await closed_loop(
                call, in_flight=in_flight, budget=plan.budget(), processor_s=subject.processor_s
            )
            more = {"streams": STREAMS, "leases_per_session": LEASES_PER_SESSION}
            rows.append(row("session-heartbeat", in_flight, measured, more=more))
            plan.say_row(rows[-1], measured)
    return rows
