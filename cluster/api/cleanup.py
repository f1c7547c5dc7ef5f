"""CleanupService: what is being cleaned, what will be, and an operator's say in it."""

from typing_extensions import override

from garbagetruck.cluster.api import errors, pages
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.api.translate import resource as translate
from garbagetruck.cluster.machine.brake_operations import CloseBreaker, SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetSettings
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Resource, ResourceState
from garbagetruck.cluster.machine.operations import DiscardCleanup, PauseCleanups, ResumeCleanups, RetryCleanup
from garbagetruck.cluster.machine.outcomes import Acknowledged, ResourceChanged
from garbagetruck.cluster.machine.questions import Page, ResourceFilter
from garbagetruck.v1 import cleanup_pb2, cleanup_pb2_grpc

LISTED_STATES = frozenset({ResourceState.ORPHANED, ResourceState.DUE, ResourceState.CLAIMED, ResourceState.DEAD_LETTER})


PREVIEW_MS_MAX = 365 * 24 * 3_600_000


class CleanupServicer(cleanup_pb2_grpc.CleanupServiceServicer):
    """Translates; see cleanup.proto for what the methods promise."""

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def ListCleanups(
        self, request: cleanup_pb2.ListCleanupsRequest, context: Context
    ) -> cleanup_pb2.ListCleanupsResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after(request, request.page_token)
        states = translate.states(request.states, LISTED_STATES)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        machine = view.machine

        def page_of(after: int, limit: int) -> Page[Resource]:
            if len(states) > 1:
                return machine.resources(ResourceFilter(namespace), after, limit)
            return machine.cleanups(namespace, next(iter(states), None), after, limit)

        found, after = pages.gather(
            page_of, lambda resource: _is_listed(resource, states, request.handler), after, size
        )
        cleanups, after = pages.fit(
            found,
            lambda resource: translate.cleanup_message(resource, _blocked_by(machine, resource)),
            lambda resource: resource.generation,
            after,
        )
        return cleanup_pb2.ListCleanupsResponse(
            header=door.read_header(view),
            cleanups=cleanups,
            next_page_token=pages.next_page_token(request, after),
        )

    @override
    async def GetCleanup(
        self, request: cleanup_pb2.GetCleanupRequest, context: Context
    ) -> cleanup_pb2.GetCleanupResponse:
        door = self._door
        deadline = door.deadline_of(context)
        door.check_resource(request.resource)
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        resource = view.machine.resource(namespace, request.resource)
        if not isinstance(resource, Resource):
            gone = "" if resource is None else ": it was cleaned"
            raise errors.of_door(
                "RESOURCE_NOT_FOUND",
                f"no resource {request.resource!r} in namespace {namespace!r}{gone}",
                field="resource",
            )
        if resource.cleanup is None or resource.state not in LISTED_STATES:
            why = "has no cleanup" if resource.cleanup is None else f"is {resource.state}"
            raise errors.of_door("CLEANUP_NOT_FOUND", f"resource {resource.name!r} {why}", field="resource")
        return cleanup_pb2.GetCleanupResponse(
            header=door.read_header(view),
            cleanup=translate.cleanup_message(resource, _blocked_by(view.machine, resource)),
        )

    @override
    async def Retry(self, request: cleanup_pb2.RetryRequest, context: Context) -> cleanup_pb2.RetryResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = RetryCleanup(
            door.entered_ms(), header.namespace(request.namespace), request.request_id, "", request.resource
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, ResourceChanged), outcome
        return cleanup_pb2.RetryResponse(header=door.mutation_header(context), revision=outcome.revision)

    @override
    async def Discard(self, request: cleanup_pb2.DiscardRequest, context: Context) -> cleanup_pb2.DiscardResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = DiscardCleanup(
            door.entered_ms(),
            header.namespace(request.namespace),
            request.request_id,
            "",
            request.resource,
            request.reason,
        )
        await door.submit(operation, deadline, repeatable=bool(request.request_id))
        return cleanup_pb2.DiscardResponse(header=door.mutation_header(context))

    @override
    async def Pause(self, request: cleanup_pb2.PauseRequest, context: Context) -> cleanup_pb2.PauseResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = PauseCleanups(door.entered_ms(), _where(request), request.request_id, "", request.reason)
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, Acknowledged), outcome
        return cleanup_pb2.PauseResponse(header=door.mutation_header(context))

    @override
    async def Resume(self, request: cleanup_pb2.ResumeRequest, context: Context) -> cleanup_pb2.ResumeResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = ResumeCleanups(
            door.entered_ms(), _where(request), request.request_id, "", request.reason, request.release_brake
        )
        outcome = await door.submit(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, Acknowledged), outcome
        return cleanup_pb2.ResumeResponse(header=door.mutation_header(context))

    @override
    async def CloseBreaker(
        self, request: cleanup_pb2.CloseBreakerRequest, context: Context
    ) -> cleanup_pb2.CloseBreakerResponse:
        door = self._door
        deadline = door.deadline_of(context)
        operation = CloseBreaker(door.entered_ms(), request.request_id, "", request.handler, request.reason)
        await door.submit_new_namespace(operation, deadline, repeatable=bool(request.request_id))
        return cleanup_pb2.CloseBreakerResponse(header=door.mutation_header(context))

    @override
    async def SetFleetBrake(
        self, request: cleanup_pb2.SetFleetBrakeRequest, context: Context
    ) -> cleanup_pb2.SetFleetBrakeResponse:
        door = self._door
        deadline = door.deadline_of(context)
        settings = {field.name: value for field, value in request.ListFields() if field.name != "request_id"}
        if not settings:
            raise errors.invalid("holders_min", "nothing is given; set at least one of enabled, holders_min, share")
        operation = SetFleetBrake(door.entered_ms(), request.request_id, "", FleetSettings(**settings), tuple(settings))
        outcome = await door.submit_new_namespace(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, Acknowledged), outcome
        return cleanup_pb2.SetFleetBrakeResponse(header=door.mutation_header(context), revision=outcome.revision)

    @override
    async def Preview(self, request: cleanup_pb2.PreviewRequest, context: Context) -> cleanup_pb2.PreviewResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after(request, request.page_token)
        if not 0 <= request.within_ms <= PREVIEW_MS_MAX:
            raise errors.invalid("within_ms", f"is {request.within_ms}; it must be from 0 to {PREVIEW_MS_MAX}, a year")
        namespace = header.namespace(request.namespace)
        await door.require_namespace(namespace, deadline)
        view = await door.read(header.consistency(request.consistency), deadline)
        machine, until_ms = view.machine, view.clock_ms + request.within_ms

        def is_coming(resource: Resource) -> bool:
            waits = resource.state in (ResourceState.ORPHANED, ResourceState.DUE)
            return waits and resource.cleanup is not None and resource.due_ms <= until_ms

        found, after = pages.gather(
            lambda after, limit: machine.resources(ResourceFilter(namespace), after, limit), is_coming, after, size
        )
        cleanups, after = pages.fit(
            found,
            lambda resource: translate.cleanup_message(resource, _withheld_by(machine, resource)),
            lambda resource: resource.generation,
            after,
        )
        return cleanup_pb2.PreviewResponse(
            header=door.read_header(view),
            cleanups=cleanups,
            next_page_token=pages.next_page_token(request, after),
        )


