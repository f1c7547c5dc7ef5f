"""Showing and steering cleanups.

Duty: the calls of CleanupService in Python's terms.
"""

from collections.abc import Collection

from garbagetruck.client.caller import Caller, Listing, Page, consistency
from garbagetruck.client.records import PendingCleanup, ResourceState
from garbagetruck.client.translate import milliseconds, pending_cleanup, resource_state_value
from garbagetruck.v1 import cleanup_pb2


class Cleanups:
    """The cleanups of one namespace, each keyed by the name of its resource."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, resource: str, *, stale: bool = False, timeout: float | None = None) -> PendingCleanup:
        """Read the cleanup of one orphan; raises `ResourceNotFound`, and `CleanupNotFound` when it has none or has
        holders.
        """
        answer = await self._caller.read(
            lambda stubs: stubs.cleanup.GetCleanup,
            timeout,
            cleanup_pb2.GetCleanupRequest,
            namespace=self._caller.namespace,
            consistency=consistency(stale=stale),
            resource=resource,
        )
        return pending_cleanup(answer.message.cleanup)

    def list(
        self,
        *,
        states: Collection[ResourceState] = (),
        handler: str = "",
        page_size: int = 0,
        stale: bool = False,
        timeout: float | None = None,
    ) -> Listing[PendingCleanup]:
        """Go through the cleanups, the oldest resource first.

        `states`: any of ORPHANED, DUE, CLAIMED, DEAD_LETTER; empty means all but ORPHANED. `timeout` is for each page.
        """

        async def fetch(size: int, token: str) -> Page[PendingCleanup]:
            answer = await self._caller.read(
                lambda stubs: stubs.cleanup.ListCleanups,
                timeout,
                cleanup_pb2.ListCleanupsRequest,
                namespace=self._caller.namespace,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
                states=map(resource_state_value, states),
                handler=handler,
            )
            return Page(tuple(map(pending_cleanup, answer.message.cleanups)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    def preview(
        self, *, within: float, page_size: int = 0, stale: bool = False, timeout: float | None = None
    ) -> Listing[PendingCleanup]:
        """Go through what would be cleaned within so many seconds if nothing changed, the oldest resource first.

        `blocked_by` tells what would hold each back. `timeout` is for each page.
        """

        async def fetch(size: int, token: str) -> Page[PendingCleanup]:
            answer = await self._caller.read(
                lambda stubs: stubs.cleanup.Preview,
                timeout,
                cleanup_pb2.PreviewRequest,
                namespace=self._caller.namespace,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
                within_ms=milliseconds(within, "within_ms"),
            )
            return Page(tuple(map(pending_cleanup, answer.message.cleanups)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    async def retry(self, resource: str, *, timeout: float | None = None) -> None:
        """Make a dead letter due again, with all its attempts before it; raises `ResourceNotFound`, `NotDeadLetter`."""
        await self._caller.mutate(
            lambda stubs: stubs.cleanup.Retry,
            timeout,
            cleanup_pb2.RetryRequest,
            namespace=self._caller.namespace,
            resource=resource,
        )

    async def discard(self, resource: str, *, reason: str = "", timeout: float | None = None) -> None:
        """Give a dead letter up and take its resource off the books; raises `ResourceNotFound`, `NotDeadLetter`."""
        await self._caller.mutate(
            lambda stubs: stubs.cleanup.Discard,
            timeout,
            cleanup_pb2.DiscardRequest,
            namespace=self._caller.namespace,
            resource=resource,
            reason=reason,
        )

    async def pause(self, *, all_namespaces: bool = False, reason: str = "", timeout: float | None = None) -> None:
        """Let no new claim be made, in this namespace or in the whole cluster. Claims that are running go on."""
        await self._caller.mutate(
            lambda stubs: stubs.cleanup.Pause,
            timeout,
            cleanup_pb2.PauseRequest,
            namespace="" if all_namespaces else self._caller.namespace,
            all_namespaces=all_namespaces,
            reason=reason,
        )

    async def resume(
        self,
        *,
        all_namespaces: bool = False,
        release_brake: bool = False,
        reason: str = "",
        timeout: float | None = None,
    ) -> None:
        """Let claims be made again; raises `NotPaused`.

        `release_brake` approves, in addition, the deletion of what mass expiry left behind: it releases this namespace's
        brake, or with `all_namespaces` that of the fleet.
        """
        await self._caller.mutate(
            lambda stubs: stubs.cleanup.Resume,
            timeout,
            cleanup_pb2.ResumeRequest,
            namespace="" if all_namespaces else self._caller.namespace,
            all_namespaces=all_namespaces,
            release_brake=release_brake,
            reason=reason,
        )

    async def close_breaker(self, handler: str, *, reason: str = "", timeout: float | None = None) -> None:
        """Have a handler's cleanups go on in the whole cluster, whatever its breaker has seen; raises `NotPaused`."""
        await self._caller.mutate(
            lambda stubs: stubs.cleanup.CloseBreaker,
            timeout,
            cleanup_pb2.CloseBreakerRequest,
            handler=handler,
            reason=reason,
        )

    async def set_fleet_brake(
        self,
        *,
        enabled: bool | None = None,
        holders_min: int | None = None,
        share: float | None = None,
        timeout: float | None = None,
    ) -> int:
        """Set what is given of the brake of the whole fleet, and leave the rest. Returns its revision."""
        answer = await self._caller.mutate(
            lambda stubs: stubs.cleanup.SetFleetBrake,
            timeout,
            cleanup_pb2.SetFleetBrakeRequest,
            enabled=enabled,
            holders_min=holders_min,
            share=share,
        )
        return answer.message.revision
