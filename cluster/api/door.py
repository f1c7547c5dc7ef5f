"""The door: the way every servicer takes from a request to the machine and back.

Duty: deadlines, the rules for arguments, unknown namespaces, ids drawn for new things, cleanups completed by their
handler, and what is refused or went wrong told as `CallError`. What the rules refuse never reaches the log.

Must not know: messages of the wire beyond headers and the cleanup's, how operations travel, what they do.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from grpc import aio

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.gateway import Consistency, Gateway, Header, OperatingError, ReadView
from garbagetruck.cluster.api.ports import CleanupDoor, InvalidParameters, UnknownHandler
from garbagetruck.cluster.api.translate import header as translate_header
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import CleanupSpec
from garbagetruck.cluster.machine.operations import ClientOperation
from garbagetruck.cluster.machine.outcomes import Outcome, Refused
from garbagetruck.cluster.machine.validation import (
    ID_BYTES_MAX,
    RESOURCE_BYTES_MAX,
    check_operation,
)
from garbagetruck.v1 import cleanup_spec_pb2, error_pb2, header_pb2

Context: TypeAlias = aio.ServicerContext[Any, Any]
"""What grpc.aio hands to a servicer; its type parameters tell nothing that the methods do not."""

ITEMS_PER_TURN = 128
"""How many items of a batch are translated before other calls get their turn on the loop."""
TIMEOUT_S_MIN = 0.001
TIMEOUT_ROUNDING = 0.02
"""gRPC rounds a timeout up, by about a hundredth, on its way to the server: so its deadline is past the caller's."""


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Bounds of one node's door; none of them decides anything that is replicated."""

    items_per_request_max: int = 1_000
    """Items of one batch; more is INVALID_ARGUMENT."""
    request_timeout_ms_default: int = 5_000
    """For calls without a deadline."""
    request_timeout_ms_max: int = 10_000
    """Longer deadlines are cut to this."""
    deadline_margin_ms: int = 50
    """How long before the caller's deadline an answer is given up for, so that the caller hears why, beside what gRPC
    rounds; half of the remaining time at most."""
    messages_ahead_max: int = 32
    """Messages read ahead on one keep-alive stream; then the sender has to wait."""
    watch_idle_ms_max: int = 5_000
    """A watch with nothing to tell says so after this long."""
    peer_timeout_ms: int = 500
    """How long GetStatus waits for the other nodes."""


