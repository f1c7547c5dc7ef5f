"""Reading and explaining resources, forbidding their cleanup, and taking them off the books.

Duty: the calls of ResourceService in Python's terms.
"""

from collections.abc import Collection, Mapping

from garbagetruck.client.caller import Caller, Listing, Page, consistency
from garbagetruck.client.records import NOTHING, Resource, ResourceState
from garbagetruck.client.story import Story, story_of
from garbagetruck.client.translate import resource_record, resource_state_value
from garbagetruck.v1 import resource_pb2


class Resources:
    """The resources of one namespace."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, resource: str, *, stale: bool = False, timeout: float | None = None) -> Resource:
        """Read one resource with its leases and holds; raises `ResourceNotFound`."""
        answer = await self._caller.read(
            lambda stubs: stubs.resource.GetResource,
            timeout,
            resource_pb2.GetResourceRequest,
            namespace=self._caller.namespace,
            consistency=consistency(stale=stale),
            resource=resource,
        )
        return resource_record(answer.message.resource)

    def list(
        self,
        *,
        states: Collection[ResourceState] = (),
        name_prefix: str = "",
        labels: Mapping[str, str] = NOTHING,
        page_size: int = 0,
        stale: bool = False,
        timeout: float | None = None,
    ) -> Listing[Resource]:
        """Go through the resources that match every filter given, the oldest first. `timeout` is for each page."""

        async def fetch(size: int, token: str) -> Page[Resource]:
            answer = await self._caller.read(
                lambda stubs: stubs.resource.ListResources,
                timeout,
                resource_pb2.ListResourcesRequest,
                namespace=self._caller.namespace,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
                states=map(resource_state_value, states),
                name_prefix=name_prefix,
                labels=labels,
            )
            return Page(tuple(map(resource_record, answer.message.resources)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    async def hold(self, resource: str, *, reason: str, hold_id: str = "", timeout: float | None = None) -> str:
        """Forbid the cleanup of a resource until `unhold`; returns the hold's id, made by the cluster when none is
        given.

        Raises `ResourceNotFound`, `ResourceBeingCleaned`, `HoldConflict`, `QuotaExceeded`.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.resource.Hold,
            timeout,
            resource_pb2.HoldRequest,
            namespace=self._caller.namespace,
            resource=resource,
            hold_id=hold_id,
            reason=reason,
        )
        return answer.message.hold_id

    async def unhold(self, resource: str, hold_id: str, *, timeout: float | None = None) -> None:
        """Take a hold away; raises `ResourceNotFound`, `HoldNotFound`."""
        await self._caller.mutate(
            lambda stubs: stubs.resource.Unhold,
            timeout,
            resource_pb2.UnholdRequest,
            namespace=self._caller.namespace,
            resource=resource,
            hold_id=hold_id,
        )

    async def forget(
        self,
        resource: str,
        *,
        reason: str,
        generation: int = 0,
        force: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Take a resource off the books: nobody will clean it. `force` ends its leases; without it a leased one is refused.

        `generation`: only that life of it; 0 = whichever is present. Raises `ResourceNotFound`, `ResourceInUse`,
        `ResourceBeingCleaned`, `HoldConflict`.
        """
        await self._caller.mutate(
            lambda stubs: stubs.resource.Forget,
            timeout,
            resource_pb2.ForgetRequest,
            namespace=self._caller.namespace,
            resource=resource,
            generation=generation,
            reason=reason,
            force=force,
        )

    async def explain(self, resource: str, *, stale: bool = False, timeout: float | None = None) -> Story:
        """Tell why a resource was, was not, or will be cleaned; raises `ResourceNotFound` when nothing is known of it."""
        answer = await self._caller.read(
            lambda stubs: stubs.resource.Explain,
            timeout,
            resource_pb2.ExplainRequest,
            namespace=self._caller.namespace,
            consistency=consistency(stale=stale),
            resource=resource,
        )
        return story_of(answer.message)
