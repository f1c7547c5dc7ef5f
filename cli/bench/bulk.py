"""Scenarios of a full cluster: memory, restart, growth.

`memory` takes many leases, each on a resource of its own with a cleanup, then renews 20,000 of them a second until every
node has taken a snapshot, while one client acquires one lease after the other: what a snapshot costs that client is the
difference between its percentiles with and without a snapshot under way. `restart` kills nodes of a full cluster and
measures until they answer again. `growth` measures acquires as the leases become more.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

import grpc.aio

from garbagetruck.cli.bench.figures import Measurement, Row, milliseconds, percentile, row
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S, closed_loop, processor_time
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.probe import Probe, while_running
from garbagetruck.cli.bench.resident import Resident, resident, snapshot_names
from garbagetruck.cli.bench.subject import BATCH_ITEMS_MAX, SETUP_TIMEOUT_S, Subject, SubjectError
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import lease_pb2, namespace_pb2

LEASES = 1_000_000
"""Of `memory` and `restart`, unless --operations says how many."""
NAMESPACE = "bench-bulk"
GROWTH = (0, 100_000, 500_000)
"""Leases that there are already when `growth` measures."""
GROWTH_IN_FLIGHT = 64
RENEWERS = 2
RENEWALS_PER_S = 20_000
"""By all renewers: a load that leaves room, so that what is measured is not a queue."""
SNAPSHOT_TIMEOUT_S = 300.0
RESTART_TIMEOUT_S = 300.0
POLL_S = 0.01
CALM_S = 10.0
"""How long the other client is measured while no snapshot is under way."""


async def memory(subject: Subject, plan: Plan) -> list[Row]:
    """Operations and their rate are leases and how fast they were taken; percentiles are the other client's, all of them."""
    count = plan.operations or LEASES
    plan.say(f"memory: taking {count} leases")
    await subject.make_namespace(NAMESPACE)
    with processor_time(subject.processor_s) as processor:
        began_ns = time.perf_counter_ns()
        leases = await subject.acquire_many(count, namespace=NAMESPACE)
        filled_ns = time.perf_counter_ns() - began_ns
    filled = _resident(subject)
    plan.say("memory: renewing them until every node has taken a snapshot, while another client acquires")
    probe = Probe(subject)
    async with probe.running(), _renewing(subject, leases):
        during = await _snapshots(subject)
    measured, within, without = probe.without([]), probe.within(during), probe.without(during)
    measured.client_cpu_s, measured.server_cpu_s = processor.client_s, processor.server_s
    more: dict[str, object] = {
        "resident_mib_max": filled.now_mib,
        "resident_peak_mib_max": _resident(subject).peak_mib,
        "snapshots": len(during),
        "snapshot_ms_max": milliseconds(max((end - begin for begin, end in during), default=None)),
        "probe_p99_ms_within": milliseconds(percentile(within.latencies_ns, 0.99)),
        "probe_max_ms_within": milliseconds(max(within.latencies_ns, default=None)),
        "probe_p99_ms_without": milliseconds(percentile(without.latencies_ns, 0.99)),
        "leader_changed": await subject.leader_now() != subject.leader_id,
    }
    plan.say(f"memory: {more}")
    return [row("memory", 1, measured).with_operations(count, filled_ns, more)]


async def restart(subject: Subject, plan: Plan) -> list[Row]:
    """Operations are restarts; percentiles are of the times from starting the process to a linearizable answer."""
    assert subject.throwaway is not None, "refused on the command line"
    count = plan.operations or LEASES
    plan.say(f"restart: taking {count} leases")
    await subject.make_namespace(NAMESPACE)
    await subject.acquire_many(count, namespace=NAMESPACE)
    took_ns: list[int] = []
    follower = next(node_id for node_id in sorted(subject.nodes) if node_id != subject.leader_id)
    subject.throwaway.kill(follower)
    subject.throwaway.serve(follower)
    took_ns.append(await _until_it_answers(subject, [follower], count))
    plan.say(f"restart: a follower answered after {milliseconds(took_ns[-1])} ms")
    for node_id in subject.nodes:
        subject.throwaway.kill(node_id)
    for node_id in subject.nodes:
        subject.throwaway.serve(node_id)
    took_ns.append(await _until_it_answers(subject, list(subject.nodes), count))
    plan.say(f"restart: all nodes answered after {milliseconds(took_ns[-1])} ms")
    more = {
        "leases": count,
        "follower_ms": milliseconds(took_ns[0]),
        "all_nodes_ms": milliseconds(took_ns[1]),
        "resident_mib_max": _resident(subject).now_mib,
    }
    return [row("restart", 1, Measurement(latencies_ns=took_ns, elapsed_ns=sum(took_ns)), more=more)]


