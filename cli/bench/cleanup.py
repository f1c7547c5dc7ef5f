"""Scenario cleanup: ten thousand files fall due at one moment, while somebody else acquires one lease after the other.

Every file has a resource and a lease. Cleanups of their namespace are paused, all leases are released, which a brake never
counts, and when every grace is over cleanups are resumed: that is the moment from which time counts.

Done means that no file of theirs is there any more, as the file system has it, and that the leader has none of the resources.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from garbagetruck.cli.bench.figures import NS_PER_S, Row, milliseconds, row
from garbagetruck.cli.bench.load import CALL_TIMEOUT_S, processor_time
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.probe import Probe
from garbagetruck.cli.bench.subject import BATCH_ITEMS_MAX, SETUP_TIMEOUT_S, Subject, SubjectError
from garbagetruck.v1 import cleanup_pb2, header_pb2, lease_pb2, namespace_pb2

FILES = 10_000
NAMESPACE = "bench-cleanup"
POLL_S = 0.02
DUE_TIMEOUT_S = 60.0
CLEANED_TIMEOUT_S = 300.0


async def cleanup(subject: Subject, plan: Plan) -> list[Row]:
    """Operations and their rate are cleanups; percentiles are the probe's, whose calls all count."""
    count = plan.operations or FILES
    plan.say(f"cleanup: making {count} files and their leases")
    folder = await _make(subject, count)
    probe = Probe(subject)
    async with probe.running():
        with processor_time(subject.processor_s) as processor:
            began_ns = time.perf_counter_ns()
            await _resume(subject)
            await _until(subject, lambda usage: usage.resources == 0, CLEANED_TIMEOUT_S, "cleaned")
            ended_ns = time.perf_counter_ns()
        measured = probe.between(began_ns, ended_ns)
    left = len(list(folder.iterdir())) if folder.exists() else 0
    if left:
        raise SubjectError(f"the cluster has cleaned everything, and {left} files are still there")
    measured.client_cpu_s, measured.server_cpu_s = processor.client_s, processor.server_s
    probed = row("cleanup", 1, measured)
    more: dict[str, object] = {
        "cleaned_ms": milliseconds(ended_ns - began_ns),
        "probe_operations": probed.operations,
        "probe_max_ms": milliseconds(max(measured.latencies_ns, default=None)),
    }
    rows = [probed.with_operations(count, ended_ns - began_ns, more)]
    plan.say(f"cleanup: {rows[0].fields()}")
    return rows


async def _make(subject: Subject, count: int) -> Path:
    """Everything up to the moment at which all of it is due, and only a pause keeps it. Answers the files' folder."""
    assert subject.throwaway is not None, "it deletes files, so it is for a throw-away cluster"
    group = secrets.token_hex(4)
    folder = subject.throwaway.files / subject.holder / group
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / str(number)).write_bytes(b"garbage\n")
    await subject.make_namespace(NAMESPACE)
    leases = await subject.acquire_many(count, namespace=NAMESPACE, group=group)
    pause = cleanup_pb2.PauseRequest(namespace=NAMESPACE, request_id=secrets.token_hex(16), reason="bench")
    await subject.leader.cleanup.Pause(pause, timeout=SETUP_TIMEOUT_S)
    for first in range(0, count, BATCH_ITEMS_MAX):
        release = lease_pb2.BatchReleaseRequest(
            namespace=NAMESPACE,
            request_id=secrets.token_hex(16),
            lease_ids=leases[first : first + BATCH_ITEMS_MAX],
        )
        await subject.leader.lease.BatchRelease(release, timeout=SETUP_TIMEOUT_S)
    await _until(subject, lambda usage: usage.due == count, DUE_TIMEOUT_S, "due")
    return folder


async def _resume(subject: Subject) -> None:
    resume = cleanup_pb2.ResumeRequest(namespace=NAMESPACE, request_id=secrets.token_hex(16), reason="bench")
    await subject.leader.cleanup.Resume(resume, timeout=SETUP_TIMEOUT_S)


async def _until(
    subject: Subject, reached: Callable[[namespace_pb2.NamespaceUsage], bool], timeout_s: float, what: str
) -> None:
    """Ask the leader's own state until it is so. Raises `SubjectError` when it is not in time."""
    request = namespace_pb2.NamespaceServiceGetRequest(
        namespace=NAMESPACE, consistency=header_pb2.READ_CONSISTENCY_STALE
    )
    until_ns = time.perf_counter_ns() + round(timeout_s * NS_PER_S)
    while True:
        usage = (await subject.leader.namespace.Get(request, timeout=CALL_TIMEOUT_S)).namespace.usage
        if reached(usage):
            return
        if time.perf_counter_ns() > until_ns:
            raise SubjectError(f"not everything is {what} after {timeout_s:g} s: {usage}")
        await asyncio.sleep(POLL_S)
