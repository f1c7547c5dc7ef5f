"""Scenarios of one question and one answer: acquire, renew, release, and renewals by the hundred."""

import secrets

from garbagetruck.cli.bench.figures import Row, row
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S, Budget, Call, closed_loop
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.subject import NAMESPACE, Subject
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import lease_pb2

LEVELS = (1, 64)
BATCH_IDS = 100
BATCH_LEVELS = (1, 8, 64)
POOL = 10_000
"""Leases that renewals choose from in turn."""
RELEASES_MAX = 15_000
"""Leases taken before for each row of `release`, unless --operations says how many."""


async def acquire(subject: Subject, plan: Plan) -> list[Row]:
    """Every lease is on a resource of its own, asked of the leader."""
    return await _acquire("acquire", subject, subject.leader, plan)


async def acquire_follower(subject: Subject, plan: Plan) -> list[Row]:
    """The same, asked of one follower."""
    return await _acquire("acquire-follower", subject, subject.follower, plan)


async def _acquire(name: str, subject: Subject, node: Stubs, plan: Plan) -> list[Row]:
    async def call(number: int) -> int:
        await node.lease.Acquire(subject.acquire_request(number), timeout=CALL_TIMEOUT_S)
        return 0

    return await _levels(name, subject, plan, call)


async def renew(subject: Subject, plan: Plan) -> list[Row]:
    """One lease a call, of a pool in turn, asked of the leader."""
    leases = await subject.acquire_many(POOL)
    stub = subject.leader.lease

    async def call(number: int) -> int:
        request = lease_pb2.RenewRequest(
            namespace=NAMESPACE, request_id=f"renew-{number}", lease_id=leases[number % len(leases)]
        )
        await stub.Renew(request, timeout=CALL_TIMEOUT_S)
        return 0

    return await _levels("renew", subject, plan, call)


async def renew_batch(subject: Subject, plan: Plan) -> list[Row]:
    """A hundred leases a call. Operations and their rate are leases; percentiles are of calls."""
    leases = await subject.acquire_many(POOL)
    stub = subject.leader.lease

    async def call(number: int) -> int:
        first = number * BATCH_IDS % len(leases)
        request = lease_pb2.BatchRenewRequest(
            namespace=NAMESPACE, request_id=f"renew-{number}", lease_ids=leases[first : first + BATCH_IDS]
        )
        return len((await stub.BatchRenew(request, timeout=CALL_TIMEOUT_S)).errors)

    return await _levels("renew-batch", subject, plan, call, levels=BATCH_LEVELS, units_per_call=BATCH_IDS)


async def release(subject: Subject, plan: Plan) -> list[Row]:
    """One lease a call, each once, asked of the leader. Ends early when the leases taken before are used up."""
    rows: list[Row] = []
    stub = subject.leader.lease
    for in_flight in LEVELS:
        wanted = plan.budget(), plan.warm_up()
        pool = RELEASES_MAX if plan.operations is None else sum(each.calls_max or 0 for each in wanted)
        leases = await subject.acquire_many(pool)

        async def call(number: int, leases: list[str] = leases) -> int:
            await stub.Release(
                lease_pb2.ReleaseRequest(namespace=NAMESPACE, request_id=secrets.token_hex(8), lease_id=leases[number]),
                timeout=CALL_TIMEOUT_S,
            )
            return 0

        rows += await _levels("release", subject, plan, call, levels=(in_flight,), calls_max=pool)
    return rows


async def _levels(
    name: str,
    subject: Subject,
    plan: Plan,
    call: Call,
    *,
    levels: tuple[int, ...] = LEVELS,
    units_per_call: int = 1,
    calls_max: int | None = None,
) -> list[Row]:
    """Warm up and measure at each level. No number is used twice, and none from `calls_max` on."""
    rows: list[Row] = []
    first = 0
    for in_flight in levels:
        for measures in (False, True):
            budget = (plan.budget if measures else plan.warm_up)(units_per_call=units_per_call)
            if calls_max is not None:
                left = calls_max - first
                calls = left if budget.calls_max is None else min(left, budget.calls_max)
                budget = Budget(calls_max=calls, duration_s=budget.duration_s)
            at_once = in_flight if budget.calls_max is None else max(1, min(in_flight, budget.calls_max))
            measured = await closed_loop(
                call, in_flight=at_once, budget=budget, processor_s=subject.processor_s, first=first
            )
            first += measured.calls
            if measures:
                rows.append(row(name, at_once, measured, units_per_call=units_per_call))
                plan.say_row(rows[-1], measured)
    return rows
