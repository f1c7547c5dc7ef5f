"""A scenario of very many leases that end at one moment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc.aio

from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import lease_pb2, namespace_pb2

LEASES = 100_000
BATCH = 1_000
AT_ONCE = 2
"""Batches under way at the same time."""
NAMESPACE = "mass"
"""Of their own, since nobody surveys them one by one."""
LONG_MS, SHORT_MS = 600_000, 10_000
CALL_S = 20.0
TRIES_MAX = 20
AGAIN_S = 0.1
LOOK_S = 0.02
ENDED_S_MAX = 120.0
LOAD_S = 1.0

AnswerT = TypeVar("AnswerT")


@scenario("mass-expiry-leader-dies", covers=(20,))
async def mass_expiry_leader_dies(stage: Stage) -> None:
    """100,000 leases end together, and the leader is killed meanwhile: none ends early, all end, and clients go on."""
    mass = _Mass(stage)
    await mass.take()
    earliest_s = await mass.renew_together()
    leases = await mass.left()
    if asyncio.get_running_loop().time() < earliest_s:
        stage.check(f"I7: before their time is over there are {leases}", holds=leases == LEASES)
    left = await mass.until(lambda left: left < LEASES)
    stage.check(f"the leader dies while {left} are left", holds=left > 0)
    async with stage.under(Kill([await stage.leader()])):
        await stage.progress()
        await mass.until(lambda left: left == 0)
    await stage.load(LOAD_S)


@dataclass(slots=True)
class _Mass:
    """The leases, which nobody but this scenario knows."""

    stage: Stage
    _ids: list[str] = field(default_factory=list)

    async def take(self) -> None:
        """All of them, for long."""
        request = namespace_pb2.NamespaceServiceSetRequest(
            namespace=NAMESPACE, request_id="mass", brake=namespace_pb2.Brake(enabled=False)
        )
        await self._asked(lambda stubs: stubs.namespace.Set(request, timeout=CALL_S))
        await self._in_parts(range(0, LEASES, BATCH), self._take_part)

    async def _take_part(self, first: int) -> None:
        items = [
            lease_pb2.AcquireItem(resource=f"mass/{number}", holder="mass", ttl_ms=LONG_MS)
            for number in range(first, first + BATCH)
        ]
        request = lease_pb2.BatchAcquireRequest(namespace=NAMESPACE, request_id=f"mass-{first}", items=items)
        answer = await self._asked(lambda stubs: stubs.lease.BatchAcquire(request, timeout=CALL_S))
        self._ids.extend(result.lease.id for result in answer.results)

    async def renew_together(self) -> float:
        """Let all end soon. Answers before when none may, by the loop's clock."""
        sent_s = asyncio.get_running_loop().time()
        await self._in_parts(range(0, LEASES, BATCH), self._renew_part)
        return sent_s + SHORT_MS / 1_000

    async def _renew_part(self, first: int) -> None:
        request = lease_pb2.BatchRenewRequest(
            namespace=NAMESPACE, lease_ids=self._ids[first : first + BATCH], ttl_ms=SHORT_MS
        )
        answer = await self._asked(lambda stubs: stubs.lease.BatchRenew(request, timeout=CALL_S))
        if answer.errors:
            self.stage.check(f"I7: lease {first + answer.errors[0].index} of the mass is renewed", holds=False)

    async def left(self) -> int:
        """How many have not ended. Linearizable."""
        request = namespace_pb2.NamespaceServiceGetRequest(namespace=NAMESPACE)
        answer = await self._asked(lambda stubs: stubs.namespace.Get(request, timeout=CALL_S))
        return int(answer.namespace.usage.leases)

    async def until(self, holds: Callable[[int], bool]) -> int:
        """Wait for a number of them; answers it."""
        try:
            async with asyncio.timeout(ENDED_S_MAX):
                while not holds(left := await self.left()):  # noqa: ASYNC110 - another process counts
                    await asyncio.sleep(LOOK_S)
                return left
        except TimeoutError:
            return self.stage.fail(f"the mass ends within {ENDED_S_MAX:g} s")

    async def _in_parts(self, firsts: range, do: Callable[[int], Awaitable[None]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def gated(first: int) -> None:
            async with gate:
                await do(first)

        await asyncio.gather(*map(gated, firsts))

    async def _asked(self, call: Callable[[Stubs], Awaitable[AnswerT]]) -> AnswerT:
        """Ask one member after the other; every call here may be repeated."""
        failure: grpc.aio.AioRpcError | None = None
        for _ in range(TRIES_MAX):
            stubs = self.stage.random.choice(list(self.stage.cluster.doors.values()))
            try:
                return await call(stubs)
            except grpc.aio.AioRpcError as error:
                failure = error
            await asyncio.sleep(AGAIN_S)
        return self.stage.fail(f"a call for the mass succeeds: {failure}")
