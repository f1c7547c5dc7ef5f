"""The gRPC server of one node: services, health, reflection, and a clean end.

Health follows readiness: a service is SERVING while the node could answer it. Reflection lists what clients may call.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from garbagetruck.cluster.api.calls import CallInterceptor
from garbagetruck.cluster.api.cleanup import CleanupServicer
from garbagetruck.cluster.api.cluster import ClusterServicer
from garbagetruck.cluster.api.door import Door
from garbagetruck.cluster.api.event import EventServicer
from garbagetruck.cluster.api.lease import LeaseServicer
from garbagetruck.cluster.api.namespace import NamespaceServicer
from garbagetruck.cluster.api.ports import MemberDoor, PeerStatus
from garbagetruck.cluster.api.resource import ResourceServicer
from garbagetruck.cluster.api.session import SessionServicer
from garbagetruck.cluster.api.snapshots import SnapshotDesk
from garbagetruck.v1 import (
    cleanup_pb2,
    cleanup_pb2_grpc,
    cluster_pb2,
    cluster_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    lease_pb2,
    lease_pb2_grpc,
    namespace_pb2,
    namespace_pb2_grpc,
    resource_pb2,
    resource_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)

FAREWELL_S = 0.1
"""What those who watch this node's health get to hear that it is leaving, before their streams are cut."""


class Service(NamedTuple):
    """A service, and how to put it on a server."""

    name: str
    """In full, as on the wire."""
    register: Callable[[aio.Server], None]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds of one node's server."""

    message_bytes_max: int = 4 * 1024 * 1024
    """Longer requests are RESOURCE_EXHAUSTED, by grpc itself."""
    connection_streams_max: int = 10_000
    """Calls at a time on one connection; HTTP/2 makes the client wait for more."""
    keepalive_ms: int = 20_000
    """How long a silent connection is believed before it is pinged."""
    keepalive_timeout_ms: int = 10_000
    ping_interval_ms_min: int = 5_000
    """Clients that ping more often are disconnected."""
    readiness_interval_ms: int = 200
    """How soon health follows readiness."""


def public_services(door: Door, peers: PeerStatus, members: MemberDoor, snapshots: SnapshotDesk) -> tuple[Service, ...]:
    """All services of the public API over one door."""
    lease, session, resource = LeaseServicer(door), SessionServicer(door), ResourceServicer(door)
    cleanup, cluster = CleanupServicer(door), ClusterServicer(door, peers, members, snapshots)
    namespace, event = NamespaceServicer(door), EventServicer(door)
    return (
        Service(
            lease_pb2.DESCRIPTOR.services_by_name["LeaseService"].full_name,
            lambda server: lease_pb2_grpc.add_LeaseServiceServicer_to_server(lease, server),
        ),
        Service(
            session_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
            lambda server: session_pb2_grpc.add_SessionServiceServicer_to_server(session, server),
        ),
        Service(
            resource_pb2.DESCRIPTOR.services_by_name["ResourceService"].full_name,
            lambda server: resource_pb2_grpc.add_ResourceServiceServicer_to_server(resource, server),
        ),
        Service(
            cleanup_pb2.DESCRIPTOR.services_by_name["CleanupService"].full_name,
            lambda server: cleanup_pb2_grpc.add_CleanupServiceServicer_to_server(cleanup, server),
        ),
        Service(
            cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name,
            lambda server: cluster_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, server),
        ),
        Service(
            namespace_pb2.DESCRIPTOR.services_by_name["NamespaceService"].full_name,
            lambda server: namespace_pb2_grpc.add_NamespaceServiceServicer_to_server(namespace, server),
        ),
        Service(
            event_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
            lambda server: event_pb2_grpc.add_EventServiceServicer_to_server(event, server),
        ),
    )


class ApiServer:
    """One node's server. `start` once, then `drain`, then `stop`; both of the latter may be repeated.

    Whoever starts it also runs `follow_readiness` as a task, for as long as it serves.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[Service],
        calls: CallInterceptor,
        is_ready: Callable[[], bool],
        options: ServerOptions,
    ) -> None:
        """`address`: "host:port"; port 0 takes a free one. `is_ready`: whether this node can answer clients now."""
        self._address = address
        self._services = services
        self._calls = calls
        self._is_ready = is_ready
        self._options = options
        self._health = health_aio.HealthServicer()
        self._server: aio.Server | None = None
        self._serving: bool | None = None

    async def start(self) -> int:
        """Listen. Returns the port. Raises `OSError` when the address cannot be had."""
        options = self._options
        server = aio.server(
            interceptors=(self._calls,),
            options=(
                ("grpc.max_receive_message_length", options.message_bytes_max),
                ("grpc.max_concurrent_streams", options.connection_streams_max),
                ("grpc.so_reuseport", 0),  # two nodes on one port would each get some of the calls
                ("grpc.keepalive_time_ms", options.keepalive_ms),
                ("grpc.keepalive_timeout_ms", options.keepalive_timeout_ms),
                ("grpc.http2.min_ping_interval_without_data_ms", options.ping_interval_ms_min),
            ),
        )
        for service in self._services:
            service.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = tuple(service.name for service in self._services)
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*names, health_name, reflection.SERVICE_NAME), server)
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        await self._tell_health()
        await server.start()
        self._server = server
        return port

    async def follow_readiness(self) -> None:
        """Keep health in step with readiness. Never returns; cancel it."""
        while True:
            await asyncio.sleep(self._options.readiness_interval_ms / 1_000)
            await self._tell_health()

    async def drain(self) -> None:
        """Tell everybody that this node leaves: health NOT_SERVING, streams ended, new calls turned away."""
        await self._health.enter_graceful_shutdown()
        self._calls.drain()

    async def leave(self, grace_s: float) -> None:
        """Drain, give calls that are running `grace_s` seconds to end, and turn others away until the process ends.

        A server that is closed tells CANCELLED to a call that arrives at that moment, which nobody may repeat. The end of
        its process tells UNAVAILABLE.
        """
        await self.drain()
        try:
            async with asyncio.timeout(grace_s):
                await self._calls.wait_idle()
        except TimeoutError:
            pass  # what still runs is cut off now; its clients repeat it elsewhere

    async def stop(self, grace_s: float) -> None:
        """`leave`, and close: for a process that goes on."""
        if self._server is None:
            return
        await self.leave(grace_s)
        server, self._server = self._server, None
        await server.stop(grace=FAREWELL_S)

    async def _tell_health(self) -> None:
        serving = self._is_ready()
        if serving is self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *(service.name for service in self._services)):
            await self._health.set(name, status)
