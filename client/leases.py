"""Taking, prolonging, giving back and reading leases.

Duty: the calls of LeaseService, in Python's terms: seconds, exceptions, one method for one lease and for many.
Invariants: what is known of the leases that were acquired here is brought up to date by every answer about them, and
by no read. Lists longer than a batch may be are cut into batches.
"""

from collections.abc import Mapping, Sequence
from typing import overload

from garbagetruck.client.caller import Caller, Listing, Page, consistency
from garbagetruck.client.connection import Answer
from garbagetruck.client.errors import GarbageTruckError, LeaseEnded, LeaseNotFound
from garbagetruck.client.failures import error_of_status
from garbagetruck.client.held import HeldLeases
from garbagetruck.client.lease import Deadline, HeldLease, Lease
from garbagetruck.client.lease_calls import BATCH_ITEMS_MAX, LeaseCalls
from garbagetruck.client.records import NOTHING, Cleanup, LeaseRequest
from garbagetruck.client.translate import milliseconds
from garbagetruck.v1 import lease_pb2

One = str | HeldLease
Many = list[str] | list[Lease] | list[One] | tuple[One, ...]
"""Several leases, by themselves or by id. (A `Sequence` would let a single string pass for many.)"""


class Leases:
    """The leases of one namespace. Belongs to the loop of its connection."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._calls = LeaseCalls(caller)
        self._held = HeldLeases(caller.world.boottime_ns)

    async def acquire(
        self,
        resource: str,
        *,
        holder: str = "",
        ttl: float = 0.0,
        session_id: str = "",
        cleanup: Cleanup | None = None,
        grace: float | None = None,
        labels: Mapping[str, str] = NOTHING,
        request_id: str = "",
        timeout: float | None = None,
    ) -> Lease:
        """Take a lease, for `ttl` seconds from now or for as long as a session lives.

        Makes the resource if it does not exist; saves it if it is an orphan whose cleanup has not begun. Nobody renews
        a lease that stands alone but you: `renew`. `grace`: how many seconds the resource is left alone after its last
        lease; None leaves it to the namespace.

        Raises `ResourceBeingCleaned` (with `retry_after_s`), `CleanupConflict`, `TargetInUse`, `TargetOverlaps`,
        `SessionEnded`, `SessionNotFound`, `HolderMismatch`, `QuotaExceeded`, `InvalidArgument`, `NamespaceNotFound`;
        `Unavailable`, `OutcomeUnknown`.
        """
        asked = LeaseRequest(
            resource=resource,
            holder=holder,
            ttl=ttl,
            session_id=session_id,
            cleanup=cleanup,
            grace=grace,
            labels=labels,
        )
        answer = await self._calls.acquire(asked, request_id, timeout)
        return self._held.remember(answer.message.lease, answer.first_sent_ns)

    async def acquire_many(
        self, requests: Sequence[LeaseRequest], *, request_id: str = "", timeout: float | None = None
    ) -> list[Lease | GarbageTruckError]:
        """Take many leases; each succeeds or fails by itself. The answers are in the order of the requests.

        `request_id`: makes a repetition of the whole call, with the same requests, harmless; drawn when empty.
        """
        results: list[Lease | GarbageTruckError] = []
        for start in range(0, len(requests), BATCH_ITEMS_MAX):
            answer = await self._calls.acquire_many(
                requests[start : start + BATCH_ITEMS_MAX],
                timeout,
                at=start,
                request_id=f"{request_id}-{start}" if request_id and start else request_id,
            )
            results += (
                self._held.remember(result.lease, answer.first_sent_ns)
                if result.HasField("lease")
                else error_of_status(result.error)
                for result in answer.message.results
            )
        return results

    @overload
    async def renew(self, leases: One, *, ttl: float = 0.0, timeout: float | None = None) -> float: ...
    @overload
    async def renew(
        self, leases: Many, *, ttl: float = 0.0, timeout: float | None = None
    ) -> list[float | GarbageTruckError]: ...
    async def renew(
        self, leases: One | Many, *, ttl: float = 0.0, timeout: float | None = None
    ) -> float | list[float | GarbageTruckError]:
        """Begin the time of one lease, or of many, anew. `ttl`: a new TTL in seconds; 0 keeps each lease's own.

        For one: returns what is left, in seconds, counted from sending; raises `LeaseEnded`, which tells when and why,
        or `LeaseNotFound`. For many: the same for each in its order, with the exception as a value where it was
        refused.
        """
        if isinstance(leases, One):
            return await self._renew_one(lease_id_of(leases), ttl, timeout)
        results: list[float | GarbageTruckError] = []
        for start in range(0, len(leases), BATCH_ITEMS_MAX):
            ids = [lease_id_of(lease) for lease in leases[start : start + BATCH_ITEMS_MAX]]
            results += await self._renew_batch(ids, ttl, timeout)
        return results

    @overload
    async def release(self, leases: One, *, keep_resource: bool = False, timeout: float | None = None) -> None: ...
    @overload
    async def release(
        self, leases: Many, *, keep_resource: bool = False, timeout: float | None = None
    ) -> list[GarbageTruckError | None]: ...
    async def release(
        self,
        leases: One | Many,
        *,
        keep_resource: bool = False,
        timeout: float | None = None,
    ) -> list[GarbageTruckError | None] | None:
        """Give one lease, or many, back. `keep_resource`: it became permanent, never clean it (refused while others
        hold it).

        For one: raises `LeaseNotFound`, `LeaseEnded` when it had expired, `ResourceHasOtherHolders`. For many: None
        for each in its order, with the exception as a value where it was refused. A second release is no error.
        """
        if isinstance(leases, One):
            await self._release_one(lease_id_of(leases), timeout, keep_resource=keep_resource)
            return None
        results: list[GarbageTruckError | None] = []
        for start in range(0, len(leases), BATCH_ITEMS_MAX):
            ids = [lease_id_of(lease) for lease in leases[start : start + BATCH_ITEMS_MAX]]
            answer = await self._caller.mutate(
                lambda stubs: stubs.lease.BatchRelease,
                timeout,
                lease_pb2.BatchReleaseRequest,
                namespace=self._caller.namespace,
                lease_ids=ids,
                keep_resource=keep_resource,
            )
            refused = {item.index: error_of_status(item.status) for item in answer.message.errors}
            for position, lease_id in enumerate(ids):
                self._held.note_release(lease_id, refused.get(position))
                results.append(refused.get(position))
        return results

    async def release_holder(self, holder: str, *, timeout: float | None = None) -> int:
        """Give back every lease of a holder; returns how many. `timeout` is for each batch of a thousand."""
        released = 0
        while True:
            answer = await self._caller.mutate(
                lambda stubs: stubs.lease.BatchRelease,
                timeout,
                lease_pb2.BatchReleaseRequest,
                namespace=self._caller.namespace,
                holder=holder,
            )
            released += answer.message.released
            if not answer.message.remaining or not answer.message.released:
                return released

    async def get_lease(self, lease_id: str, *, stale: bool = False, timeout: float | None = None) -> Lease:
        """Read one lease, also for some time after it ended; raises `LeaseNotFound`. Prolongs nothing."""
        answer = await self._caller.read(
            lambda stubs: stubs.lease.GetLease,
            timeout,
            lease_pb2.GetLeaseRequest,
            namespace=self._caller.namespace,
            consistency=consistency(stale=stale),
            lease_id=lease_id,
        )
        return self._held.read(answer.message.lease, answer.sent_ns)

    def list_leases(
        self,
        *,
        resource: str = "",
        holder: str = "",
        session_id: str = "",
        labels: Mapping[str, str] = NOTHING,
        page_size: int = 0,
        stale: bool = False,
        timeout: float | None = None,
    ) -> Listing[Lease]:
        """Go through the active leases that match every filter given. `timeout` is for each page."""

        async def fetch(size: int, token: str) -> Page[Lease]:
            answer = await self._caller.read(
                lambda stubs: stubs.lease.ListLeases,
                timeout,
                lease_pb2.ListLeasesRequest,
                namespace=self._caller.namespace,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
                resource=resource,
                holder=holder,
                session_id=session_id,
                labels=labels,
            )
            leases = tuple(self._held.read(lease, answer.sent_ns) for lease in answer.message.leases)
            return Page(leases, answer.message.next_page_token)

        return Listing(fetch, page_size)

    # -- for sessions ----------------------------------------------------------------------------------------------

    def attach(self, acquired: Answer[lease_pb2.AcquireResponse], deadline: Deadline, *, renewed: bool) -> Lease:
        """A lease that was just acquired, with the deadline of its session; which that renewed, unless it did not."""
        return self._held.attach(acquired.message.lease, acquired.first_sent_ns, deadline, renewed=renewed)

    def register_anew(self, lease: Lease, message: lease_pb2.Lease) -> None:
        """Let a lease that the cluster lost be the one that was acquired in its place."""
        self._held.register_anew(lease, message)

    def note_release(self, lease_id: str) -> None:
        """Take note that a lease was given back."""
        self._held.note_release(lease_id, None)

    async def _renew_one(self, lease_id: str, ttl: float, timeout: float | None) -> float:
        try:
            answer = await self._caller.mutate(
                lambda stubs: stubs.lease.Renew,
                timeout,
                lease_pb2.RenewRequest,
                namespace=self._caller.namespace,
                lease_id=lease_id,
                ttl_ms=milliseconds(ttl, "ttl_ms"),
            )
        except (LeaseEnded, LeaseNotFound) as error:
            self._held.note_loss(lease_id, error)
            raise
        return self._held.note_renewal(lease_id, answer.sent_ns, answer.message.remaining_ms, changed=ttl != 0)

    async def _renew_batch(
        self, ids: Sequence[str], ttl: float, timeout: float | None
    ) -> list[float | GarbageTruckError]:
        answer = await self._calls.renew_many(ids, ttl, timeout)
        refused = {item.index: error_of_status(item.status) for item in answer.message.errors}
        results: list[float | GarbageTruckError] = []
        for position, (lease_id, remaining_ms) in enumerate(zip(ids, answer.message.remaining_ms, strict=True)):
            if (error := refused.get(position)) is None:
                results.append(self._held.note_renewal(lease_id, answer.sent_ns, remaining_ms, changed=ttl != 0))
            else:
                self._held.note_loss(lease_id, error)
                results.append(error)
        return results

    async def _release_one(self, lease_id: str, timeout: float | None, *, keep_resource: bool) -> None:
        try:
            await self._calls.release(lease_id, timeout, keep_resource=keep_resource)
        except (LeaseEnded, LeaseNotFound) as error:
            self._held.note_release(lease_id, error)
            raise
        self._held.note_release(lease_id, None)


def lease_id_of(lease: One) -> str:
    """The id of a lease that may be given by itself or by id."""
    return lease if isinstance(lease, str) else lease.id
