"""One follower's connection to one leader: many callers, one stream.

Duty: put everything that waits into one message, match responses to callers, and say exactly what is known when the
stream breaks: what was not sent was not applied, what was sent and not answered is unknown.
Invariants: at most `outstanding_max` calls wait or are under way. A broken connection never heals; a new one is made.
Must not know: who leads, what carries the stream.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from garbagetruck.cluster.api.gateway import NoLeader, OperatingError, OutcomeUnknown, Overloaded
from garbagetruck.cluster.machine.codec import Unreadable, decode_outcomes, encode_operations
from garbagetruck.cluster.machine.operations import ForwardedOperation
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    LinkBrokenError,
    OutcomesResponse,
    PeerLink,
    PeerResponse,
    PeerStream,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
    told,
)

ANSWER_MARGIN_MS = 50
"""The leader is given this much less time than the caller has, so that its verdict still finds the caller waiting."""


@dataclass(frozen=True, slots=True)
class MessageBounds:
    """What goes into one message, and what may be under way on one connection."""

    operations_max: int
    bytes_max: int
    outstanding_max: int


@dataclass(slots=True, eq=False)
class _Submit:
    operations: tuple[ForwardedOperation, ...]
    encoded: bytes
    deadline_s: float
    future: "asyncio.Future[tuple[Outcome, ...]]"
    sent: bool = False


@dataclass(slots=True, eq=False)
class _Read:
    future: "asyncio.Future[ReadIndexResponse]"
    sent: bool = False


class PeerConnection:
    """Runs on the node's main loop, from `start` until it breaks or is stopped; `on_end` is called then.

    `on_fatal` ends the node when the connection dies of a bug. `serials` are the ids of its requests: no other connection
    to that peer may use the same.
    """

    def __init__(
        self,
        *,
        node_id: str,
        link: PeerLink,
        bounds: MessageBounds,
        serials: Iterator[int],
        on_end: Callable[["PeerConnection"], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.node_id = node_id
        self._link = link
        self._bounds = bounds
        self._serials = serials
        self._on_end = on_end
        self._on_fatal = on_fatal
        self._submits: OrderedDict[int, _Submit] = OrderedDict()
        self._reads: OrderedDict[int, _Read] = OrderedDict()
        self._under_way: dict[int, list[_Submit] | list[_Read]] = {}
        self._calls = 0
        self._retired = False
        self._broken = "given up by this node"
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"peer-{self.node_id}")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Break off. What is under way fails as on a broken stream. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def retire(self, after_s: float) -> None:
        """Stop after a while, or as soon as nothing is under way. No more calls come."""
        self._retired = True
        asyncio.get_running_loop().call_later(after_s, self._cancel)
        self._cancel_if_idle()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _cancel_if_idle(self) -> None:
        if self._retired and not self._calls:
            self._cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._on_end(self)
        self._fail_all(self._broken)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_fatal(error)

    async def submit(
        self, operations: tuple[ForwardedOperation, ...], encoded: bytes, *, timeout_s: float
    ) -> tuple[Outcome, ...]:
        """Have the operations committed; `encoded` is the same in the machine's encoding. Raises `OperatingError`s: the leader's, or `NoLeader`, `OutcomeUnknown`."""
        loop = asyncio.get_running_loop()
        call = _Submit(operations, encoded, loop.time() + timeout_s, loop.create_future())
        serial = self._admit()
        self._submits[serial] = call
        self._wake.set()
        timer = loop.call_at(call.deadline_s, self._expire, call, timeout_s)
        try:
            return await call.future
        finally:
            timer.cancel()
            self._submits.pop(serial, None)
            self._forget_call()

    async def read_index(self) -> ReadIndexResponse:
        """Ask the leader how far to apply. Everyone who waits shares one question. The caller sets the deadline."""
        call = _Read(asyncio.get_running_loop().create_future())
        serial = self._admit()
        self._reads[serial] = call
        self._wake.set()
        try:
            return await call.future
        finally:
            self._reads.pop(serial, None)
            self._forget_call()

    def _admit(self) -> int:
        if max(self._calls, len(self._under_way)) >= self._bounds.outstanding_max:
            raise Overloaded(
                f"{self._calls} calls are on their way to the leader; no more are sent, nothing was applied"
            )
        self._calls += 1
        return next(self._serials)

    def _forget_call(self) -> None:
        self._calls -= 1
        self._cancel_if_idle()

    def _expire(self, call: _Submit, timeout_s: float) -> None:
        if call.future.done():
            return
        if call.sent:
            error: OperatingError = OutcomeUnknown(
                f"sent to the leader, {self.node_id}, and not answered within {timeout_s:.3f} s; "
                "it may or may not be applied"
            )
        else:
            error = NoLeader(
                f"the leader, {self.node_id}, could not be reached within {timeout_s:.3f} s; nothing was applied"
            )
        call.future.set_exception(error)

    # -- the stream -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        stream: PeerStream | None = None
        try:
            stream = await self._link.connect(self.node_id)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(stream))
                group.create_task(self._receive(stream))
        except* LinkBrokenError as errors:
            self._broken = str(errors.exceptions[0])
        finally:
            if stream is not None:
                await stream.close()

    async def _send(self, stream: PeerStream) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._reads:
                reads = list(self._reads.values())
                self._reads.clear()
                await stream.send(ReadIndexRequest(self._launch(reads)))
            while self._submits:
                calls = self._gather()
                if not calls:
                    break  # all of them gave up waiting
                timeout_ms = self._timeout_ms(calls)
                await stream.send(SubmitRequest(self._launch(calls), _encoded(calls), timeout_ms))

    def _gather(self) -> list[_Submit]:
        """Take from the front what fits into one message."""
        calls: list[_Submit] = []
        operations = size_bytes = 0
        while self._submits:
            serial, call = next(iter(self._submits.items()))
            operations += len(call.operations)
            size_bytes += len(call.encoded)
            if calls and (operations > self._bounds.operations_max or size_bytes > self._bounds.bytes_max):
                break
            del self._submits[serial]
            if not call.future.done():
                calls.append(call)
        return calls

    def _launch(self, calls: "list[_Submit] | list[_Read]") -> int:
        serial = next(self._serials)
        self._under_way[serial] = calls
        for call in calls:
            call.sent = True
        return serial

    def _timeout_ms(self, calls: list[_Submit]) -> int:
        """What the leader may take: as long as the most patient caller waits, less the way back."""
        remaining_ms = int((max(call.deadline_s for call in calls) - asyncio.get_running_loop().time()) * 1_000)
        return max(1, remaining_ms - min(ANSWER_MARGIN_MS, remaining_ms // 10))

    async def _receive(self, stream: PeerStream) -> None:
        while True:
            response = await stream.receive()
            calls = self._under_way.get(response.id)
            if calls is None:
                raise LinkBrokenError(f"{self.node_id} answered request {response.id}, which is not under way")
            self._answer(calls, response)
            del self._under_way[response.id]

    def _answer(self, calls: "list[_Submit] | list[_Read]", response: PeerResponse) -> None:
        reads = [call for call in calls if isinstance(call, _Read)]
        submits = [call for call in calls if isinstance(call, _Submit)]
        if isinstance(response, FailureResponse):
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(told(response))
        elif isinstance(response, ReadIndexResponse) and reads:
            for read in reads:
                if not read.future.done():
                    read.future.set_result(response)
        elif isinstance(response, OutcomesResponse) and submits:
            self._deliver(submits, response)
        else:
            raise LinkBrokenError(f"{self.node_id} answered request {response.id} with something else than was asked")

    def _deliver(self, calls: list[_Submit], response: OutcomesResponse) -> None:
        expected = sum(len(call.operations) for call in calls)
        try:
            outcomes = decode_outcomes(response.outcomes)
        except Unreadable as error:
            raise LinkBrokenError(f"{self.node_id} answered what cannot be read: {error}") from error
        if len(outcomes) != expected:
            raise LinkBrokenError(f"{self.node_id} gave {len(outcomes)} outcomes for {expected} operations")
        start = 0
        for call in calls:
            end = start + len(call.operations)
            if not call.future.done():
                call.future.set_result(outcomes[start:end])
            start = end

    def _fail_all(self, broken: str) -> None:
        calls: list[_Submit | _Read] = [*self._submits.values(), *self._reads.values()]
        for launched in self._under_way.values():
            calls.extend(launched)
        self._submits.clear()
        self._reads.clear()
        self._under_way.clear()
        for call in calls:
            if call.future.done():
                continue
            if call.sent and isinstance(call, _Submit):
                message = f"the stream to the leader, {self.node_id}, broke ({broken}); it may or may not be applied"
                call.future.set_exception(OutcomeUnknown(message))
            else:
                message = f"the leader, {self.node_id}, cannot be reached ({broken}); nothing was applied"
                call.future.set_exception(NoLeader(message))


def _encoded(calls: list[_Submit]) -> bytes:
    """All their operations in one sequence."""
    if len(calls) == 1:
        return calls[0].encoded
    return encode_operations([operation for call in calls for operation in call.operations])
