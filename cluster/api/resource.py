"""ResourceService: read and explain, hold, unhold and forget."""

import xxhash
from typing_extensions import override

from garbagetruck.cluster.api import errors, pages
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.gateway import ReadView
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.api.translate import lease as translate_lease
from garbagetruck.cluster.api.translate import resource as translate
from garbagetruck.cluster.api.translate.story import story_message
from garbagetruck.cluster.machine.model import TOKEN_LIMIT, Resource, ResourceState
from garbagetruck.cluster.machine.operations import ForgetResource, PlaceHold, RemoveHold
from garbagetruck.cluster.machine.outcomes import ResourceChanged
from garbagetruck.cluster.machine.questions import ResourceFilter
from garbagetruck.v1 import lease_pb2, resource_pb2, resource_pb2_grpc

LISTED_STATES = frozenset(ResourceState) - {ResourceState.CLEANED}
"""What ListResources can filter by: the cleaned are remembered one by one, not listed."""


class ResourceServicer(resource_pb2_grpc.ResourceServiceServicer):
    """Translates; see resource.proto for what the methods promise."""

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def GetResource(
        self, request: resource_pb2.GetResourceRequest, context: Context
    ) -> resource_pb2.GetResourceResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_resource(request.resource)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        resource = view.machine.resource(namespace, request.resource)
        if resource is None:
            raise errors.of_door(
                "RESOURCE_NOT_FOUND", f"no resource {request.resource!r} in namespace {namespace!r}", field="resource"
            )
        leases = _leases_of(resource, view) if isinstance(resource, Resource) else []
        return resource_pb2.GetResourceResponse(
            header=door.read_header(view), resource=translate.resource_message(resource, leases)
        )

    @override
    async def ListResources(
        self, request: resource_pb2.ListResourcesRequest, context: Context
    ) -> resource_pb2.ListResourcesResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after(request, request.page_token)
        states = translate.states(request.states, LISTED_STATES)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        wanted = ResourceFilter(
            namespace,
            next(iter(states)) if len(states) == 1 else None,
            request.name_prefix,
            header.labels(request.labels),
        )
        found, after = pages.gather(
            lambda after, limit: view.machine.resources(wanted, after, limit),
            lambda resource: not states or resource.state in states,
            after,
            size,
        )
        resources, after = pages.fit(found, translate.resource_message, lambda resource: resource.generation, after)
        return resource_pb2.ListResourcesResponse(
            header=door.read_header(view),
            resources=resources,
            next_page_token=pages.next_page_token(request, after),
        )

    @override
    async def Hold(self, request: resource_pb2.HoldRequest, context: Context) -> resource_pb2.HoldResponse:
        door = self._door
        deadline = door.deadline_of(context)
        hold_id = request.hold_id or self._hold_id(request)
        operation = PlaceHold(
            door.entered_ms(),
            header.namespace(request.namespace),
            request.request_id,
            "",
            request.resource,
            hold_id,
            request.reason,
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, ResourceChanged), outcome
        return resource_pb2.HoldResponse(
            header=door.mutation_header(context), hold_id=hold_id, revision=outcome.revision
        )

    @override
    async def Unhold(self, request: resource_pb2.UnholdRequest, context: Context) -> resource_pb2.UnholdResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = RemoveHold(
            door.entered_ms(),
            header.namespace(request.namespace),
            request.request_id,
            "",
            request.resource,
            request.hold_id,
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, ResourceChanged), outcome
        return resource_pb2.UnholdResponse(header=door.mutation_header(context), revision=outcome.revision)

    @override
    async def Forget(self, request: resource_pb2.ForgetRequest, context: Context) -> resource_pb2.ForgetResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = ForgetResource(
            door.entered_ms(),
            header.namespace(request.namespace),
            request.request_id,
            "",
            request.resource,
            request.generation,
            request.reason,
            request.force,
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, ResourceChanged), outcome
        return resource_pb2.ForgetResponse(header=door.mutation_header(context))

    @override
    async def Explain(self, request: resource_pb2.ExplainRequest, context: Context) -> resource_pb2.ExplainResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_resource(request.resource)
        if not 0 <= request.generation <= TOKEN_LIMIT:
            raise errors.invalid("generation", f"is {request.generation}; it must be from 0 to {TOKEN_LIMIT}")
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        told = view.machine.story(namespace, request.resource, view.clock_ms)
        if told is None:
            what = f"nothing is known of a resource {request.resource!r} in namespace {namespace!r}"
            raise errors.of_door("RESOURCE_NOT_FOUND", f"{what}: it never existed, or is long gone", field="resource")
        if told.life is not None and request.generation not in (0, told.life.generation):
            raise errors.of_door(
                "RESOURCE_NOT_FOUND",
                f"resource {request.resource!r} is in generation {told.life.generation}; earlier ones are not remembered",
                field="generation",
            )
        return story_message(told, door.read_header(view), view.clock_ms)

    def _hold_id(self, request: resource_pb2.HoldRequest) -> str:
        """An id for a hold that brings none: the same for a repeated request, so that it stays one operation (I6)."""
        if not request.request_id:
            return self._door.draw_id()
        return f"hold-{xxhash.xxh3_128_hexdigest(request.request_id.encode())}"


def _leases_of(resource: Resource, view: ReadView) -> list[lease_pb2.Lease]:
    """The leases of a resource, by rising token (the order in which they were acquired), as many as fit an answer."""
    views = (view.machine.lease(lease_id, view.clock_ms) for lease_id in resource.leases)
    known = (lease for lease in views if lease is not None)
    messages, _ = pages.fit(known, translate_lease.lease_message, lambda lease: lease.fencing_token, 0)
    return messages
