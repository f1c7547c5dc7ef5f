"""NamespaceService: list, get, set."""

from typing_extensions import override

from garbagetruck.cluster.api import errors, pages
from garbagetruck.cluster.api.door import Context, Door
from garbagetruck.cluster.api.gateway import ReadView
from garbagetruck.cluster.api.translate import header
from garbagetruck.cluster.api.translate import namespace as translate
from garbagetruck.cluster.machine.model import Namespace
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.v1 import namespace_pb2, namespace_pb2_grpc


class NamespaceServicer(namespace_pb2_grpc.NamespaceServiceServicer):
    """Translates; see namespace.proto for what the methods promise."""

    def __init__(self, door: Door) -> None:
        self._door = door

    @override
    async def List(
        self, request: namespace_pb2.NamespaceServiceListRequest, context: Context
    ) -> namespace_pb2.NamespaceServiceListResponse:
        door = self._door
        deadline = door.deadline_of(context)
        size = pages.page_size(request.page_size)
        after = pages.page_after_name(request, request.page_token)
        view = await door.read(header.consistency(request.consistency), deadline)
        rest = [namespace for namespace in view.machine.namespaces() if namespace.name > after]
        shown = rest[:size]
        return namespace_pb2.NamespaceServiceListResponse(
            header=door.read_header(view),
            namespaces=[_message(namespace, view) for namespace in shown],
            next_page_token=pages.next_page_token(request, shown[-1].name) if len(rest) > size else "",
        )

    @override
    async def Get(
        self, request: namespace_pb2.NamespaceServiceGetRequest, context: Context
    ) -> namespace_pb2.NamespaceServiceGetResponse:
        door = self._door
        deadline = door.deadline_of(context)
        name = header.namespace(request.namespace)
        view = await door.read(header.consistency(request.consistency), deadline)
        namespace = view.machine.namespace(name)
        if namespace is None:
            raise errors.of_door("NAMESPACE_NOT_FOUND", f"no namespace {name!r}", field="namespace", namespace=name)
        return namespace_pb2.NamespaceServiceGetResponse(
            header=door.read_header(view), namespace=_message(namespace, view)
        )

    @override
    async def Set(
        self, request: namespace_pb2.NamespaceServiceSetRequest, context: Context
    ) -> namespace_pb2.NamespaceServiceSetResponse:
        door = self._door
        deadline = door.deadline_of(context)
        if request.revision < 0:
            raise errors.invalid("revision", "is negative; it must be 0 (any) or the namespace's revision")
        name = header.namespace(request.namespace)
        operation = translate.set_operation(request, name, door.entered_ms())
        outcome = await door.submit_new_namespace(operation, deadline, repeatable=bool(request.request_id))
        assert isinstance(outcome, Acknowledged), outcome
        return namespace_pb2.NamespaceServiceSetResponse(
            header=door.mutation_header(context), revision=outcome.revision
        )


def _message(namespace: Namespace, view: ReadView) -> namespace_pb2.Namespace:
    machine = view.machine
    return translate.namespace_message(
        namespace,
        machine.usage(namespace.name),
        cluster_paused=machine.cleanups_paused,
        cluster_pause_reason=machine.cleanups_pause_reason,
    )
