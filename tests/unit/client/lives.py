"""A scripted node that keeps sessions and leases in lives, as a cluster does that is restored from what was archived.

Duty: answer as the API promises, in whichever life it is told to be. It must not know: how a client goes about it.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from garbagetruck.v1 import header_pb2, lease_pb2, resource_pb2, session_pb2
from tests.unit.client.fake_cluster import Node, abort, refusal

NOT_FOUND = grpc.StatusCode.NOT_FOUND
ENDED = grpc.StatusCode.FAILED_PRECONDITION


@dataclass
class Cluster:
    """What one life of it knows. `restore` begins the next."""

    ttl_ms: int = 10_000
    incarnation: int = 1
    cluster_id: str = "c-1"
    sessions: set[str] = field(default_factory=set)
    leases: dict[str, str] = field(default_factory=dict)
    """Id -> resource, of those that are held."""
    released: list[str] = field(default_factory=list)
    """Resources, in the order in which they were given back."""
    ended: set[str] = field(default_factory=set)
    """Leases that it knows to be over."""
    cleaned: set[str] = field(default_factory=set)
    """Resources that are tombstones."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Resource -> the reason why nobody gets it."""
    acquired: list[lease_pb2.AcquireItem] = field(default_factory=list)
    """What was asked for and granted, in this life and before."""
    _numbers: itertools.count = field(default_factory=lambda: itertools.count(1))  # type: ignore[type-arg]

    def restore(self, *, sessions: set[str] | None = None, leases: set[str] | None = None) -> None:
        """Begin the next life with these of the sessions and leases that there were."""
        self.incarnation += 1
        self.sessions &= sessions or set()
        self.leases = {each: self.leases[each] for each in leases or set()}

    def serve(self, node: Node) -> None:
        """Have a node answer for it."""
        for method in (
            "OpenSession",
            "RenewSession",
            "CloseSession",
            "Acquire",
            "BatchAcquire",
            "BatchRenew",
            "Release",
        ):
            node.answer(method, getattr(self, f"_{method}"))
        node.answer("GetResource", self._GetResource)

    def of_life(self) -> dict[str, str]:
        return {"cluster_id": self.cluster_id, "incarnation": str(self.incarnation)}

    def _header(self) -> header_pb2.ResponseHeader:
        return header_pb2.ResponseHeader(cluster_id=self.cluster_id, incarnation=self.incarnation)

    async def _require_session(self, session_id: str, context: Any) -> None:
        if session_id not in self.sessions:
            await abort(context, refusal(NOT_FOUND, "SESSION_NOT_FOUND", metadata=self.of_life()))

    async def _OpenSession(self, request: Any, context: Any) -> Message:  # noqa: N802  # the API's name
        session_id = f"session-{next(self._numbers)}"
        self.sessions.add(session_id)
        session = session_pb2.Session(
            id=session_id, holder=request.holder, ttl_ms=self.ttl_ms, remaining_ms=self.ttl_ms
        )
        return session_pb2.OpenSessionResponse(header=self._header(), session=session)

    async def _RenewSession(self, request: Any, context: Any) -> Message:  # noqa: N802
        await self._require_session(request.session_id, context)
        return session_pb2.RenewSessionResponse(header=self._header(), remaining_ms=self.ttl_ms)

    async def _CloseSession(self, request: Any, context: Any) -> Message:  # noqa: N802
        await self._require_session(request.session_id, context)
        self.sessions.discard(request.session_id)
        self.released += self.leases.values()
        self.leases.clear()
        return session_pb2.CloseSessionResponse(header=self._header())

    async def _Acquire(self, request: Any, context: Any) -> Message:  # noqa: N802
        await self._require_session(request.session_id, context)
        item = lease_pb2.AcquireItem(
            resource=request.resource, session_id=request.session_id, cleanup=request.cleanup, labels=request.labels
        )
        return lease_pb2.AcquireResponse(header=self._header(), lease=self._grant(item))

    async def _BatchAcquire(self, request: Any, context: Any) -> Message:  # noqa: N802
        results = []
        for item in request.items:
            if reason := self.refuses.get(item.resource):
                results.append(lease_pb2.AcquireResult(error=refusal(ENDED, reason)))
            else:
                results.append(lease_pb2.AcquireResult(lease=self._grant(item)))
        return lease_pb2.BatchAcquireResponse(header=self._header(), results=results)

    def _grant(self, item: lease_pb2.AcquireItem) -> lease_pb2.Lease:
        assert item.session_id in self.sessions
        number = next(self._numbers)
        lease_id = f"lease-{number}"
        self.leases[lease_id] = item.resource
        self.acquired.append(item)
        return lease_pb2.Lease(
            id=lease_id,
            resource=item.resource,
            session_id=item.session_id,
            fencing_token=(self.incarnation << 40) + number,
            ttl_ms=self.ttl_ms,
            remaining_ms=self.ttl_ms,
            state=lease_pb2.LEASE_STATE_ACTIVE,
        )

    async def _BatchRenew(self, request: Any, context: Any) -> Message:  # noqa: N802
        answer = lease_pb2.BatchRenewResponse(header=self._header())
        for position, lease_id in enumerate(request.lease_ids):
            known = lease_id in self.leases
            answer.remaining_ms.append(self.ttl_ms if known else 0)
            if not known:
                over = lease_id in self.ended
                status = refusal(ENDED, "LEASE_ENDED") if over else refusal(NOT_FOUND, "LEASE_NOT_FOUND")
                answer.errors.add(index=position, status=status)
        return answer

    async def _Release(self, request: Any, context: Any) -> Message:  # noqa: N802
        if request.lease_id not in self.leases:
            await abort(context, refusal(NOT_FOUND, "LEASE_NOT_FOUND", metadata=self.of_life()))
        self.released.append(self.leases.pop(request.lease_id))
        return lease_pb2.ReleaseResponse(header=self._header())

    async def _GetResource(self, request: Any, context: Any) -> Message:  # noqa: N802
        if request.resource in self.cleaned:
            resource = resource_pb2.Resource(name=request.resource, state=resource_pb2.RESOURCE_STATE_CLEANED)
            return resource_pb2.GetResourceResponse(header=self._header(), resource=resource)
        await abort(context, refusal(NOT_FOUND, "RESOURCE_NOT_FOUND"))
        raise AssertionError
