"""One call to the cluster, carried through the failure of nodes.

Duty: send a request to a node, repeat it on the others while that is safe and there is time, and say at the end what
is known.
Invariants: a repetition is the very same message, request id included; only UNAVAILABLE and attempts that got no
answer are repeated; a mutation that may have been applied is never reported as not applied. A node that answers for an
earlier life of the cluster than has answered before counts as one that does not answer: that life was given up.
It must not know what the messages mean.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import grpc
import grpc.aio

from garbagetruck.client.endpoints import Endpoint, Endpoints, Stubs
from garbagetruck.client.errors import DeadlineExceeded, GarbageTruckError, OutcomeUnknown, RequestTooOld, Unavailable
from garbagetruck.client.failures import error_of_call, never_sent
from garbagetruck.client.lives import LatestLife, Life, life_of_answer, life_of_refusal
from garbagetruck.client.retry import Backoff, attempt_s
from garbagetruck.client.world import World

LEADER_KEY = "garbagetruck-leader"
"""Trailing metadata in which a node that is not the leader names the leader's endpoint."""

ABOUT_ONE_NODE = frozenset({"NOT_LEADER", "DRAINING", "STARTING"})
"""Reasons that say nothing of the other nodes: their `RetryInfo` tells when to come back to this one."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

Unary = Callable[[Stubs], grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]]
ServerStream = Callable[[Stubs], grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT]]


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResponseT]):
    """A response, and when its request went out."""

    message: ResponseT
    sent_ns: int
    """When the attempt that was answered was sent, by `World.boottime_ns`."""
    first_sent_ns: int
    """When the first attempt was sent that may have had the effect."""


class Connection:
    """Calls on whichever node answers. Belongs to the loop on which it was entered."""

    def __init__(self, addresses: Sequence[str], world: World, *, prefer_leader: bool) -> None:
        self._endpoints = Endpoints(addresses, world)
        self._world = world
        self._prefer_leader = prefer_leader
        self._latest_life = LatestLife()

    async def __aenter__(self) -> Self:
        self._endpoints.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._endpoints.close()

    @property
    def world(self) -> World:
        """The surroundings that this connection lives in."""
        return self._world

    async def call(
        self, select: Unary[RequestT, ResponseT], request: RequestT, *, timeout_s: float, mutates: bool
    ) -> Answer[ResponseT]:
        """Carry one unary call through, within `timeout_s` seconds.

        Raises a `Refused` as soon as a node says so; at the deadline `OutcomeUnknown` when it `mutates` and may have
        been applied, otherwise `Unavailable`, or `DeadlineExceeded` when no node said anything.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        backoff = Backoff(self._world.random)
        uncertain_since_ns: int | None = None
        last: GarbageTruckError = DeadlineExceeded(f"no answer within {timeout_s:g} s")
        failures = 0
        while (remaining_s := deadline - loop.time()) > 0:
            endpoint = self._endpoints.current
            sent_ns = self._world.boottime_ns()
            failure: grpc.aio.AioRpcError | None = None
            error: GarbageTruckError | None
            try:
                within_s = attempt_s(timeout_s, remaining_s, len(self._endpoints))
                message = await self._attempt(endpoint, select, request, within_s)
                error = self._error_of_former_life(endpoint, life_of_answer(message))
                if error is None:
                    first_sent_ns = sent_ns if uncertain_since_ns is None else uncertain_since_ns
                    return Answer(message, sent_ns, first_sent_ns)
            except grpc.aio.AioRpcError as failed:
                error = error_of_call(failed)
                if (former := self._error_of_former_life(endpoint, life_of_refusal(error))) is not None:
                    error = former
                else:
                    failure = failed
                    if mutates and uncertain_since_ns is None and _may_have_effect(failed, error):
                        uncertain_since_ns = sent_ns
            if failure is not None and not _is_repeatable(failure):
                raise self._conclusion(error, uncertain_since_ns) from failure
            last, failures = error, failures + 1
            delay_s = self._move_on(endpoint, error, backoff, failures)
            if delay_s >= deadline - loop.time():
                break
            await asyncio.sleep(delay_s)
        raise self._conclusion(last, uncertain_since_ns)

    async def stream(
        self, select: ServerStream[RequestT, ResponseT], request: RequestT, *, first_s_max: float, silence_s_max: float
    ) -> AsyncGenerator[ResponseT, None]:
        """Yield one stream's messages until it ends; a stream that says nothing for
        `silence_s_max` seconds (`first_s_max` at first) has ended.

        Raises what ended it. A stream that broke moves on to the next node; opening it anew is the caller's business.
        """
        endpoint = self._endpoints.current
        call = select(endpoint.stubs)(request)
        messages = aiter(call)
        within_s = first_s_max
        try:
            while True:
                async with asyncio.timeout(within_s):
                    message = await anext(messages)
                within_s = silence_s_max
                yield message
        except StopAsyncIteration:
            pass
        except grpc.aio.AioRpcError as failure:
            error = error_of_call(failure)
            if _is_repeatable(failure):
                self._move_on(endpoint, error, Backoff(self._world.random), 1)
            raise error from failure
        except TimeoutError as silence:
            self._endpoints.failed(endpoint)
            message_text = f"{endpoint.address} said nothing for {within_s:g} s"
            raise Unavailable(message_text) from silence
        finally:
            call.cancel()
        self._endpoints.failed(endpoint)
        ended = f"{endpoint.address} ended the stream"
        raise Unavailable(ended)

    async def _attempt(
        self, endpoint: Endpoint, select: Unary[RequestT, ResponseT], request: RequestT, within_s: float
    ) -> ResponseT:
        call = select(endpoint.stubs)(request, timeout=within_s)
        message = await call
        if self._prefer_leader:
            leader = (await call.trailing_metadata()).get(LEADER_KEY)
            if isinstance(leader, str) and leader:
                # A node that answers is left only for one that the caller knows: others may be out of its reach.
                self._endpoints.prefer(leader, learn=False)
        return message

    def _error_of_former_life(self, endpoint: Endpoint, life: Life) -> Unavailable | None:
        """Why an answer of that life does not count; None when it does."""
        if not self._latest_life.precludes(life):
            return None
        return Unavailable(
            f"{endpoint.address} answers for incarnation {life.incarnation} of cluster {life.cluster_id}, and a later one"
            " has answered before: stop that node"
        )

    def _move_on(self, endpoint: Endpoint, error: GarbageTruckError, backoff: Backoff, failures: int) -> float:
        """Choose the node for the next attempt; tell how long to wait before it, in seconds."""
        self._endpoints.failed(endpoint)
        leader = error.metadata.get("leader")
        if error.reason == "NOT_LEADER" and leader and leader != endpoint.address:
            self._endpoints.prefer(leader, learn=True)
        untried = failures % len(self._endpoints) != 0
        if untried and (error.retry_after_s is None or error.reason in ABOUT_ONE_NODE):
            return 0.0
        return backoff.next_delay_s(error.retry_after_s)

    def _conclusion(self, last: GarbageTruckError, uncertain_since_ns: int | None) -> GarbageTruckError:
        """Say what is known after the last attempt failed with `last`."""
        certain = uncertain_since_ns is None
        decided = not isinstance(last, Unavailable | DeadlineExceeded | OutcomeUnknown | RequestTooOld)
        if certain or decided or isinstance(last, OutcomeUnknown):
            return last
        unknown = f"it may have been applied: no answer before the deadline, and then: {last.message}"
        return OutcomeUnknown(unknown, reason="OUTCOME_UNKNOWN", metadata=last.metadata)


def _may_have_effect(failure: grpc.aio.AioRpcError, error: GarbageTruckError) -> bool:
    """Whether a mutation that ended so may have been applied."""
    if isinstance(error, OutcomeUnknown):
        return True
    if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return True
    # Without a reason it is the transport that speaks, and a connection may have broken after the request got through.
    return isinstance(error, Unavailable) and not error.reason and not never_sent(failure)


def _is_repeatable(failure: grpc.aio.AioRpcError) -> bool:
    """Whether the same message may be sent again."""
    return failure.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