class Door:
    """What the servicers of one node share. Runs on the node's main loop, and keeps nothing between calls."""

    def __init__(
        self,
        gateway: Gateway,
        machine: Callable[[], Machine],
        cleanups: CleanupDoor,
        draw_id: Callable[[], str],
        limits: DoorLimits,
    ) -> None:
        """`machine`: this node's replica as it is now. `draw_id`: 26 unguessable characters, 128 bits or more."""
        self._gateway = gateway
        self._machine = machine
        self._cleanups = cleanups
        self.draw_id = draw_id
        self.limits = limits

    # -- time -------------------------------------------------------------------------------------------------

    def deadline_of(self, context: Context) -> float:
        """When, by the loop's clock, this call must have its answer. Ask once, at its start."""
        return asyncio.get_running_loop().time() + self.timeout_s(context.time_remaining())

    def timeout_s(self, remaining_s: float | None) -> float:
        """What a caller with so much time left is given; None has no deadline."""
        limits = self.limits
        if remaining_s is None:
            return limits.request_timeout_ms_default / 1_000
        margin_s = min(limits.deadline_margin_ms / 1_000 + remaining_s * TIMEOUT_ROUNDING, remaining_s / 2)
        return min(remaining_s - margin_s, limits.request_timeout_ms_max / 1_000)

    def entered_ms(self) -> int:
        """The cluster time to stamp an operation of this moment with."""
        return self._gateway.entered_ms()

    # -- the rules --------------------------------------------------------------------------------------------

    def check(self, operation: ClientOperation) -> None:
        """Raise `CallError` for arguments that the machine's own rules refuse."""
        refused = check_operation(operation, self._machine().bounds)
        if refused is not None:
            raise errors.of_refusal(refused)

    def check_id(self, field: str, value: str) -> None:
        """Raise `CallError` for what cannot be the id of a lease or a session."""
        _check_size(field, value, ID_BYTES_MAX)

    def check_resource(self, name: str) -> None:
        """Raise `CallError` for what cannot be the name of a resource."""
        _check_size("resource", name, RESOURCE_BYTES_MAX)

    def check_items(self, field: str, count: int) -> None:
        """Raise `CallError` for an empty batch and for one that is too large."""
        if count == 0:
            raise errors.invalid(field, "is empty; name at least one")
        if count > self.limits.items_per_request_max:
            most = self.limits.items_per_request_max
            raise errors.invalid(field, f"has {count} items; at most {most} go into one request")

    async def require_namespace(self, name: str, deadline: float) -> None:
        """Raise `CallError` for an unknown namespace. One that is new may not have reached this node yet: so it asks.

        So it does, too, while nothing of the cluster has: the default namespace is in every machine from the first.
        """
        machine = self._machine()
        if machine.cluster_id and machine.namespace(name) is not None:
            return
        view = await self.read(Consistency.LINEARIZABLE, deadline)
        if view.machine.namespace(name) is None:
            raise errors.of_door(
                "NAMESPACE_NOT_FOUND",
                f"no namespace {name!r}; create it with `namespace set`",
                field="namespace",
                namespace=name,
            )

    def complete_cleanup(self, asked: cleanup_spec_pb2.CleanupSpec) -> CleanupSpec:
        """The cleanup that a client named, with its canonical target. Raises `CallError`."""
        try:
            return self._cleanups.complete(asked.handler, asked.parameters)
        except UnknownHandler as error:
            known = ", ".join(error.known) or "none"
            raise errors.of_door(
                "UNKNOWN_HANDLER",
                f"cleanup.handler: no handler {error.handler!r} is registered; there are: {known}",
                field="cleanup.handler",
                handler=error.handler,
            ) from error
        except InvalidParameters as error:
            field = f"cleanup.parameters[{error.parameter}]" if error.parameter else "cleanup.parameters"
            advice = f"; {error.remedy}" if error.remedy else ""
            raise errors.invalid(field, f"{error.problem}{advice}") from error

    # -- there and back ---------------------------------------------------------------------------------------

    async def submit(self, operation: ClientOperation, deadline: float, *, repeatable: bool) -> Outcome:
        """Check one operation, have it applied, and return its outcome, never a refusal: that is raised.

        `repeatable`: the caller gave a `request_id`. Raises `CallError`.
        """
        self.check(operation)
        if operation.namespace:
            await self.require_namespace(operation.namespace, deadline)
        (outcome,) = await self.submit_checked((operation,), deadline, repeatable=repeatable)
        if isinstance(outcome, Refused):
            raise errors.of_refusal(outcome)
        return outcome

    async def submit_new_namespace(self, operation: ClientOperation, deadline: float, *, repeatable: bool) -> Outcome:
        """The same for an operation whose namespace need not exist."""
        self.check(operation)
        (outcome,) = await self.submit_checked((operation,), deadline, repeatable=repeatable)
        if isinstance(outcome, Refused):
            raise errors.of_refusal(outcome)
        return outcome

    async def submit_checked(
        self, operations: Sequence[ClientOperation], deadline: float, *, repeatable: bool
    ) -> Sequence[Outcome]:
        """Have operations applied that were checked before; one outcome each, refusals included."""
        try:
            return await self._gateway.submit(operations, timeout_s=_until(deadline))
        except OperatingError as error:
            raise self.told(error, repeatable=repeatable) from error

    async def read(self, consistency: Consistency, deadline: float) -> ReadView:
        """A view to answer from, before the next await. Raises `CallError`."""
        try:
            return await self._gateway.read(consistency, timeout_s=_until(deadline))
        except OperatingError as error:
            raise self.told(error, repeatable=True) from error

    async def transfer_leadership(self, to: str, deadline: float) -> str:
        """Have `to` lead, or whoever is most up to date; the answer is who leads then. Raises `CallError`."""
        try:
            return await self._gateway.transfer_leadership(to, timeout_s=_until(deadline))
        except OperatingError as error:
            raise self.told(error, repeatable=True) from error

    async def applied_past(self, event_index: int) -> None:
        """Wait until this node's machine knows of an event past `event_index`."""
        await self._gateway.wait_applied_past(event_index)

    def told(self, error: OperatingError, *, repeatable: bool) -> errors.CallError:
        """An operating error as the caller sees it: with the leader, if this node knows one."""
        if error.leader is None:
            error.leader = self._gateway.header().leader_api or None
        return errors.of_operating_error(error, repeatable=repeatable)

    # -- headers ----------------------------------------------------------------------------------------------

    def header(self) -> Header:
        return self._gateway.header()

    def mutation_header(self, context: Context) -> header_pb2.ResponseHeader:
        """The header of an acknowledged mutation; tells a caller who took a detour where the leader is."""
        header = self._gateway.header()
        if header.leader_api and header.leader_id != header.node_id:
            context.set_trailing_metadata(((errors.LEADER_METADATA, header.leader_api),))
        return translate_header.mutation_header(header)

    def read_header(self, view: ReadView) -> header_pb2.ResponseHeader:
        return translate_header.read_header(self._gateway.header(), view)


async def item_errors(refusals: Sequence[tuple[int, Refused]]) -> list[error_pb2.ItemError]:
    """The refused items of a batch, by rising index. Telling a thousand takes a while, so others get their turn."""
    told: list[error_pb2.ItemError] = []
    for start in range(0, len(refusals), ITEMS_PER_TURN):
        if start:
            await asyncio.sleep(0)
        told.extend(
            error_pb2.ItemError(index=position, status=errors.of_refusal(refused).status())
            for position, refused in refusals[start : start + ITEMS_PER_TURN]
        )
    return told


def _check_size(field: str, value: str, bytes_max: int) -> None:
    size = len(value.encode())
    if size == 0:
        raise errors.invalid(field, "is empty; it needs a value")
    if size > bytes_max:
        raise errors.invalid(field, f"is {size} bytes long; at most {bytes_max} bytes are allowed")


def _until(deadline: float) -> float:
    return max(TIMEOUT_S_MIN, deadline - asyncio.get_running_loop().time())
