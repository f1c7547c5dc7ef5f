"""Acquiring, renewing and releasing leases, one call at a time.

Duty: make the messages of LeaseService that change something, and carry them through. `Leases` and sessions are built on
them. It must not know: which leases this process holds.
"""

from collections.abc import Sequence

from garbagetruck.client.caller import Caller
from garbagetruck.client.connection import Answer
from garbagetruck.client.fitting import fit
from garbagetruck.client.records import LeaseRequest
from garbagetruck.client.translate import cleanup_message, milliseconds
from garbagetruck.v1 import lease_pb2

BATCH_ITEMS_MAX = 1_000
"""How many items the API takes in one batch."""


class LeaseCalls:
    """The calls of one namespace. Each raises what the public method does that is built on it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def acquire(
        self, asked: LeaseRequest, request_id: str, timeout: float | None
    ) -> Answer[lease_pb2.AcquireResponse]:
        """Acquire one lease, and tell when that was sent."""
        return await self._caller.mutate(
            lambda stubs: stubs.lease.Acquire,
            timeout,
            lease_pb2.AcquireRequest,
            namespace=self._caller.namespace,
            request_id=request_id,
            resource=asked.resource,
            holder=asked.holder,
            ttl_ms=milliseconds(asked.ttl, "ttl_ms"),
            session_id=asked.session_id,
            cleanup=cleanup_message(asked.cleanup),
            grace_ms=None if asked.grace is None else milliseconds(asked.grace, "grace_ms"),
            labels=asked.labels,
        )

    async def acquire_many(
        self, requests: Sequence[LeaseRequest], timeout: float | None, *, at: int = 0, request_id: str = ""
    ) -> Answer[lease_pb2.BatchAcquireResponse]:
        """Acquire a batch. `at`: the position of its first in the caller's own list."""
        return await self._caller.mutate(
            lambda stubs: stubs.lease.BatchAcquire,
            timeout,
            lease_pb2.BatchAcquireRequest,
            namespace=self._caller.namespace,
            request_id=request_id,
            items=[_item(position, request) for position, request in enumerate(requests, at)],
        )

    async def renew_many(
        self, ids: Sequence[str], ttl: float, timeout: float | None
    ) -> Answer[lease_pb2.BatchRenewResponse]:
        """Renew a batch. `ttl` 0 keeps each lease's own."""
        return await self._caller.mutate(
            lambda stubs: stubs.lease.BatchRenew,
            timeout,
            lease_pb2.BatchRenewRequest,
            namespace=self._caller.namespace,
            lease_ids=ids,
            ttl_ms=milliseconds(ttl, "ttl_ms"),
        )

    async def release(self, lease_id: str, timeout: float | None, *, keep_resource: bool) -> None:
        """Give one lease back."""
        await self._caller.mutate(
            lambda stubs: stubs.lease.Release,
            timeout,
            lease_pb2.ReleaseRequest,
            namespace=self._caller.namespace,
            lease_id=lease_id,
            keep_resource=keep_resource,
        )


def _item(position: int, request: LeaseRequest) -> lease_pb2.AcquireItem:
    return fit(
        f"items[{position}]",
        lease_pb2.AcquireItem,
        resource=request.resource,
        holder=request.holder,
        ttl_ms=milliseconds(request.ttl, "ttl_ms"),
        session_id=request.session_id,
        cleanup=cleanup_message(request.cleanup),
        grace_ms=None if request.grace is None else milliseconds(request.grace, "grace_ms"),
        labels=request.labels,
    )
