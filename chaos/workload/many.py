"""Renewals of many leases in one message: in a batch, or on a stream that stays open.

Duty: send, and put down for each lease what came back of it. Invariants: as of `caller`; a stream's messages wait for their answers, one
after the other, so that each has its own.
Must not know: why something is asked, what faults there are.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio

from garbagetruck.chaos.history import Attempt, Outcome, Verb
from garbagetruck.chaos.workload.caller import ATTEMPT_TIMEOUT_S, Caller, failed, outcome_of
from garbagetruck.client.failures import error_of_status
from garbagetruck.v1 import lease_pb2

STREAM_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease to renew, and the TTL that it has."""

    lease_id: str
    ttl_ms: int


async def renew_batch(caller: Caller, leases: Sequence[Renewed]) -> list[Attempt]:
    """One message to one node; an attempt for each lease, in their order."""
    asked = _asked(caller, leases, caller.any_node())
    request = lease_pb2.BatchRenewRequest(namespace=caller.namespace, lease_ids=[each.lease_id for each in leases])
    stubs = caller.around.nodes[asked[0].node]
    return await _put_down(caller, asked, stubs.lease.BatchRenew(request, timeout=ATTEMPT_TIMEOUT_S))


class Stream:
    """One keep-alive stream at one node."""

    def __init__(self, caller: Caller, node: str, call: Any) -> None:
        self._caller = caller
        self._node = node
        self._call = call
        self._sequence = 0

    async def renew(self, leases: Sequence[Renewed]) -> list[Attempt]:
        """One message, and its answer. After one that failed the stream is of no more use."""
        self._sequence += 1
        request = lease_pb2.KeepAliveRequest(
            namespace=self._caller.namespace, sequence=self._sequence, lease_ids=[each.lease_id for each in leases]
        )
        return await _put_down(self._caller, _asked(self._caller, leases, self._node), self._answer(request))

    async def _answer(self, request: lease_pb2.KeepAliveRequest) -> Any:
        await self._call.write(request)
        answer = await self._call.read()
        assert answer is grpc.aio.EOF or answer.sequence == request.sequence, "answers come in order"
        return answer


@asynccontextmanager
async def stream(caller: Caller) -> AsyncIterator[Stream]:
    """Open one at any node; it is over afterwards."""
    node = caller.any_node()
    call = caller.around.nodes[node].lease.KeepAlive(timeout=STREAM_TIMEOUT_S)
    try:
        yield Stream(caller, node, call)
    finally:
        call.cancel()


def _asked(caller: Caller, leases: Sequence[Renewed], node: str) -> list[Attempt]:
    asked = caller.asked(Verb.RENEW, node)
    return [replace(asked, lease_id=each.lease_id, ttl_ms=each.ttl_ms) for each in leases]


async def _put_down(caller: Caller, asked: list[Attempt], answering: Any) -> list[Attempt]:
    done = [replace(each, reason="CANCELLED") for each in asked]
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
            done = _answered(asked, await answering)
    except TimeoutError:
        done = [replace(each, reason="NO_ANSWER") for each in asked]
    except asyncio.InvalidStateError:  # a stream that has ended takes nothing more
        done = [replace(each, outcome=Outcome.NOT_APPLIED, reason="STREAM_ENDED") for each in asked]
    except grpc.aio.AioRpcError as failure:
        outcome, reason = failed(failure)
        done = [replace(each, outcome=outcome, reason=reason) for each in asked]
    finally:
        ended_ns = caller.around.now_ns()
        done = [replace(each, ended_ns=ended_ns) for each in done]
        for each in done:
            caller.around.history.add(each)
    return done


def _answered(asked: list[Attempt], answer: Any) -> list[Attempt]:
    if answer is grpc.aio.EOF:
        return [replace(each, reason="STREAM_ENDED") for each in asked]
    refused = {each.index: error_of_status(each.status) for each in answer.errors}
    done = []
    for index, (each, remaining_ms) in enumerate(zip(asked, answer.remaining_ms, strict=True)):
        if index in refused:
            outcome = outcome_of(refused[index], sent=True)
            done.append(replace(each, outcome=outcome, reason=refused[index].reason))
        else:
            done.append(replace(each, outcome=Outcome.OK, remaining_ms=remaining_ms, term=answer.header.term))
    return done