def _where(request: cleanup_pb2.PauseRequest | cleanup_pb2.ResumeRequest) -> str:
    """The namespace that is meant, as operations name it: empty for the whole cluster."""
    if not request.all_namespaces:
        return header.namespace(request.namespace)
    if request.namespace:
        raise errors.invalid("namespace", "is given together with all_namespaces; give one of the two")
    return ""


def _withheld_by(machine: Machine, resource: Resource) -> str:
    """What would keep a cleanup from being claimed once it is due."""
    return next((each.kind for each in machine.withheld(resource)), "")


def _is_listed(resource: Resource, states: frozenset[ResourceState], handler: str) -> bool:
    if resource.cleanup is None or (states and resource.state not in states):
        return False
    return not handler or resource.cleanup.handler == handler


def _blocked_by(machine: Machine, resource: Resource) -> str:
    """What keeps a due cleanup from being claimed, as far as the replicated state tells."""
    if resource.state is not ResourceState.DUE:
        return ""
    if resource.holds:
        return "hold"
    namespace = machine.namespace(resource.namespace)
    if machine.cleanups_paused or (namespace is not None and namespace.paused):
        return "paused"
    if machine.quarantine_left_ms is not None:
        return "restored"
    if namespace is not None and (namespace.brake_engaged or namespace.cleanups_not_before_ms > machine.clock_ms):
        return "brake"
    if namespace is not None and machine.fleet_holds(namespace):
        return "fleet_brake"
    if resource.cleanup is not None and machine.breaker(resource.cleanup.handler) is not None:
        return "breaker"
    return ""
