"""The client's face without `await`.

Duty: the names of the asynchronous client, for programs that have no event loop. Every method is made from its
asynchronous namesake, whose documentation holds here; see `portal`.
Invariant: usable from any thread. Heartbeats of sessions run on the portal's thread, whatever the caller is doing.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar, overload

from garbagetruck.client.caller import Listing, Page
from garbagetruck.client.cleanups import Cleanups
from garbagetruck.client.errors import GarbageTruckError
from garbagetruck.client.lease import HeldLease, Lease, Lost
from garbagetruck.client.leases import One
from garbagetruck.client.namespaces import Namespaces
from garbagetruck.client.portal import (
    Face,
    Portal,
    blocking,
    blocking_as,
    entering,
    iterating,
    plain_as,
)
from garbagetruck.client.resources import Resources
from garbagetruck.client.session import Session
from garbagetruck.client.sessions import Sessions
from garbagetruck.client.snapshots import Snapshots
from garbagetruck.client.truck import TIMEOUT_S_DEFAULT, Truck, connect
from garbagetruck.client.world import World

T = TypeVar("T")
S = TypeVar("S")

SyncMany = list[str] | list["SyncLease"] | list[One] | tuple[One, ...]
"""Several leases, by themselves or by id."""


class SyncLost(Face[Lost]):
    """Set when a lease or a session is over without its holder having ended it."""

    @property
    def reason(self) -> str:
        """Why, in a sentence. Empty while not lost."""
        return self.wrapped.reason

    def is_set(self) -> bool:
        """Whether it is lost, also by the clock alone."""

        async def ask() -> bool:
            return self.wrapped.is_set()

        return self.portal.run(ask())

    def wait(self, timeout: float | None = None) -> bool:
        """Return True when it is lost, False when it is not after `timeout` seconds. None waits for ever."""

        async def wait() -> bool:
            try:
                async with asyncio.timeout(timeout):
                    await self.wrapped.wait()
            except TimeoutError:
                return False
            return True

        return self.portal.run(wait())


@dataclass(frozen=True, slots=True, eq=False)
class SyncLease(HeldLease):
    """A claim on a resource, and how its loss is learnt."""

    lost: SyncLost
    """Set when it is over without having been released here."""
    wrapped: Lease
    """Kept because the client follows a lease only as long as somebody has it."""


class SyncListing(Generic[T, S]):
    """A list on the cluster. `for` goes through all of it, page by page; `page` gets one page."""

    def __init__(self, portal: Portal, listing: Listing[T], wrap: Callable[[Portal, T], S]) -> None:
        self._portal = portal
        self._listing = listing
        self._wrap = wrap

    def page(self, page_token: str = "") -> Page[S]:
        """Get the page that begins at a token of an earlier one; empty = the first."""
        page = self._portal.run(self._listing.page(page_token))
        return Page(tuple(self._wrap(self._portal, item) for item in page.items), page.next_page_token)

    def __iter__(self) -> Iterator[S]:
        for item in self._portal.iterate(aiter(self._listing)):
            yield self._wrap(self._portal, item)


def _lease(portal: Portal, lease: Lease) -> SyncLease:
    return SyncLease(lease.described, lease.deadline, SyncLost(portal, lease.lost), lease)


def _lease_or_error(portal: Portal, result: Lease | GarbageTruckError) -> SyncLease | GarbageTruckError:
    return _lease(portal, result) if isinstance(result, Lease) else result


def _leases_or_errors(portal: Portal, results: list[Lease | GarbageTruckError]) -> list[SyncLease | GarbageTruckError]:
    return [_lease_or_error(portal, result) for result in results]


def _leases(portal: Portal, listing: Listing[Lease]) -> SyncListing[Lease, SyncLease]:
    return SyncListing(portal, listing, _lease)


def _records(portal: Portal, listing: Listing[T]) -> SyncListing[T, T]:
    return SyncListing(portal, listing, lambda _portal, item: item)


class SyncSessions(Face[Sessions]):
    """The sessions of one namespace."""

    open = blocking(Sessions.open)
    renew = blocking(Sessions.renew)
    close = blocking(Sessions.close)
    get = blocking(Sessions.get)
    list = plain_as(Sessions.list, _records)


class SyncResources(Face[Resources]):
    """The resources of one namespace."""

    get = blocking(Resources.get)
    list = plain_as(Resources.list, _records)
    hold = blocking(Resources.hold)
    unhold = blocking(Resources.unhold)
    forget = blocking(Resources.forget)
    explain = blocking(Resources.explain)


class SyncCleanups(Face[Cleanups]):
    """The cleanups of one namespace."""

    get = blocking(Cleanups.get)
    list = plain_as(Cleanups.list, _records)
    preview = plain_as(Cleanups.preview, _records)
    retry = blocking(Cleanups.retry)
    discard = blocking(Cleanups.discard)
    pause = blocking(Cleanups.pause)
    resume = blocking(Cleanups.resume)
    close_breaker = blocking(Cleanups.close_breaker)
    set_fleet_brake = blocking(Cleanups.set_fleet_brake)


class SyncNamespaces(Face[Namespaces]):
    """The namespaces of the cluster."""

    get = blocking(Namespaces.get)
    list = plain_as(Namespaces.list, _records)
    set = blocking(Namespaces.set)


class SyncSnapshots(Face[Snapshots]):
    """The snapshots of the cluster."""

    create = blocking(Snapshots.create)
    list = plain_as(Snapshots.list, _records)
    verify = iterating(Snapshots.verify)


class SyncSession(Face[Session]):
    """A holder's heartbeat, which goes on by itself on the portal's thread."""

    acquire = blocking_as(Session.acquire, _lease)
    release = blocking(Session.release)
    registered_anew = blocking(Session.registered_anew)
    lease = entering(Session.lease, _lease)

    @property
    def id(self) -> str:
        """Unguessable. Another one after it was registered anew."""
        return self.wrapped.id

    @property
    def holder(self) -> str:
        """Who holds the session and every lease in it."""
        return self.wrapped.holder

    @property
    def ttl(self) -> float:
        """How long it lives without a heartbeat, in seconds."""
        return self.wrapped.ttl

    @property
    def remaining(self) -> float:
        """What is left, in seconds, if no further heartbeat gets through."""
        return self.wrapped.remaining

    @property
    def lost(self) -> SyncLost:
        """Set when the session is over without having been closed here. Every lease in it is lost then, too."""
        return SyncLost(self.portal, self.wrapped.lost)

    @property
    def leases(self) -> tuple[SyncLease, ...]:
        """The leases that were acquired in it and not released yet."""
        return tuple(_lease(self.portal, lease) for lease in self.wrapped.leases)


class SyncTruck(Face[Truck]):
    """A cluster, as one namespace of it sees it. `with` connects and disconnects."""

    def __init__(self, portal: Portal, truck: Truck) -> None:
        super().__init__(portal, truck)
        self.sessions = SyncSessions(portal, truck.sessions)
        self.resources = SyncResources(portal, truck.resources)
        self.cleanups = SyncCleanups(portal, truck.cleanups)
        self.namespaces = SyncNamespaces(portal, truck.namespaces)
        self.snapshots = SyncSnapshots(portal, truck.snapshots)

    acquire = blocking_as(Truck.acquire, _lease)
    acquire_many = blocking_as(Truck.acquire_many, _leases_or_errors)
    release_holder = blocking(Truck.release_holder)
    get_lease = blocking_as(Truck.get_lease, _lease)
    list_leases = plain_as(Truck.list_leases, _leases)
    session = entering(Truck.session, SyncSession)
    status = blocking(Truck.status)
    members = blocking(Truck.members)
    add_member = blocking(Truck.add_member)
    remove_member = blocking(Truck.remove_member)
    transfer_leadership = blocking(Truck.transfer_leadership)
    watch = iterating(Truck.watch)

    def __enter__(self) -> Self:
        self.portal.__enter__()
        try:
            self.portal.run(self.wrapped.__aenter__())
        except BaseException as error:
            self.portal.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.portal.run(self.wrapped.__aexit__(kind, error, traceback))
        finally:
            self.portal.__exit__(kind, error, traceback)

    def in_namespace(self, name: str) -> "SyncTruck":
        """The same cluster as another namespace sees it, over the same connection. Not to be entered."""
        return SyncTruck(self.portal, self.wrapped.in_namespace(name))

    # These two have two signatures each, which no wrapper can carry over.

    @overload
    def renew(self, leases: One, *, ttl: float = 0.0, timeout: float | None = None) -> float: ...
    @overload
    def renew(
        self, leases: SyncMany, *, ttl: float = 0.0, timeout: float | None = None
    ) -> list[float | GarbageTruckError]: ...
    def renew(
        self, leases: One | SyncMany, *, ttl: float = 0.0, timeout: float | None = None
    ) -> float | list[float | GarbageTruckError]:
        """As `Truck.renew`."""
        if isinstance(leases, One):
            return self.portal.run(self.wrapped.renew(leases, ttl=ttl, timeout=timeout))
        return self.portal.run(self.wrapped.renew(tuple(leases), ttl=ttl, timeout=timeout))

    @overload
    def release(self, leases: One, *, keep_resource: bool = False, timeout: float | None = None) -> None: ...
    @overload
    def release(
        self, leases: SyncMany, *, keep_resource: bool = False, timeout: float | None = None
    ) -> list[GarbageTruckError | None]: ...
    def release(
        self, leases: One | SyncMany, *, keep_resource: bool = False, timeout: float | None = None
    ) -> list[GarbageTruckError | None] | None:
        """As `Truck.release`."""
        if isinstance(leases, One):
            self.portal.run(self.wrapped.release(leases, keep_resource=keep_resource, timeout=timeout))
            return None
        return self.portal.run(self.wrapped.release(tuple(leases), keep_resource=keep_resource, timeout=timeout))


def connect_sync(
    endpoints: str | Sequence[str],
    *,
    namespace: str = "",
    timeout: float = TIMEOUT_S_DEFAULT,
    prefer_leader: bool = True,
    world: World | None = None,
) -> SyncTruck:
    """As `connect`, for use with `with` and without an event loop."""
    truck = connect(endpoints, namespace=namespace, timeout=timeout, prefer_leader=prefer_leader, world=world)
    return SyncTruck(Portal(), truck)
