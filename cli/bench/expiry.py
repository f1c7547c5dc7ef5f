"""Scenario mass-expiry: thousands of leases end together, while somebody else acquires one lease after the other.

Every lease has a resource of its own with a cleanup. Two rows: first each lease has a holder of its own, which looks
like a cut network, so that the brake engages (at its defaults) and nothing is cleaned; then all have one holder, which
looks like one crashed service, so that everything is cleaned after its grace.

Ended means that a stale read of each node, answered from that node's own state, counts no active lease of theirs. Nodes
are asked every few milliseconds, which is how exact `ended_ms` is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from garbagetruck.cli.bench.figures import NS_PER_MS, NS_PER_S, Row, milliseconds, row
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S, processor_time
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.probe import Probe
from garbagetruck.cli.bench.subject import BATCH_ITEMS_MAX, SETUP_TIMEOUT_S, Subject, SubjectError
from garbagetruck.client.endpoints import Stubs
from garbagetruck.v1 import header_pb2, lease_pb2, namespace_pb2

LEASES = 10_000
TTL_MS = 4_000
POLL_S = 0.01
POLL_BEFORE_S = 0.2
CLEANED_POLL_S = 0.1
PROBED_S = 2.0
"""How long the probe's calls count, from the deadline on; longer when the leases take longer to end."""
ENDED_TIMEOUT_S = 60.0
CLEANED_TIMEOUT_S = 180.0


async def mass_expiry(subject: Subject, plan: Plan) -> list[Row]:
    """Operations and their rate are leases and how fast they ended; percentiles are the probe's."""
    count = plan.operations or LEASES
    rows: list[Row] = []
    for namespace, holders in (("bench-many-holders", count), ("bench-one-holder", 1)):
        plan.say(f"mass-expiry: taking {count} leases of {holders} holders")
        rows.append(await _expire(subject, plan, namespace, count, holders))
        plan.say(f"mass-expiry: {rows[-1].fields()}")
    return rows


async def _expire(subject: Subject, plan: Plan, namespace: str, count: int, holders: int) -> Row:
    await subject.make_namespace(namespace)
    leases = await subject.acquire_many(
        count, namespace=namespace, holder_of=lambda number: f"{subject.holder}-{number % holders}"
    )
    probe, watch = Probe(subject), _Watch(subject, namespace)
    async with probe.running():
        with processor_time(subject.processor_s) as processor:
            deadline_ns, spread_ns = await _renew_together(subject, namespace, leases)
            ended_ns = await watch.all_nodes_until(
                lambda usage: usage.leases == 0, deadline_ns, POLL_S, ENDED_TIMEOUT_S, "ended"
            )
            counted_until_ns = max(ended_ns, deadline_ns + round(PROBED_S * NS_PER_S))
            await asyncio.sleep(max(0, counted_until_ns - time.perf_counter_ns()) / NS_PER_S)
        measured = probe.between(deadline_ns, counted_until_ns)
        more: dict[str, object] = {"holders": holders, "ended_ms": milliseconds(ended_ns - deadline_ns)}
        more["deadlines_spread_ms"] = milliseconds(spread_ns)
        if await watch.brake_engaged():
            more["brake"] = "engaged"
        else:
            plan.say("mass-expiry: waiting until all is cleaned")
            cleaned_ns = await watch.all_nodes_until(
                lambda usage: usage.resources == 0, deadline_ns, CLEANED_POLL_S, CLEANED_TIMEOUT_S, "cleaned"
            )
            more["cleaned_ms"] = milliseconds(cleaned_ns - deadline_ns)
    measured.client_cpu_s, measured.server_cpu_s = processor.client_s, processor.server_s
    probed = row("mass-expiry", 1, measured)
    more |= {
        "probe_operations": probed.operations,
        "probe_p99_ms": probed.p99_ms,
        "probe_max_ms": milliseconds(max(measured.latencies_ns, default=None)),
    }
    return probed.with_operations(count, ended_ns - deadline_ns, more)


async def _renew_together(subject: Subject, namespace: str, leases: list[str]) -> tuple[int, int]:
    """Give all of them one short TTL at once. Answers the last deadline, and how long before it the first one is.

    A lease's deadline is its renewal's sending plus its TTL, which is the earliest that it may end.
    """
    sent_ns: list[int] = []

    async def renew(lease_ids: list[str]) -> None:
        request = lease_pb2.BatchRenewRequest(namespace=namespace, lease_ids=lease_ids, ttl_ms=TTL_MS)
        sent_ns.append(time.perf_counter_ns())
        answer = await subject.leader.lease.BatchRenew(request, timeout=SETUP_TIMEOUT_S)
        if answer.errors:
            raise SubjectError(f"a renewal was refused: {answer.errors[0].status.message}")

    parts = [leases[first : first + BATCH_ITEMS_MAX] for first in range(0, len(leases), BATCH_ITEMS_MAX)]
    await asyncio.gather(*(renew(part) for part in parts))
    return max(sent_ns) + TTL_MS * NS_PER_MS, max(sent_ns) - min(sent_ns)


@dataclass(frozen=True, slots=True)
class _Watch:
    """One namespace, as each node's own state has it."""

    subject: Subject
    namespace: str

    async def all_nodes_until(
        self,
        reached: Callable[[namespace_pb2.NamespaceUsage], bool],
        deadline_ns: int,
        poll_s: float,
        timeout_s: float,
        what: str,
    ) -> int:
        """When the last node reached it. Raises `SubjectError` when one does not in time."""
        await asyncio.sleep((deadline_ns - time.perf_counter_ns()) / NS_PER_S - POLL_BEFORE_S)

        async def one(node: Stubs) -> int:
            while not reached((await self._look(node)).usage):  # noqa: ASYNC110  # nodes tell only when asked
                await asyncio.sleep(poll_s)
            return time.perf_counter_ns()

        nodes: list[Awaitable[int]] = [one(node) for node in self.subject.nodes.values()]
        try:
            async with asyncio.timeout(timeout_s):
                return max(await asyncio.gather(*nodes))
        except TimeoutError as error:
            raise SubjectError(f"not all leases had {what} {timeout_s:g} s after their deadline") from error

    async def brake_engaged(self) -> bool:
        return (await self._look(self.subject.leader)).brake_state.engaged

    async def _look(self, node: Stubs) -> namespace_pb2.Namespace:
        request = namespace_pb2.NamespaceServiceGetRequest(
            namespace=self.namespace, consistency=header_pb2.READ_CONSISTENCY_STALE
        )
        return (await node.namespace.Get(request, timeout=CALL_TIMEOUT_S)).namespace
