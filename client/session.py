"""A session that keeps itself alive, and the leases in it.

Duty: one heartbeat for any number of leases, through every failure of nodes for as long as the TTL lasts, and into the
next life of a cluster that was restored meanwhile.
Invariants: the session is given up only when the cluster says that it is over, or when its time has run out by this
machine's clock without an acknowledged renewal; until then the heartbeat goes on, on every endpoint. When it is given
up, every lease in it is lost. The heartbeat's task lives from entering to leaving, and its failure is raised at
leaving.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

from garbagetruck.client.caller import Caller
from garbagetruck.client.errors import GarbageTruckError, SessionEnded, SessionLost, SessionNotFound
from garbagetruck.client.lease import CLOCK_CHECK_S_MAX, Lease, Lost
from garbagetruck.client.leases import Leases, One, lease_id_of
from garbagetruck.client.records import NOTHING, Cleanup, LeaseRequest
from garbagetruck.client.registration import Registration
from garbagetruck.client.retry import Backoff

BEAT_SHARE_MIN = 0.28
BEAT_SHARE_MAX = 1 / 3
"""A heartbeat follows the last renewal after a random share of the TTL between these, so that there are two more
tries.
"""

logger = logging.getLogger(__name__)


class Session:
    """A holder's heartbeat. `async with` opens it and closes it; in between it renews itself."""

    def __init__(self, caller: Caller, leases: Leases, *, holder: str, ttl: float) -> None:
        self._caller = caller
        self._holder = holder
        self._ttl = ttl
        self._registration = Registration(caller, leases, holder=holder, ttl=ttl)
        self._lost = Lost(self._registration.deadline)
        self._heartbeat: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        assert self._heartbeat is None, "a session is entered once"
        await self._registration.open()
        self._heartbeat = asyncio.create_task(self._keep_alive(), name=f"heartbeat of session {self.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lost = self._lost.is_set()
        self._lost.give_back()
        for member in self._registration.members.values():
            member.lease.lost.give_back()
        try:
            if not lost:
                await self._registration.close(self._caller.timeout_s)
            elif error is None:
                raise self._loss()
        except GarbageTruckError as failure:
            if error is None:
                raise
            # What went wrong in the body matters more. The session ends by itself, at the latest after its TTL.
            error.add_note(f"session {self.id} could not be closed: {failure.message}")
        finally:
            await self._stop_heartbeat()

    @property
    def id(self) -> str:
        """Unguessable. Empty before entering; another one after it was registered anew."""
        return self._registration.session_id

    @property
    def holder(self) -> str:
        """Who holds the session and every lease in it."""
        return self._holder

    @property
    def ttl(self) -> float:
        """How long it lives without a heartbeat, in seconds."""
        return self._ttl

    @property
    def remaining(self) -> float:
        """What is left, in seconds, if no further heartbeat gets through."""
        return self._registration.deadline.remaining_s

    @property
    def lost(self) -> Lost:
        """Set when the session is over without having been closed here. Every lease in it is lost then, too."""
        return self._lost

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases that were acquired in it and not released yet."""
        return tuple(member.lease for member in self._registration.members.values())

    async def registered_anew(self, after: int = 0) -> int:
        """Return how often the session was registered anew in a restored cluster, as soon as that is more than `after`.

        By then its `id`, and `id` and `fencing_token` of each lease that the cluster had lost, are other ones: what is
        stamped with a token is stamped with the new one from now on. A lease that could not be had again is lost.
        """
        return await self._registration.registered_anew(after)

    async def acquire(
        self,
        resource: str,
        *,
        cleanup: Cleanup | None = None,
        grace: float | None = None,
        labels: Mapping[str, str] = NOTHING,
        request_id: str = "",
        timeout: float | None = None,
    ) -> Lease:
        """Take a lease that lives as long as the session does, or until `release`. Renews the session.

        Parameters and errors as `Truck.acquire`. Give it back through this session, which otherwise remembers it.
        """
        asked = LeaseRequest(resource=resource, cleanup=cleanup, grace=grace, labels=labels)
        return await self._registration.acquire(asked, request_id, timeout, self._within_s(timeout))

    async def release(self, lease: One, *, keep_resource: bool = False, timeout: float | None = None) -> None:
        """Give a lease of this session back before the session ends. Errors as `Truck.release`."""
        await self._registration.release(
            lease_id_of(lease), timeout, self._within_s(timeout), keep_resource=keep_resource
        )

    def lease(
        self,
        resource: str,
        *,
        cleanup: Cleanup | None = None,
        grace: float | None = None,
        labels: Mapping[str, str] = NOTHING,
        keep_resource: bool = False,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold a lease while the body runs, and release it after.

        `keep_resource`: when the body succeeds, the resource became permanent; when it fails, it is released as usual.
        Raises at the end `LeaseLost` when the lease was lost on the way, and what `Truck.release` raises; unless the
        body itself failed.
        """
        return self._hold(resource, cleanup, grace, labels, keep_resource=keep_resource)

    @asynccontextmanager
    async def _hold(
        self,
        resource: str,
        cleanup: Cleanup | None,
        grace: float | None,
        labels: Mapping[str, str],
        *,
        keep_resource: bool,
    ) -> AsyncIterator[Lease]:
        lease = await self.acquire(resource, cleanup=cleanup, grace=grace, labels=labels)
        try:
            yield lease
        except BaseException as error:
            try:
                if not lease.lost.is_set():
                    await self.release(lease)
            except GarbageTruckError as failure:
                error.add_note(f"the lease on {resource!r} could not be released: {failure.message}")
            raise
        if lease.lost.is_set():
            raise lease.loss()
        await self.release(lease, keep_resource=keep_resource)

    async def _keep_alive(self) -> None:
        try:
            while not self._lost.is_set():
                await self._pause()
                await self._beat()
        finally:
            # Also when this task fails by a bug: who holds must learn that nobody renews any more.
            self._lost.set("its heartbeat has stopped")
            for member in self._registration.members.values():
                member.lease.lost.set(f"its session is lost: {self._lost.reason}")

    async def _pause(self) -> None:
        """Sleep until the next heartbeat is due."""
        share = self._caller.world.random.uniform(BEAT_SHARE_MIN, BEAT_SHARE_MAX)
        due_s = self._ttl * (1 - share)
        early_s = self.remaining - due_s
        while early_s > 0:
            await asyncio.sleep(min(early_s, CLOCK_CHECK_S_MAX))
            early_s = self.remaining - due_s

    async def _beat(self) -> None:
        """Renew the session, for as long as there is anything to renew."""
        backoff = Backoff(self._caller.world.random)
        while not self._lost.is_set():
            try:
                await self._registration.renew(self.remaining)
            except (SessionEnded, SessionNotFound) as error:
                self._lost.set(error.message)
            except GarbageTruckError as error:
                logger.warning("session %s: heartbeat failed: %s", self.id, error.message)
                delay_s = backoff.next_delay_s(error.retry_after_s)
                await asyncio.sleep(min(delay_s, self.remaining))
            else:
                return

    def _within_s(self, timeout: float | None) -> float:
        return self._caller.timeout_s if timeout is None else timeout

    async def _stop_heartbeat(self) -> None:
        heartbeat = self._heartbeat
        assert heartbeat is not None, "left without having been entered"
        heartbeat.cancel()
        await asyncio.wait([heartbeat])
        if not heartbeat.cancelled() and (failure := heartbeat.exception()) is not None:
            raise failure

    def _loss(self) -> SessionLost:
        text = f"session {self.id} is lost: {self._lost.reason}"
        return SessionLost(text, metadata={"session_id": self.id})
