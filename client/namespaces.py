"""Reading and setting namespaces.

Duty: the calls of NamespaceService in Python's terms. Unlike all others they take the namespace's name as an argument.
"""

from garbagetruck.client.caller import Caller, Listing, Page, consistency
from garbagetruck.client.fitting import fit
from garbagetruck.client.overview import Brake, CleanupSettings, Limits, Namespace
from garbagetruck.client.translate import namespace_record
from garbagetruck.v1 import namespace_pb2


class Namespaces:
    """The namespaces of the cluster."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, name: str = "", *, stale: bool = False, timeout: float | None = None) -> Namespace:
        """Read one namespace; raises `NamespaceNotFound`. Empty: the one that this truck is in."""
        answer = await self._caller.read(
            lambda stubs: stubs.namespace.Get,
            timeout,
            namespace_pb2.NamespaceServiceGetRequest,
            namespace=name or self._caller.namespace,
            consistency=consistency(stale=stale),
        )
        return namespace_record(answer.message.namespace)

    def list(self, *, page_size: int = 0, stale: bool = False, timeout: float | None = None) -> Listing[Namespace]:
        """Go through all namespaces, by rising name. `timeout` is for each page."""

        async def fetch(size: int, token: str) -> Page[Namespace]:
            answer = await self._caller.read(
                lambda stubs: stubs.namespace.List,
                timeout,
                namespace_pb2.NamespaceServiceListRequest,
                consistency=consistency(stale=stale),
                page_size=size,
                page_token=token,
            )
            return Page(tuple(map(namespace_record, answer.message.namespaces)), answer.message.next_page_token)

        return Listing(fetch, page_size)

    async def set(
        self,
        name: str = "",
        *,
        limits: Limits | None = None,
        cleanup: CleanupSettings | None = None,
        brake: Brake | None = None,
        revision: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Set what is given and leave the rest; make the namespace if it does not exist. Returns its revision.

        `revision`: only if the namespace has this one, else `NamespaceChanged`; 0 = whichever it has. Raises
        `InvalidArgument`.
        """
        answer = await self._caller.mutate(
            lambda stubs: stubs.namespace.Set,
            timeout,
            _set_request,
            name or self._caller.namespace,
            limits,
            cleanup,
            brake,
            revision,
        )
        return answer.message.revision


def _set_request(
    name: str, limits: Limits | None, cleanup: CleanupSettings | None, brake: Brake | None, revision: int
) -> namespace_pb2.NamespaceServiceSetRequest:
    return fit(
        "",
        namespace_pb2.NamespaceServiceSetRequest,
        namespace=name,
        limits=_limits(limits),
        cleanup=_cleanup(cleanup),
        brake=_brake(brake),
        revision=revision,
    )


def _limits(limits: Limits | None) -> namespace_pb2.NamespaceLimits | None:
    if limits is None:
        return None
    return fit(
        "limits",
        namespace_pb2.NamespaceLimits,
        leases_max=limits.leases_max,
        leases_per_holder_max=limits.leases_per_holder_max,
        resources_max=limits.resources_max,
        sessions_max=limits.sessions_max,
    )


def _cleanup(settings: CleanupSettings | None) -> namespace_pb2.CleanupSettings | None:
    if settings is None:
        return None
    return fit(
        "cleanup",
        namespace_pb2.CleanupSettings,
        grace_ms_min=settings.grace_ms_min,
        attempts_max=settings.attempts_max,
        retry_delay_ms_min=settings.retry_delay_ms_min,
        retry_delay_ms_max=settings.retry_delay_ms_max,
    )


def _brake(brake: Brake | None) -> namespace_pb2.Brake | None:
    if brake is None:
        return None
    return fit(
        "brake",
        namespace_pb2.Brake,
        enabled=brake.enabled,
        holders_min=brake.holders_min,
        share=brake.share,
        window_ms=brake.window_ms,
    )
