"""LeaseService: acquire, renew, release, read and keep alive."""

import asyncio
from collections.abc import AsyncIterator

from typing_extensions import override

from garbagetruck.cluster.api import errors, pages
from garbagetruck.cluster.api.door import ITEMS_PER_TURN, Context, Door, item_errors
from garbagetruck.cluster.api.errors import CallError
from garbagetruck.cluster.api.keep_alive import keep_alive
from garbagetruck.cluster.api.texts import REQUEST_ID_BYTES_MAX
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.api.translate import lease as translate
from garbagetruck.cluster.machine.operations import AcquireLease, ReleaseHolder, ReleaseLeases, RenewLeases
from garbagetruck.cluster.machine.outcomes import LeaseGranted, LeasesReleased, LeasesRenewed, Outcome, Refused
from garbagetruck.v1 import lease_pb2, lease_pb2_grpc

ITEM_REQUEST_ID_BYTES_MIN = REQUEST_ID_BYTES_MAX + 1
POSITION_DIGITS_MIN = 3


class LeaseServicer(lease_pb2_grpc.LeaseServiceServicer):
    """Translates; see lease.proto for what the methods promise."""

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def Acquire(self, request: lease_pb2.AcquireRequest, context: Context) -> lease_pb2.AcquireResponse:
        door = self._door
        deadline = door.deadline_of(context)
        namespace = header.namespace(request.namespace)
        operation = self._acquire(request, namespace, request.request_id)
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, LeaseGranted), outcome
        return lease_pb2.AcquireResponse(
            header=door.mutation_header(context), lease=translate.lease_message(outcome.lease)
        )

    @override
    async def BatchAcquire(
        self, request: lease_pb2.BatchAcquireRequest, context: Context
    ) -> lease_pb2.BatchAcquireResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_items("items", len(request.items))
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        results = [lease_pb2.AcquireResult() for _ in request.items]
        operations: list[AcquireLease] = []
        positions: list[int] = []
        for position, item in enumerate(request.items):
            if position % ITEMS_PER_TURN == ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            request_id = item_request_id(request.request_id, position) if request.request_id else ""
            try:
                operation = self._acquire(item, namespace, request_id)
                door.check(operation)
            except CallError as error:
                results[position].error.CopyFrom(error.status())
            else:
                operations.append(operation)
                positions.append(position)
        outcomes: list[Outcome] = []
        if operations:
            outcomes.extend(await door.submit_checked(operations, deadline, repeatable=bool(request.request_id)))
        for position, outcome in zip(positions, outcomes, strict=True):
            if isinstance(outcome, Refused):
                results[position].error.CopyFrom(errors.of_refusal(outcome).status())
            else:
                assert isinstance(outcome, LeaseGranted), outcome
                results[position].lease.CopyFrom(translate.lease_message(outcome.lease))
        return lease_pb2.BatchAcquireResponse(header=door.mutation_header(context), results=results)

    @override
    async def Renew(self, request: lease_pb2.RenewRequest, context: Context) -> lease_pb2.RenewResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_id("lease_id", request.lease_id)
        outcome = await self._renew(
            request.namespace, (request.lease_id,), request.ttl_ms, deadline, repeatable=bool(request.request_id)
        )
        for _, refused in outcome.refusals:
            raise errors.of_refusal(refused)
        return lease_pb2.RenewResponse(header=door.mutation_header(context), remaining_ms=outcome.remaining_ms[0])

    @override
    async def BatchRenew(self, request: lease_pb2.BatchRenewRequest, context: Context) -> lease_pb2.BatchRenewResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_items("lease_ids", len(request.lease_ids))
        lease_ids = tuple(request.lease_ids)
        outcome = await self._renew(
            request.namespace, lease_ids, request.ttl_ms, deadline, repeatable=bool(request.request_id)
        )
        return lease_pb2.BatchRenewResponse(
            header=door.mutation_header(context),
            remaining_ms=header.remaining(outcome.remaining_ms),
            errors=await item_errors(outcome.refusals),
        )

    @override
    async def Release(self, request: lease_pb2.ReleaseRequest, context: Context) -> lease_pb2.ReleaseResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_id("lease_id", request.lease_id)
        operation = ReleaseLeases(
            door.entered_ms(), header.namespace(request.namespace), (request.lease_id,), request.keep_resource
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, LeasesReleased), outcome
        for _, refused in outcome.refusals:
            raise errors.of_refusal(refused)
        return lease_pb2.ReleaseResponse(header=door.mutation_header(context))

    @override
    async def BatchRelease(
        self, request: lease_pb2.BatchReleaseRequest, context: Context
    ) -> lease_pb2.BatchReleaseResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation: ReleaseLeases | ReleaseHolder
        namespace = header.namespace(request.namespace)
        if request.holder:
            if request.lease_ids:
                raise errors.invalid("lease_ids", "is given together with holder; give one of the two")
            if request.keep_resource:
                raise errors.invalid("keep_resource", "goes with lease_ids only, not with holder")
            operation = ReleaseHolder(door.entered_ms(), namespace, request.holder, door.limits.items_per_request_max)
        else:
            door.check_items("lease_ids", len(request.lease_ids))
            operation = ReleaseLeases(door.entered_ms(), namespace, tuple(request.lease_ids), request.keep_resource)
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, LeasesReleased), outcome
        return lease_pb2.BatchReleaseResponse(
            header=door.mutation_header(context),
            released=outcome.released,
            errors=await item_errors(outcome.refusals),
            remaining=outcome.remaining,
        )

    @override
    async def GetLease(self, request: lease_pb2.GetLeaseRequest, context: Context) -> lease_pb2.GetLeaseResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_id("lease_id", request.lease_id)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        lease = view.machine.lease(request.lease_id, view.clock_ms)
        if lease is None or lease.namespace != namespace:
            raise errors.of_door(
                "LEASE_NOT_FOUND",
                f"no lease {request.lease_id!r} in namespace {namespace!r}: it never existed here, or ended too long ago",
                field="lease_id",
            )
        return lease_pb2.GetLeaseResponse(header=door.read_header(view), lease=translate.lease_message(lease))

    @override
    async def ListLeases(self, request: lease_pb2.ListLeasesRequest, context: Context) -> lease_pb2.ListLeasesResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after(request, request.page_token)
        wanted = translate.lease_filter(request)
        await door.require_namespace(wanted.namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        page = view.machine.leases(wanted, after, size, view.clock_ms)
        leases, after = pages.fit(
            page.items, translate.lease_message, lambda lease: lease.fencing_token, page.next_after
        )
        return lease_pb2.ListLeasesResponse(
            header=door.read_header(view),
            leases=leases,
            next_page_token=pages.next_page_token(request, after),
        )

    @override
    def KeepAlive(
        self, request_iterator: AsyncIterator[lease_pb2.KeepAliveRequest], context: Context
    ) -> AsyncIterator[lease_pb2.KeepAliveResponse]:
        return keep_alive(
            self._door, request_iterator, context, self._keep_alive_operation, translate.keep_alive_response
        )

    async def _keep_alive_operation(self, message: lease_pb2.KeepAliveRequest, deadline: float) -> RenewLeases:
        door = self._door
        door.check_items("lease_ids", len(message.lease_ids))
        operation = RenewLeases(door.entered_ms(), header.namespace(message.namespace), tuple(message.lease_ids))
        door.check(operation)
        await door.require_namespace(operation.namespace, deadline)
        return operation

    async def _renew(
        self, namespace: str, lease_ids: tuple[str, ...], ttl_ms: int, deadline: float, *, repeatable: bool
    ) -> LeasesRenewed:
        operation = RenewLeases(self._door.entered_ms(), header.namespace(namespace), lease_ids, ttl_ms)
        outcome = await self._door.submit(operation, deadline, repeatable=repeatable)
        assert isinstance(outcome, LeasesRenewed), outcome
        return outcome

    def _acquire(
        self, request: lease_pb2.AcquireRequest | lease_pb2.AcquireItem, namespace: str, request_id: str
    ) -> AcquireLease:
        door = self._door
        return translate.acquire_operation(
            request,
            entered_ms=door.entered_ms(),
            namespace=namespace,
            request_id=request_id,
            lease_id=door.draw_id(),
            cleanup=door.complete_cleanup(request.cleanup) if request.HasField("cleanup") else None,
        )


def item_request_id(batch: str, position: int) -> str:
    """The `request_id` under which one item of a batch is remembered: longer than any that a caller may give.

    So an item never meets a call of its own in the request table, whatever ids callers choose. The digits after the last
    slash are the position, and nothing else ends in them: two batches never share one, either.
    """
    digits = max(POSITION_DIGITS_MIN, ITEM_REQUEST_ID_BYTES_MIN - len(batch.encode()) - 1)
    return f"{batch}/{position:0{digits}}"
