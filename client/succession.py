"""A session's way into a later life of its cluster.

Duty: open the session anew in a restored cluster that does not know it, and acquire there each of its leases that was
lost with the disks: the same resource, cleanup, grace and labels, under a new id and a higher fencing token.

Invariants: nothing is registered anew but what the cluster's later life does not know, while its time is not over by this
machine's clock (docs/decisions/0024). What the caller has released, or was about to, is not; nor is what is over, or
lost. A lease whose resource is being cleaned, was cleaned, or cannot be had, is lost, and says why. Whatever is
interrupted can be done again from the beginning.

It must not know: heartbeats.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from garbagetruck.client.caller import Caller
from garbagetruck.client.errors import (
    GarbageTruckError,
    LeaseNotFound,
    Refused,
    RequestTooOld,
    ResourceNotFound,
    SessionEnded,
    SessionNotFound,
)
from garbagetruck.client.failures import error_of_status
from garbagetruck.client.lease import Deadline, Lease
from garbagetruck.client.lease_calls import BATCH_ITEMS_MAX, LeaseCalls
from garbagetruck.client.records import LeaseRequest, LeaseState, ResourceState
from garbagetruck.client.resources import Resources
from garbagetruck.client.sessions import Sessions
from garbagetruck.v1 import lease_pb2

READS_AT_ONCE_MAX = 32

OF_NO_LEASE = (RequestTooOld, SessionEnded, SessionNotFound)
"""Refusals that say nothing of the lease: the whole is tried again."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Member:
    """A lease of a session, and what was asked for it."""

    lease: Lease
    asked: LeaseRequest
    leaving: bool = False
    """The caller has asked to give it back; whether it was given back may not be known."""


class Succession:
    """Of one session. Belongs to the loop of its connection; one call at a time.

    `deadline`: until when the session, and every lease in it, holds. It is not moved here. `take`: takes note of what was
    acquired in the place of a member's lease.
    """

    def __init__(self, caller: Caller, deadline: Deadline, take: Callable[[Member, lease_pb2.Lease], None]) -> None:
        self._take = take
        self._lease_calls = LeaseCalls(caller)
        self._sessions = Sessions(caller)
        self._resources = Resources(caller)
        self._deadline = deadline
        self.registered = 0
        """How many leases were registered anew so far."""

    async def open(self, holder: str, ttl: float) -> str:
        """Open the session anew; returns its id. Raises as `Sessions.open`."""
        answer = await self._sessions.call_open(holder, ttl, self._deadline.remaining_s)
        return answer.message.session.id

    async def register(self, members: Iterable[Member], session_id: str) -> None:
        """Acquire in that session what the cluster does not know of these.

        Raises GarbageTruckError when it could not be done to the end: then do it again.
        """
        standing = [each for each in members if not each.leaving and not each.lease.lost.is_set()]
        for start in range(0, len(standing), BATCH_ITEMS_MAX):
            unknown = await self._unknown(standing[start : start + BATCH_ITEMS_MAX])
            await self._acquire(await self._not_cleaned(unknown), session_id)

    async def _unknown(self, members: Sequence[Member]) -> list[Member]:
        """Those that the cluster does not know. One that it knows to be over is lost."""
        ids = [each.lease.id for each in members]
        answer = await self._lease_calls.renew_many(ids, 0.0, self._deadline.remaining_s)
        unknown: list[Member] = []
        for item in answer.message.errors:
            member, error = members[item.index], error_of_status(item.status)
            if isinstance(error, LeaseNotFound):
                unknown.append(member)
            elif not member.leaving:
                _lose(member, error.message)
        return unknown

    async def _not_cleaned(self, members: Sequence[Member]) -> list[Member]:
        """Those whose thing may still be there: an acquire would begin another life of a resource that was cleaned."""
        left: list[Member] = []
        for start in range(0, len(members), READS_AT_ONCE_MAX):
            batch = members[start : start + READS_AT_ONCE_MAX]
            states = await asyncio.gather(*(self._state(each.lease.resource) for each in batch))
            for member, state in zip(batch, states, strict=True):
                if state is ResourceState.CLEANED:
                    _lose(member, "the resource was cleaned before the restored cluster knew of the lease")
                else:
                    left.append(member)
        return left

    async def _state(self, resource: str) -> ResourceState | None:
        try:
            return (await self._resources.get(resource, timeout=self._deadline.remaining_s)).state
        except ResourceNotFound:
            return None

    async def _acquire(self, members: Sequence[Member], session_id: str) -> None:
        if not members:
            return
        requests = [replace(each.asked, session_id=session_id) for each in members]
        answer = await self._lease_calls.acquire_many(requests, self._deadline.remaining_s)
        failure: GarbageTruckError | None = None
        for member, result in zip(members, answer.message.results, strict=True):
            if result.HasField("lease"):
                self._take(member, result.lease)
                self.registered += 1
                continue
            error = error_of_status(result.error)
            if isinstance(error, Refused) and not isinstance(error, OF_NO_LEASE):
                _lose(member, f"the restored cluster did not know it, and it could not be had again: {error.message}")
            else:
                failure = error
        if failure is not None:
            raise failure


def _lose(member: Member, reason: str) -> None:
    """It is over, though its session lives."""
    lease = member.lease
    logger.warning("the lease on %r is lost: %s", lease.resource, reason)
    lease.described.record = replace(lease.record, state=LeaseState.EXPIRED)
    lease.lost.set(reason)