async def growth(subject: Subject, plan: Plan) -> list[Row]:
    """Acquires at the leader, as in `acquire`, while there are ever more leases."""
    rows: list[Row] = []
    await subject.make_namespace(NAMESPACE)
    stub, used, first, there = subject.leader.lease, subject.processor_s, 0, 0

    async def call(number: int) -> int:
        await stub.Acquire(subject.acquire_request(number), timeout=CALL_TIMEOUT_S)
        return 0

    for leases in GROWTH:
        plan.say(f"growth: until there are {leases} leases")
        await subject.acquire_many(leases - there, namespace=NAMESPACE)
        there = leases
        warmed = await closed_loop(
            call, in_flight=GROWTH_IN_FLIGHT, budget=plan.warm_up(), processor_s=used, first=first
        )
        first += warmed.calls
        measured = await closed_loop(
            call, in_flight=GROWTH_IN_FLIGHT, budget=plan.budget(), processor_s=used, first=first
        )
        first += measured.calls
        rows.append(row("growth", GROWTH_IN_FLIGHT, measured, more={"leases": leases}))
        plan.say_row(rows[-1], measured)
    return rows


@contextlib.asynccontextmanager
async def _renewing(subject: Subject, leases: list[str]) -> AsyncIterator[None]:
    """Renew all of them in turn, a thousand a call, `RENEWALS_PER_S` as long as the cluster keeps up with it."""
    parts = [leases[first : first + BATCH_ITEMS_MAX] for first in range(0, len(leases), BATCH_ITEMS_MAX)]

    async def renew(renewer: int) -> None:
        due_s = time.perf_counter()
        for lease_ids in itertools.cycle(parts[renewer::RENEWERS]):
            request = lease_pb2.BatchRenewRequest(namespace=NAMESPACE, lease_ids=lease_ids)
            await subject.leader.lease.BatchRenew(request, timeout=SETUP_TIMEOUT_S)
            due_s = max(due_s + RENEWERS * len(lease_ids) / RENEWALS_PER_S, time.perf_counter())
            await asyncio.sleep(due_s - time.perf_counter())

    async with contextlib.AsyncExitStack() as stack:
        for renewer in range(min(RENEWERS, len(parts))):
            await stack.enter_async_context(while_running(renew(renewer)))
        yield


async def _snapshots(subject: Subject) -> list[tuple[int, int]]:
    """Wait until each node has taken one, and there was calm for a while. Answers when each began and ended."""
    assert subject.throwaway is not None, "refused on the command line"
    during: list[tuple[int, int]] = []
    begun_ns: dict[str, int] = {}
    taken: set[str] = set()
    folders = {node_id: node.data_dir for node_id, node in subject.throwaway.nodes.items()}
    calm_s = 0.0
    try:
        async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
            while begun_ns or calm_s < CALM_S or len(taken) < len(folders):
                for node_id, folder in folders.items():
                    writing = any(name.endswith(".tmp") for name in snapshot_names(folder))
                    if writing and node_id not in begun_ns:
                        begun_ns[node_id] = time.perf_counter_ns()
                    elif not writing and node_id in begun_ns:
                        during.append((begun_ns.pop(node_id), time.perf_counter_ns()))
                        taken.add(node_id)
                calm_s += 0.0 if begun_ns else POLL_S
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        missing = ", ".join(sorted(set(folders) - taken)) or "none"
        raise SubjectError(f"within {SNAPSHOT_TIMEOUT_S:g} s no snapshot was taken by: {missing}") from error
    return during


async def _until_it_answers(subject: Subject, node_ids: list[str], leases: int) -> int:
    """Nanoseconds until each of these nodes gave a linearizable answer that counts all leases."""
    began_ns = time.perf_counter_ns()

    async def one(node: Stubs) -> None:
        request = namespace_pb2.NamespaceServiceGetRequest(namespace=NAMESPACE)
        while True:
            try:
                answer = await node.namespace.Get(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(POLL_S)
                continue
            if answer.namespace.usage.leases < leases:
                raise SubjectError(f"after a restart there are {answer.namespace.usage.leases} of {leases} leases")
            return

    try:
        async with asyncio.timeout(RESTART_TIMEOUT_S):
            await asyncio.gather(*(one(subject.nodes[node_id]) for node_id in node_ids))
    except TimeoutError as error:
        raise SubjectError(f"{', '.join(node_ids)} did not answer within {RESTART_TIMEOUT_S:g} s") from error
    return time.perf_counter_ns() - began_ns


def _resident(subject: Subject) -> Resident:
    """The largest of the nodes, in each respect. Raises `SubjectError` where nothing can be told."""
    assert subject.throwaway is not None, "refused on the command line"
    found = [resident(node.pid) for node in subject.throwaway.nodes.values()]
    told = [each for each in found if each is not None]
    if not told:
        raise SubjectError("this machine does not tell how much memory a process holds")
    return Resident(max(each.now_mib for each in told), max(each.peak_mib for each in told))
