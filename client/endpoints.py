"""The nodes that a client knows, and which of them it asks at present.

Duty: one channel for each node; move on to the next node when one fails.
Invariant: there is always exactly one current endpoint while open. All calls of a connection share it: what one call
learns about a node that is gone, no other has to learn again.
It must not know: what is called, or how failures are told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio

from garbagetruck.client.world import NANOSECONDS_PER_SECOND, World
from garbagetruck.v1 import (
    cleanup_pb2_grpc,
    cluster_pb2_grpc,
    event_pb2_grpc,
    lease_pb2_grpc,
    namespace_pb2_grpc,
    resource_pb2_grpc,
    session_pb2_grpc,
)

ENDPOINTS_MAX = 32
"""How many endpoints are known at once, learned ones included; leaders beyond that are not learned."""

AVOID_NS = 10 * NANOSECONDS_PER_SECOND
"""For how long a node that failed is not preferred, whoever names it the leader: it may be out of *our* reach."""

PORT_MAX = 65_535

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A page of 1,000 leases with all their labels is larger than gRPC's default of 4 MiB."""

CHANNEL_OPTIONS = (
    # Repeating is decided here, with request ids, and nowhere else.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A node that comes back should be found within a second; gRPC's defaults go up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Two connections of one process shall not fail together because they share a socket.
    ("grpc.use_local_subchannel_pool", 1),
)


class Stubs:
    """The services of one node."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.lease = lease_pb2_grpc.LeaseServiceStub(channel)
        self.session = session_pb2_grpc.SessionServiceStub(channel)
        self.resource = resource_pb2_grpc.ResourceServiceStub(channel)
        self.cleanup = cleanup_pb2_grpc.CleanupServiceStub(channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(channel)
        self.namespace = namespace_pb2_grpc.NamespaceServiceStub(channel)
        self.event = event_pb2_grpc.EventServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node, as this client reaches it."""

    address: str
    channel: grpc.aio.Channel
    stubs: Stubs


def addresses_of(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """Read `"host:port,host:port"` or a sequence of such; a `ValueError` says what is wrong."""
    parts = endpoints.split(",") if isinstance(endpoints, str) else endpoints
    addresses = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not addresses:
        message = "no endpoint given; expected host:port, or several separated by commas"
        raise ValueError(message)
    if len(addresses) > ENDPOINTS_MAX:
        message = f"{len(addresses)} endpoints given; at most {ENDPOINTS_MAX} are allowed"
        raise ValueError(message)
    for address in addresses:
        host, separator, port = address.rpartition(":")
        if not (
            host and "/" not in host and separator and port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX
        ):
            message = f"bad endpoint {address!r}; expected host:port with a port from 1 to {PORT_MAX}"
            raise ValueError(message)
    return addresses


class Endpoints:
    """The known nodes. Belongs to the loop on which it was opened."""

    def __init__(self, addresses: Sequence[str], world: World) -> None:
        self._addresses = tuple(addresses)
        self._world = world
        self._endpoints: list[Endpoint] = []
        self._failed_ns: dict[str, int] = {}
        self._current = 0

    def open(self) -> None:
        """Make the channels; connecting happens with the first call."""
        assert not self._endpoints, "opened twice"
        for address in self._addresses:
            self._add(address)
        # Clients spread over the nodes by starting anywhere.
        self._current = self._world.random.randrange(len(self._endpoints))

    async def close(self) -> None:
        """Close every channel; calls that are under way are cancelled."""
        endpoints, self._endpoints = self._endpoints, []
        for endpoint in endpoints:
            await endpoint.channel.close()

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def current(self) -> Endpoint:
        """The node to ask next."""
        if not self._endpoints:
            message = "not connected; use `async with garbagetruck.connect(...)`"
            raise RuntimeError(message)
        return self._endpoints[self._current]

    def failed(self, endpoint: Endpoint) -> None:
        """Move on, unless another call did so already."""
        self._failed_ns[endpoint.address] = self._world.boottime_ns()
        if self._endpoints and self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    def prefer(self, address: str, *, learn: bool) -> None:
        """Ask this node next; if it is new, `learn` it or leave it. One that is none, or failed lately, is ignored."""
        failed_ns = self._failed_ns.get(address)
        if failed_ns is not None and self._world.boottime_ns() - failed_ns < AVOID_NS:
            return
        for position, endpoint in enumerate(self._endpoints):
            if endpoint.address == address:
                self._current = position
                return
        if not learn or not self._endpoints or len(self._endpoints) >= ENDPOINTS_MAX:
            return
        try:
            addresses_of(address)
        except ValueError:
            return
        self._add(address)
        self._current = len(self._endpoints) - 1

    def _add(self, address: str) -> None:
        channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._endpoints.append(Endpoint(address, channel, Stubs(channel)))
