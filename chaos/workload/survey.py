"""A look at everything, when all is healed: is what was acknowledged there, and nothing that was not.

Duty: read every lease that its holder may rely on, and list those that the cluster has.
Must not know: what happened.
"""

import asyncio
import random
from collections import defaultdict

import grpc.aio

from garbagetruck.chaos.checkers.promises import Promise, promises_of
from garbagetruck.chaos.history import Attempt, Finding, Outcome, Verb
from garbagetruck.chaos.workload.caller import NAMESPACES, REQUEST_LABEL, Around, Caller, namespace_of
from garbagetruck.v1 import lease_pb2

READS_AT_ONCE = 16
TRIES_MAX = 20
PAUSE_S = 0.2
PAGE_SIZE = 1_000
LIST_TIMEOUT_S = 10.0


async def survey(around: Around, seed: int) -> int:
    """Put the findings into the history; answers how many leases were there."""
    callers = {
        each: Caller(f"survey{each}", around, random.Random(f"{seed}/survey{each}"), each) for each in NAMESPACES
    }
    at_ns = around.now_ns()
    due = [each for each in promises_of(around.history).by_lease.values() if each.relied_on(at_ns)]
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def read(promise: Promise) -> Outcome:
        async with gate:
            for _ in range(TRIES_MAX):
                outcome = (await callers[namespace_of(promise.key)].read(promise.lease_id)).outcome
                if outcome in {Outcome.OK, Outcome.REFUSED}:
                    return outcome
                await asyncio.sleep(PAUSE_S)
            return Outcome.UNKNOWN

    outcomes = await asyncio.gather(*map(read, due))
    unanswered = outcomes.count(Outcome.UNKNOWN)
    _find(around, f"every acknowledged lease can be read; of {len(due)}, {unanswered} gave no answer", not unanswered)
    for caller in callers.values():
        await _compare_list(around, caller)
    return outcomes.count(Outcome.OK)


async def _compare_list(around: Around, caller: Caller) -> None:
    """I6, I11: one lease for each request, and none whose request was answered with a failure."""
    by_request: dict[str, list[str]] = defaultdict(list)
    for _ in range(TRIES_MAX):
        try:
            for lease in await _listed(caller, caller.any_node()):
                by_request[lease.labels[REQUEST_LABEL]].append(lease.id)
            break
        except grpc.aio.AioRpcError:
            by_request.clear()
            await asyncio.sleep(PAUSE_S)
    else:
        _find(around, "all leases can be listed", holds=False)
    outcomes: dict[str, set[Outcome]] = defaultdict(set)
    for attempt in around.history.of(Attempt):
        if attempt.verb is Verb.ACQUIRE:
            outcomes[attempt.request_id].add(attempt.outcome)
    for request_id, lease_ids in by_request.items():
        if len(lease_ids) > 1:
            _find(around, f"I6: request {request_id} made one lease, not {', '.join(lease_ids)}", holds=False)
        if not outcomes[request_id] & {Outcome.OK, Outcome.UNKNOWN}:
            _find(around, f"I11: request {request_id} failed, and made no lease {lease_ids[0]}", holds=False)


async def _listed(caller: Caller, node: str) -> list[lease_pb2.Lease]:
    leases: list[lease_pb2.Lease] = []
    token = ""
    while True:
        request = lease_pb2.ListLeasesRequest(namespace=caller.namespace, page_size=PAGE_SIZE, page_token=token)
        answer = await caller.around.nodes[node].lease.ListLeases(request, timeout=LIST_TIMEOUT_S)
        leases.extend(answer.leases)
        token = answer.next_page_token
        if not token:
            return leases


def _find(around: Around, what: str, holds: bool) -> None:
    around.history.add(Finding(what=what, holds=holds, at_ns=around.now_ns()))
