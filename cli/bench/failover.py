"""Scenario failover: `kill -9` of the leader under load, again and again, and how long until the next success.

The load is acquires, asked of all three nodes; a call that fails is made again at the next node. The time counts from
just before the kill until the first answer that a later term gave, whichever node it came from: a success in the old
term may have been on its way already.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc.aio

from garbagetruck.cli.bench.figures import Measurement, Row, milliseconds, row
from garbagetruck.cli.bench.load import processor_time
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.subject import Subject, SubjectError
from garbagetruck.v1 import cluster_pb2

IN_FLIGHT = 16
KILLS = 5
ATTEMPT_TIMEOUT_S = 2.0
AGAIN_S = 0.02
"""Between two attempts of one caller."""
POLL_S = 0.05
RECOVERY_TIMEOUT_S = 30.0
HEALTHY_TIMEOUT_S = 60.0
LOADED_S = 1.5
"""For how long the load runs on a healthy cluster before each kill."""


@dataclass(slots=True)
class _Load:
    """Callers that never stop asking."""

    subject: Subject
    acknowledged: int = 0
    failures: Measurement = field(default_factory=Measurement)
    killed_term: int | None = None
    """The term of the leader that was killed, while a success in a later one is waited for."""
    recovered: asyncio.Event = field(default_factory=asyncio.Event)
    recovered_ns: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as callers:
            for first in range(IN_FLIGHT):
                callers.create_task(self._caller(first))

    def expect(self, killed_term: int) -> None:
        """Wait for a success in a later term than this."""
        self.killed_term = killed_term
        self.recovered.clear()

    async def _caller(self, first: int) -> None:
        nodes = list(self.subject.nodes.values())
        for attempt in itertools.count(first):
            request = self.subject.acquire_request(next(self.numbers))
            try:
                answer = await nodes[attempt % len(nodes)].lease.Acquire(request, timeout=ATTEMPT_TIMEOUT_S)
            except grpc.aio.AioRpcError as failure:
                self.failures.count_error(failure.code().name)
                await asyncio.sleep(AGAIN_S)
                continue
            self.acknowledged += 1
            if self.killed_term is not None and answer.header.term > self.killed_term:
                self.killed_term, self.recovered_ns = None, time.perf_counter_ns()
                self.recovered.set()


async def failover(subject: Subject, plan: Plan) -> list[Row]:
    """Operations are kills; percentiles are of the times to the next success; the rate is the load's, outages included."""
    kills = KILLS if plan.operations is None else min(plan.operations, KILLS)
    load = _Load(subject)
    outages_ns: list[int] = []
    began_ns = time.perf_counter_ns()
    loading = asyncio.create_task(load.run(), name="bench-failover-load")
    try:
        with processor_time(subject.processor_s) as processor:
            for _ in range(kills):
                outages_ns.append(await _kill_once(subject, load))
                plan.say(f"failover: next success after {milliseconds(outages_ns[-1])} ms")
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    measured = load.failures
    measured.latencies_ns = outages_ns
    measured.elapsed_ns = time.perf_counter_ns() - began_ns
    # The nodes' processor time is lost with those that were killed.
    measured.client_cpu_s = processor.client_s
    shaped = row("failover", IN_FLIGHT, measured)
    more = {
        "failover_ms": [milliseconds(each) for each in outages_ns],
        "failover_max_ms": milliseconds(max(outages_ns)),
        "load_operations": load.acknowledged,
    }
    return [shaped.with_rate(load.acknowledged, measured.elapsed_ns, more)]


async def _kill_once(subject: Subject, load: _Load) -> int:
    """Kill the leader, wait for the next success, start the node again. Answers nanoseconds."""
    assert subject.throwaway is not None, "refused on the command line"
    await _healthy(subject)
    await asyncio.sleep(LOADED_S)
    status = await _status(subject)
    load.expect(status.term)
    killed_ns = time.perf_counter_ns()
    subject.throwaway.kill(status.leader_id)
    try:
        async with asyncio.timeout(RECOVERY_TIMEOUT_S):
            await load.recovered.wait()
    except TimeoutError as error:
        raise SubjectError(f"nothing succeeded within {RECOVERY_TIMEOUT_S:g} s of killing the leader") from error
    subject.throwaway.serve(status.leader_id)
    return load.recovered_ns - killed_ns


async def _healthy(subject: Subject) -> None:
    """Wait until every node is there and has what the others have."""
    status = cluster_pb2.ClusterStatus()
    try:
        async with asyncio.timeout(HEALTHY_TIMEOUT_S):
            while not (status := await _status(subject)).healthy or len(status.nodes) < len(subject.nodes):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        why = "; ".join(status.warnings) or "no node knows a leader"
        raise SubjectError(f"the cluster was not healthy within {HEALTHY_TIMEOUT_S:g} s: {why}") from error


async def _status(subject: Subject) -> cluster_pb2.ClusterStatus:
    """As the first node sees it that answers and knows a leader."""
    for node in subject.nodes.values():
        try:
            answer = await node.cluster.GetStatus(cluster_pb2.GetStatusRequest(), timeout=ATTEMPT_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            continue
        if answer.status.leader_id:
            return answer.status
    return cluster_pb2.ClusterStatus()
