"""One scenario, from an empty folder to a report.

Duty: start the cluster, the clients and the observers; play; let everything come to rest; judge.
Invariants: nothing that was started is left. What could not be brought to rest is a violation; what could not be started is
an error.
Must not know: any scenario, any fault.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from garbagetruck.chaos.checkers.nodes import indexes_compared
from garbagetruck.chaos.checkers.objects import LATENESS_MS_MAX, left_in_vain
from garbagetruck.chaos.history import NS_PER_S, Attempt, Finding, History, Verb
from garbagetruck.chaos.judge import doubts_of, verdict_of, violations_of
from garbagetruck.chaos.observing import observe
from garbagetruck.chaos.processes.cluster import Cluster, ClusterFailed
from garbagetruck.chaos.report import Report, counts_of, timeline_of
from garbagetruck.chaos.scenarios.scenario import Scenario
from garbagetruck.chaos.simulator.result import Verdict
from garbagetruck.chaos.stage import FaultUnavailable, Plan, Stage
from garbagetruck.chaos.workload.caller import NAMESPACES, Around
from garbagetruck.chaos.workload.clients import TTLS_MS, Client
from garbagetruck.chaos.workload.hoarder import Hoarder
from garbagetruck.chaos.workload.shelf import Shelf
from garbagetruck.chaos.workload.survey import survey
from garbagetruck.client.world import boottime_ns
from garbagetruck.v1 import namespace_pb2

FOREIGN = ("foreign-1", "foreign-2", "foreign-3")
GRACE_MS = 200
RETRY_DELAY_MS_MAX = 1_000
WARM_UP_LEASES = 10
WARM_UP_TIMEOUT_S = 60.0
INDEXES_COMPARED_MIN = 3
REST_TIMEOUT_S = 60.0
SETUP_TIMEOUT_S = 20.0
POLL_S = 0.2

Worker = Client | Hoarder


async def run_scenario(
    scenario: Scenario, plan: Plan, *, folder: Path, repeat: str, say: Callable[[str], None]
) -> Report:
    """Play it once below `folder`, which is left for whoever wants to look. Raises `ClusterFailed` when no cluster came up."""
    began_ns = boottime_ns()
    history = History(grace_ms=GRACE_MS)
    async with Cluster(
        folder / "cluster",
        nodes=plan.nodes,
        spare=scenario.spare,
        feature_level=scenario.feature_level,
        settings=scenario.settings,
        postgres=scenario.postgres,
    ) as cluster:
        around = Around(nodes=cluster.doors, history=history, now_ns=boottime_ns)
        for namespace in NAMESPACES:
            await _set_up(cluster, namespace)
        async with _watched(cluster, history) as shelf:
            stage = Stage(cluster=cluster, around=around, shelf=shelf, plan=plan, say=say)
            clients: list[Worker] = [Hoarder("hoarder", plan.seed, around)]
            clients += (
                Client(f"c{number}", plan.seed, around, shelf, namespace=NAMESPACES[number % len(NAMESPACES)])
                for number in range(1, plan.clients + 1)
            )
            try:
                async with _working(clients):
                    await _warm_up(history)
                    await scenario.play(stage)
                if scenario.ends_serving:
                    await _come_to_rest(cluster, around, clients, shelf, plan.seed)
            # Task groups wrap what ends them.
            except* FaultUnavailable:
                pass  # the history tells of it: undecided
            except* ClusterFailed as errors:
                for error in errors.exceptions:
                    history.add(Finding(what=f"the run goes on: {error}", holds=False, at_ns=boottime_ns()))
    report = _judged(scenario, plan, history, began_ns, repeat)
    history.write(folder / "history.jsonl")
    (folder / "report.json").write_text(json.dumps(report.fields(), indent=1) + "\n", encoding="utf-8")
    if report.verdict is Verdict.PASSED:
        # Nobody asks for the disks of nodes that did what they should.
        await asyncio.to_thread(shutil.rmtree, folder / "cluster", ignore_errors=True)
    return report


def _judged(scenario: Scenario, plan: Plan, history: History, began_ns: int, repeat: str) -> Report:
    violations, doubts = violations_of(history), doubts_of(history)
    return Report(
        scenario=scenario.name,
        seed=plan.seed,
        verdict=verdict_of(violations, doubts),
        violations=tuple(violations),
        doubts=tuple(doubts),
        repeat=repeat,
        seconds=(boottime_ns() - began_ns) / NS_PER_S,
        counts=counts_of(history),
        timeline=timeline_of(history, began_ns),
    )


async def _set_up(cluster: Cluster, namespace: str) -> None:
    """Orphans are cleaned soon, and no brake is on: that many holders end at once here is no accident."""
    request = namespace_pb2.NamespaceServiceSetRequest(
        namespace=namespace,
        request_id=f"chaos-set-up-{namespace}",
        cleanup=namespace_pb2.CleanupSettings(grace_ms_min=GRACE_MS, retry_delay_ms_max=RETRY_DELAY_MS_MAX),
        brake=namespace_pb2.Brake(enabled=False),
    )
    async with asyncio.timeout(SETUP_TIMEOUT_S):
        while True:
            leader = cluster.nodes[await cluster.leader()]
            try:
                await leader.stubs.namespace.Set(request, timeout=SETUP_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(POLL_S)
            else:
                return


@asynccontextmanager
async def _watched(cluster: Cluster, history: History) -> AsyncIterator[Shelf]:
    """A shelf and nodes that are looked at all the time. That an observer fails, fails the run."""
    drafts = cluster.folder / "drafts"
    drafts.mkdir()
    shelf = Shelf(cluster.files, drafts, history, boottime_ns)
    for key in FOREIGN:
        shelf.put_foreign(key)
    async with asyncio.TaskGroup() as observers:
        tasks = [
            observers.create_task(shelf.watch(), name="chaos-shelf"),
            observers.create_task(observe(cluster, history, boottime_ns), name="chaos-observer"),
        ]
        yield shelf
        for task in tasks:
            task.cancel()
    shelf.close()


@asynccontextmanager
async def _working(clients: Sequence[Worker]) -> AsyncIterator[None]:
    """Clients at work; afterwards they finish what they are at."""
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(), name=f"chaos-{client.name}")
        try:
            yield
        finally:
            for client in clients:
                client.stop()


async def _warm_up(history: History) -> None:
    """Let there be something to lose. Raises `ClusterFailed`."""

    def warm() -> bool:
        return sum(each.ok and each.verb is Verb.ACQUIRE for each in history.of(Attempt)) >= WARM_UP_LEASES

    if not await _within(WARM_UP_TIMEOUT_S, warm):
        raise ClusterFailed(f"fewer than {WARM_UP_LEASES} leases in {WARM_UP_TIMEOUT_S:g} s")


async def _come_to_rest(cluster: Cluster, around: Around, clients: Sequence[Worker], shelf: Shelf, seed: int) -> None:
    """Count what is there, release the rest, and wait for the last orphan, and for nodes that can be compared."""
    await cluster.leader()
    await survey(around, seed)
    await asyncio.gather(*(client.let_go() for client in clients))
    rest_s = max(TTLS_MS) / 1_000 + (GRACE_MS + LATENESS_MS_MAX) / 1_000 + 1.0
    await _within(rest_s, lambda: not left_in_vain(around.history, shelf.keys))
    await _within(REST_TIMEOUT_S, lambda: indexes_compared(around.history) >= INDEXES_COMPARED_MIN)
    dead = await _dead_letters(cluster)
    around.history.add(Finding(what=f"I4: no dead letters; there are {dead}", holds=dead == 0, at_ns=boottime_ns()))


async def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Wait for it, but no longer; answers whether it came."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while not holds():
        if loop.time() > until_s:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def _dead_letters(cluster: Cluster) -> int:
    status = await cluster.status(await cluster.leader())
    return status.cleanup.dead_letter if status is not None else -1
