"""Scenarios of one question and one answer: acquire."""

from garbagetruck.cli.bench.figures import Row, row
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S, Call, closed_loop
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.subject import Subject
from garbagetruck.client.endpoints import Stubs

LEVELS = (1, 64)


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


async def _levels(name: str, subject: Subject, plan: Plan, call: Call, *, units_per_call: int = 1) -> list[Row]:
    """Warm up and measure at each level; no number is used twice."""
    rows: list[Row] = []
    first = 0
    for in_flight in LEVELS:
        for measures in (False, True):
            budget = plan.budget if measures else plan.warm_up
            measured = await closed_loop(
                call,
                in_flight=in_flight,
                budget=budget(units_per_call=units_per_call),
                processor_s=subject.processor_s,
                first=first,
            )
            first += len(measured.latencies_ns) + measured.errors
            if measures:
                rows.append(row(name, in_flight, measured, units_per_call=units_per_call))
                plan.say(
                    f"{name}: {in_flight} in flight: {rows[-1].rate_per_s} a second, errors {measured.error_examples}"
                )
    return rows
