"""Streams that keep leases and sessions alive: every request is a batch of renewals, answered in order.

What has arrived while the last requests were being committed is renewed together. A renewal repeats harmlessly, so a
lost answer is UNAVAILABLE here, never UNKNOWN: the client opens the stream again and renews again.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.door import Context, Door, item_errors
from garbagetruck.cluster.api.errors import CallError
from garbagetruck.cluster.api.streams import ReadAhead
from garbagetruck.cluster.api.translate import header as translate
from garbagetruck.cluster.machine.operations import RenewLeases, RenewSessions
from garbagetruck.cluster.machine.outcomes import LeasesRenewed, Refused, SessionsRenewed
from garbagetruck.v1 import error_pb2, header_pb2

M = TypeVar("M")
R = TypeVar("R")
Renewal = RenewLeases | RenewSessions


async def keep_alive(
    door: Door,
    messages: AsyncIterator[M],
    context: Context,
    operation_of: Callable[[M, float], Awaitable[Renewal]],
    response_of: Callable[[header_pb2.ResponseHeader, M, Sequence[int], Sequence[error_pb2.ItemError]], R],
) -> AsyncGenerator[R, None]:
    """Answer each message. The first that fails as a whole ends the stream, after what came before it was answered.

    `operation_of` is given the message and its deadline, and raises `CallError`; `response_of` the
    message, what remains of each, and the errors of the refused.
    """
    async with ReadAhead(messages, door.limits.messages_ahead_max) as ahead:
        while taken := await ahead.take():
            deadline = door.deadline_of(context)
            operations: list[Renewal] = []
            failure: CallError | None = None
            for message in taken:
                try:
                    operations.append(await operation_of(message, deadline))
                except CallError as error:
                    failure = error
                    break
            if operations:
                outcomes = await door.submit_checked(operations, deadline, repeatable=True)
                header = door.mutation_header(context)
                for message, outcome in zip(taken, outcomes, strict=False):  # fewer when one failed at the door
                    if isinstance(outcome, Refused):
                        raise errors.of_refusal(outcome)
                    assert isinstance(outcome, LeasesRenewed | SessionsRenewed), outcome
                    remaining_ms = translate.remaining(outcome.remaining_ms)
                    yield response_of(header, message, remaining_ms, await item_errors(outcome.refusals))
            if failure is not None:
                raise failure
