"""A scenario of very many leases that end at one moment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc.aio

from garbagetruck.chaos.faults.processes import Kill
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import RECOVERY_S_MAX, Stage
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import lease_pb2, namespace_pb2

LEASES = 100_000
"""Unless somebody says otherwise. A million of them take three nodes of 1.5 GiB each, and ten minutes."""
BATCH = 1_000
AT_ONCE = 2
"""Batches under way at the same time."""
NAMESPACE = "mass"
"""Of their own, since nobody surveys them one by one."""
LONG_MS = 3_600_000
SHORT_MS_MIN = 10_000
RENEWING_SHARE = 0.5
"""What renewing them all takes of the time that taking them took, at most; who is renewed later ends later."""
CALL_S = 20.0
TRIES_MAX = 20
AGAIN_S = 0.1
LOOK_S = 0.02
ENDED_S_MAX = 120.0
"""And a second for each `PER_S` of them."""
PER_S = 2_500
"""How many nodes end, or read again when they start, at least, in each second. Ten times as many on an idle machine."""
LOAD_S = 1.0

AnswerT = TypeVar("AnswerT")


@scenario("mass-expiry-leader-dies", covers=(20,), size=LEASES)
async def mass_expiry_leader_dies(stage: Stage) -> None:
    """100,000 leases, or as many as --size says, end at one moment, and the leader is killed meanwhile: none ends early, all end."""
    mass, size = _Mass(stage), stage.plan.size
    await mass.take()
    end_s = await mass.renew_to_one_moment()
    leases = await mass.left()
    if _now_s() < end_s:
        stage.check(f"I7: before their time is over there are {leases}", holds=leases == size)
    left = await mass.until(lambda left: left < size)
    stage.check(f"the leader dies while {left} are left", holds=left > 0)
    async with stage.under(Kill([await stage.leader()]), recovery_s_max=RECOVERY_S_MAX + size / PER_S):
        await stage.progress()
        await mass.until(lambda left: left == 0)
    await stage.load(LOAD_S)


@dataclass(slots=True)
class _Mass:
    """The leases, which nobody but this scenario knows."""

    stage: Stage
    _ids: list[str] = field(default_factory=list)
    _took_s: float = 0.0
    _end_s: float = 0.0

    @property
    def _firsts(self) -> range:
        return range(0, self.stage.plan.size, BATCH)

    async def take(self) -> None:
        """All of them, for long."""
        request = namespace_pb2.NamespaceServiceSetRequest(
            namespace=NAMESPACE, request_id="mass", brake=namespace_pb2.Brake(enabled=False)
        )
        await self._asked(lambda stubs: stubs.namespace.Set(request, timeout=CALL_S))
        began_s = _now_s()
        await self._in_parts(self._take_part)
        self._took_s = _now_s() - began_s

    async def _take_part(self, first: int) -> None:
        items = [
            lease_pb2.AcquireItem(resource=f"mass/{number}", holder="mass", ttl_ms=LONG_MS)
            for number in range(first, min(first + BATCH, self.stage.plan.size))
        ]
        request = lease_pb2.BatchAcquireRequest(namespace=NAMESPACE, request_id=f"mass-{first}", items=items)
        answer = await self._asked(lambda stubs: stubs.lease.BatchAcquire(request, timeout=CALL_S))
        self._ids.extend(result.lease.id for result in answer.results)

    async def renew_to_one_moment(self) -> float:
        """Let all end then. Answers when that is, by the loop's clock."""
        self._end_s = _now_s() + SHORT_MS_MIN / 1_000 + RENEWING_SHARE * self._took_s
        await self._in_parts(self._renew_part)
        return self._end_s

    async def _renew_part(self, first: int) -> None:
        ttl_ms = max(SHORT_MS_MIN, round((self._end_s - _now_s()) * 1_000))
        request = lease_pb2.BatchRenewRequest(
            namespace=NAMESPACE, lease_ids=self._ids[first : first + BATCH], ttl_ms=ttl_ms
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
        most_s = ENDED_S_MAX + self.stage.plan.size / PER_S
        try:
            async with asyncio.timeout(most_s):
                while not holds(left := await self.left()):  # noqa: ASYNC110 - another process counts
                    await asyncio.sleep(LOOK_S)
                return left
        except TimeoutError:
            return self.stage.fail(f"the mass ends within {most_s:g} s")

    async def _in_parts(self, do: Callable[[int], Awaitable[None]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def gated(first: int) -> None:
            async with gate:
                await do(first)

        await asyncio.gather(*map(gated, self._firsts))

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


def _now_s() -> float:
    return asyncio.get_running_loop().time()
