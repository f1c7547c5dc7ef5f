"""A session as the cluster knows it: under which id, in which life of the cluster, with which leases.

Duty: the calls that keep it known: open it, renew it, close it, give a lease of it back; and when a restored cluster
answers, which lost some of that, have it known there before anything else is said of it.

Invariants: a session's time begins anew in a later life of the cluster only once every lease in it is known there. Only
a later life of the same cluster is a reason to register anything anew; what any other does not know is over.
It must not know: when heartbeats are due, and when a session is given up.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from garbagetruck.client.caller import Caller
from garbagetruck.client.errors import GarbageTruckError, LeaseEnded, LeaseNotFound, SessionNotFound
from garbagetruck.client.lease import Deadline, Lease
from garbagetruck.client.lease_calls import LeaseCalls
from garbagetruck.client.leases import Leases
from garbagetruck.client.lives import NOT_TOLD, Life, life_of_answer, life_of_refusal
from garbagetruck.client.records import LeaseRequest
from garbagetruck.client.sessions import Sessions
from garbagetruck.client.succession import Member, Succession
from garbagetruck.v1 import lease_pb2

logger = logging.getLogger(__name__)


class Registration:
    """Of one session. Belongs to the loop of its connection. All `within_s` are seconds."""

    def __init__(self, caller: Caller, leases: Leases, *, holder: str, ttl: float) -> None:
        self._calls = Sessions(caller)
        self._lease_calls = LeaseCalls(caller)
        self._leases = leases
        self._holder = holder
        self._ttl = ttl
        self.session_id = ""
        """Empty before `open`."""
        self.members: dict[str, Member] = {}
        """The leases in it that were not given back, by their present ids."""
        self.deadline = Deadline(caller.world.boottime_ns, 0)
        """Until when it holds, and every lease in it."""
        self._life = NOT_TOLD
        self._succession = Succession(caller, self.deadline, self._take)
        self._alone = asyncio.Lock()
        self._told = (0, "")
        """Of how many leases that were registered anew it was told, and under which id of the session."""
        self._times_anew = 0
        self._changed = asyncio.Condition()

    async def open(self) -> None:
        """Raises as `Sessions.open`."""
        answer = await self._calls.call_open(self._holder, self._ttl, None)
        self.session_id = answer.message.session.id
        self._told = (0, self.session_id)
        self._life = life_of_answer(answer.message)
        self.deadline.extend(answer.first_sent_ns, answer.message.session.remaining_ms)

    async def renew(self, within_s: float) -> None:
        """Begin its time anew, once everything in it is known to whichever life of the cluster answers.

        Raises SessionEnded or SessionNotFound when it is over, another GarbageTruckError when it is to be done again.
        """
        async with self._alone:
            while True:
                try:
                    answer = await self._calls.call_renew(self.session_id, within_s)
                except SessionNotFound as error:
                    if not life_of_refusal(error).follows(self._life):
                        raise
                    self.session_id = await self._succession.open(self._holder, self._ttl)
                    continue
                life = life_of_answer(answer.message)
                if life.follows(self._life):
                    await self._enter(life)
                    continue  # what was sent before says nothing of what was registered since
                if self._life is NOT_TOLD:
                    self._life = life
                self.deadline.extend(answer.sent_ns, answer.message.remaining_ms)
                return

    async def close(self, within_s: float) -> None:
        """Raises as `Sessions.close`."""
        session_id = self.session_id
        try:
            await self._calls.close(session_id)
        except SessionNotFound as error:
            # What is given back is to be cleaned, not forgotten.
            await self._renew_elsewhere(session_id, error, within_s)
            await self._calls.close(self.session_id)

    async def _renew_elsewhere(self, session_id: str, error: SessionNotFound, within_s: float) -> None:
        """Have the session known under another id. Raises `error` when it was no restore that lost it."""
        if self.session_id != session_id:
            return
        if not life_of_refusal(error).follows(self._life):
            raise error
        await self.renew(within_s)

    # -- leases ---------------------------------------------------------------------------------------------------

    async def acquire(self, asked: LeaseRequest, request_id: str, timeout: float | None, within_s: float) -> Lease:
        """Take a lease with the session, which it renews. Raises as `Truck.acquire`."""
        session_id = self.session_id
        try:
            answer = await self._lease_calls.acquire(replace(asked, session_id=session_id), request_id, timeout)
        except SessionNotFound as error:
            await self._renew_elsewhere(session_id, error, within_s)
            session_id = self.session_id
            answer = await self._lease_calls.acquire(replace(asked, session_id=session_id), request_id, timeout)
        # A restored cluster may know the session, and not all of its leases.
        renewed = not life_of_answer(answer.message).follows(self._life)
        lease = self._leases.attach(answer, self.deadline, renewed=renewed)
        self.members[lease.id] = Member(lease, asked)
        if not renewed:
            with suppress(GarbageTruckError):  # the next heartbeat does it, or says what is wrong
                await self.renew(within_s)
        return lease

    async def release(self, lease_id: str, timeout: float | None, within_s: float, *, keep_resource: bool) -> None:
        """Give a lease back. One that a restored cluster lost is registered there first: so its cleanup is not forgotten.

        Raises as `Truck.release`.
        """
        member = self.members.get(lease_id)
        if member is None:
            await self._leases.release(lease_id, keep_resource=keep_resource, timeout=timeout)
            return
        is_first, member.leaving = not member.leaving, True
        try:
            try:
                await self._lease_calls.release(lease_id, timeout, keep_resource=keep_resource)
            except LeaseNotFound as error:
                if not (is_first and await self._is_known_anew(member, lease_id, error, within_s)):
                    raise
                await self._lease_calls.release(member.lease.id, timeout, keep_resource=keep_resource)
        except (LeaseEnded, LeaseNotFound) as error:
            member.lease.lost.set(error.message)
            raise
        self._leases.note_release(member.lease.id)
        self.members.pop(member.lease.id, None)

    async def _is_known_anew(self, member: Member, lease_id: str, error: LeaseNotFound, within_s: float) -> bool:
        """Whether a restored cluster, which does not know that id, knows the lease under another one now."""
        life = life_of_refusal(error)
        member.leaving = False
        try:
            if life.follows(self._life):
                await self.renew(within_s)
            elif life == self._life:
                async with self._alone:  # it may have been on its way when the others were registered
                    if self._times_anew and member.lease.id == lease_id:
                        await self._succession.register([member], self.session_id)
        finally:
            member.leaving = True
        return member.lease.id != lease_id and not member.lease.lost.is_set()

    def _take(self, member: Member, message: lease_pb2.Lease) -> None:
        self.members.pop(member.lease.id, None)
        self._leases.register_anew(member.lease, message)
        self.members[member.lease.id] = member

    # -- a later life ---------------------------------------------------------------------------------------------

    async def registered_anew(self, after: int) -> int:
        """Return how often something was registered anew, as soon as that is more than `after`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._times_anew > after)
        return self._times_anew

    async def _enter(self, life: Life) -> None:
        """Have every lease known in a later life of the cluster, which knows the session."""
        await self._succession.register(self.members.values(), self.session_id)
        self._life = life
        before, self._told = self._told, (self._succession.registered, self.session_id)
        logger.log(
            logging.INFO if self._told == before else logging.WARNING,
            "session %s goes on in incarnation %d of cluster %s, which was restored: %d of %d leases were registered anew",
            self.session_id,
            life.incarnation,
            life.cluster_id,
            self._told[0] - before[0],
            len(self.members),
        )
        if self._told != before:
            self._times_anew += 1
            async with self._changed:
                self._changed.notify_all()
