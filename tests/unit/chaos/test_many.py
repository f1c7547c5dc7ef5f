"""Renewals of many leases at once: each lease has an attempt of its own, and what is not known is not called known."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from garbagetruck.chaos.history import Attempt, History, Outcome
from garbagetruck.chaos.workload import many
from garbagetruck.chaos.workload.caller import Around, Caller
from garbagetruck.chaos.workload.many import Renewed, Stream, renew_batch
from garbagetruck.v1 import error_pb2, lease_pb2

LEASES = [Renewed("L", 1_000), Renewed("M", 1_000)]


class Call:
    """A stream whose reads answer what was told, or never."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def write(self, request: lease_pb2.KeepAliveRequest) -> None:
        if not self._answers:
            raise asyncio.InvalidStateError

    async def read(self) -> Any:
        answer = self._answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        return answer


def caller_at(stubs: Any) -> Caller:
    around = Around(nodes={"n1": stubs}, history=History(), now_ns=lambda: 5)
    return Caller("c", around, random.Random(0), "tenant")


def told(attempts: list[Attempt]) -> list[tuple[str, Outcome, str, int]]:
    return [(each.lease_id, each.outcome, each.reason, each.remaining_ms) for each in attempts]


def refusal(index: int) -> error_pb2.ItemError:
    error = error_pb2.ItemError(index=index)
    error.status.code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
    return error


async def test_a_batch_is_an_attempt_for_each_lease() -> None:
    asked: list[lease_pb2.BatchRenewRequest] = []

    async def batch_renew(request: lease_pb2.BatchRenewRequest, timeout: float) -> lease_pb2.BatchRenewResponse:
        asked.append(request)
        return lease_pb2.BatchRenewResponse(remaining_ms=[900, 0], errors=[refusal(1)])

    caller = caller_at(SimpleNamespace(lease=SimpleNamespace(BatchRenew=batch_renew)))
    attempts = await renew_batch(caller, LEASES)
    assert told(attempts) == [("L", Outcome.OK, "", 900), ("M", Outcome.REFUSED, "", 0)]
    assert list(caller.around.history.of(Attempt)) == attempts
    assert (asked[0].namespace, list(asked[0].lease_ids)) == ("tenant", ["L", "M"])


@pytest.mark.parametrize(
    ("answers", "outcome", "reason"),
    [
        ([lease_pb2.KeepAliveResponse(sequence=1, remaining_ms=[7, 7])], Outcome.OK, ""),
        ([grpc.aio.EOF], Outcome.UNKNOWN, "STREAM_ENDED"),
        ([None], Outcome.UNKNOWN, "NO_ANSWER"),
        ([], Outcome.NOT_APPLIED, "STREAM_ENDED"),
    ],
)
async def test_what_a_stream_did_not_answer_is_unknown_unless_it_took_nothing(
    answers: list[Any], outcome: Outcome, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "ATTEMPT_TIMEOUT_S", 0.05)
    attempts = await Stream(caller_at(None), "n1", Call(*answers)).renew(LEASES)
    assert [(each.outcome, each.reason) for each in attempts] == [(outcome, reason)] * 2
