"""The cluster under measurement, as the load reaches it.

Calls are made through the generated gRPC stubs, not through `garbagetruck.client`: what is measured is the service, and
the client's repeating would hide failures as latencies. Everything that the wire costs a Python client is still in it.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc.aio

from garbagetruck.cli.bench.processor import processor_s
from garbagetruck.cli.bench.throwaway import Throwaway
from garbagetruck.client.endpoints import CHANNEL_OPTIONS, Stubs
from garbagetruck.v1 import cleanup_spec_pb2, cluster_pb2, lease_pb2, namespace_pb2, session_pb2

NAMESPACE = "bench"
SETUP_TIMEOUT_S = 30.0
BATCH_ITEMS_MAX = 1_000
LEASE_TTL_MS = 3_600_000
"""Long enough that nothing ends by itself while it is measured."""


class SubjectError(Exception):
    """The cluster cannot be measured as asked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A cluster and what a scenario needs to know of it."""

    nodes: Mapping[str, Stubs]
    """By node id, those that were given as endpoints."""
    leader_id: str
    holder: str
    """Of everything that is made: nobody else's."""
    throwaway: Throwaway | None
    """None for a cluster that somebody else needs."""

    @property
    def leader(self) -> Stubs:
        return self.nodes[self.leader_id]

    @property
    def follower(self) -> Stubs:
        """One and the same follower each time. Raises `SubjectError`."""
        for node_id, stubs in sorted(self.nodes.items()):
            if node_id != self.leader_id:
                return stubs
        raise SubjectError("no endpoint of a follower was given")

    def processor_s(self) -> float | None:
        """Processor time of all nodes so far; None when they are not ours to look at."""
        if self.throwaway is None:
            return None
        return processor_s(node.pid for node in self.throwaway.nodes.values())

    def acquire_request(self, number: int) -> lease_pb2.AcquireRequest:
        """A lease on a new resource. On a throw-away cluster it has a cleanup, as services' resources have."""
        name = f"{self.holder}/{number}"
        return lease_pb2.AcquireRequest(
            namespace=NAMESPACE,
            request_id=name,
            resource=name,
            holder=self.holder,
            ttl_ms=LEASE_TTL_MS,
            cleanup=self._cleanup(name),
        )

    async def leader_now(self) -> str:
        """Who leads at this moment; empty when nobody is known to."""
        answer = await self.leader.cluster.GetStatus(cluster_pb2.GetStatusRequest(), timeout=SETUP_TIMEOUT_S)
        return answer.status.leader_id

    async def make_namespace(self, name: str) -> None:
        """With every setting at its default."""
        await self.leader.namespace.Set(
            namespace_pb2.NamespaceServiceSetRequest(namespace=name, request_id=secrets.token_hex(16)),
            timeout=SETUP_TIMEOUT_S,
        )

    async def open_session(self) -> str:
        """Answers its id."""
        request = session_pb2.OpenSessionRequest(
            namespace=NAMESPACE, request_id=secrets.token_hex(16), holder=self.holder, ttl_ms=LEASE_TTL_MS
        )
        return (await self.leader.session.OpenSession(request, timeout=SETUP_TIMEOUT_S)).session.id

    async def close_session(self, session_id: str) -> None:
        """Its leases end with it."""
        request = session_pb2.CloseSessionRequest(
            namespace=NAMESPACE, request_id=secrets.token_hex(16), session_id=session_id
        )
        await self.leader.session.CloseSession(request, timeout=SETUP_TIMEOUT_S)

    async def acquire_many(
        self,
        count: int,
        *,
        namespace: str = NAMESPACE,
        holder_of: Callable[[int], str] | None = None,
        sessions: Sequence[str] = (),
        group: str = "",
    ) -> list[str]:
        """Take leases on new resources, quickly; `sessions` take turns in keeping them. Answers the leases' ids.

        Resources, and the files that their cleanups name, are `HOLDER/GROUP/0` and so on; without a group it is drawn.
        """
        group = group or secrets.token_hex(4)
        ids: list[str] = []
        for first in range(0, count, BATCH_ITEMS_MAX):
            items = []
            for number in range(first, min(count, first + BATCH_ITEMS_MAX)):
                name = f"{self.holder}/{group}/{number}"
                items.append(
                    lease_pb2.AcquireItem(
                        resource=name,
                        holder=holder_of(number) if holder_of else self.holder,
                        session_id=sessions[number % len(sessions)] if sessions else "",
                        ttl_ms=0 if sessions else LEASE_TTL_MS,
                        cleanup=self._cleanup(name),
                    )
                )
            request = lease_pb2.BatchAcquireRequest(namespace=namespace, request_id=secrets.token_hex(16), items=items)
            answer = await self.leader.lease.BatchAcquire(request, timeout=SETUP_TIMEOUT_S)
            for result in answer.results:
                if result.HasField("error"):
                    raise SubjectError(f"a lease could not be taken: {result.error.message}")
                ids.append(result.lease.id)
        return ids

    def _cleanup(self, name: str) -> cleanup_spec_pb2.CleanupSpec | None:
        """Never on a cluster that somebody else needs: a benchmark must not be able to delete anything."""
        if self.throwaway is None:
            return None
        return cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": name})


@contextlib.asynccontextmanager
async def subject(endpoints: Sequence[str], throwaway: Throwaway | None) -> AsyncIterator[Subject]:
    """Connect, find the leader, make the namespace. Raises `SubjectError`; what is left is released in the end."""
    async with contextlib.AsyncExitStack() as stack:
        stubs = []
        for endpoint in endpoints:
            channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
            stack.push_async_callback(channel.close)
            stubs.append(Stubs(channel))
        nodes, leader_id = await _who_is_who(endpoints, stubs)
        found = Subject(nodes=nodes, leader_id=leader_id, holder=f"bench-{secrets.token_hex(4)}", throwaway=throwaway)
        await found.make_namespace(NAMESPACE)
        try:
            yield found
        finally:
            if throwaway is None:
                await _release_all(found)


async def _who_is_who(endpoints: Sequence[str], stubs: Sequence[Stubs]) -> tuple[dict[str, Stubs], str]:
    nodes, leader_id = {}, ""
    for endpoint, each in zip(endpoints, stubs, strict=True):
        try:
            answer = await each.cluster.GetStatus(cluster_pb2.GetStatusRequest(), timeout=SETUP_TIMEOUT_S)
        except grpc.aio.AioRpcError as failure:
            raise SubjectError(f"{endpoint} does not answer: {failure.details()}") from failure
        nodes[answer.header.node_id] = each
        leader_id = answer.status.leader_id or leader_id
    if leader_id not in nodes:
        raise SubjectError(f"the leader ({leader_id or 'none is known'}) is not among the endpoints: give all of them")
    return nodes, leader_id


async def _release_all(found: Subject) -> None:
    remaining = 1
    while remaining:
        request = lease_pb2.BatchReleaseRequest(
            namespace=NAMESPACE, request_id=secrets.token_hex(16), holder=found.holder
        )
        remaining = (await found.leader.lease.BatchRelease(request, timeout=SETUP_TIMEOUT_S)).remaining
