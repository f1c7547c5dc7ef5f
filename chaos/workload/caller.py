"""One client's calls, each a single message to a single node, put down in the history.

Duty: send, wait, and tell apart what was done, refused, not applied and unknown.
Invariants: an attempt is in the history whatever becomes of it, also when it is cancelled. What cannot be shown to have had no
effect is unknown.
Must not know: why something is asked, what faults there are.
"""

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from garbagetruck.chaos.history import Attempt, History, Outcome, Verb
from garbagetruck.client.endpoints import Stubs
from garbagetruck.client.errors import GarbageTruckError, OutcomeUnknown, Refused, Unavailable
from garbagetruck.client.failures import error_of_call, never_sent
from garbagetruck.v1 import lease_pb2, resource_pb2, session_pb2

ATTEMPT_TIMEOUT_S = 2.0
REQUEST_LABEL = "request"
"""A lease bears the id of the request that made it, so that a second one can be told."""


TENANT = "tenant"
"""A second namespace; keys in it begin with its name, since targets are of the whole cluster."""
NAMESPACES = ("", TENANT)
"""Of clients. The empty one is the default."""


def namespace_of(key: str) -> str:
    """Where the resource of a client's key is."""
    return TENANT if key.startswith(f"{TENANT}-") else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What all clients of a run share."""

    nodes: Mapping[str, Stubs]
    history: History
    now_ns: Callable[[], int]


@dataclass(slots=True)
class Caller:
    """The calls of one client; `random` decides whom it asks."""

    name: str
    around: Around
    random: random.Random
    namespace: str = ""
    """Of everything that it asks for; see `namespace_of`."""
    _run: str = field(default_factory=lambda: secrets.token_hex(4))
    _serial: int = 0

    def fresh_request_id(self) -> str:
        self._serial += 1
        return f"{self.name}-{self._run}-{self._serial}"

    def any_node(self) -> str:
        return self.random.choice(sorted(self.around.nodes))

    async def acquire(
        self, key: str, request_id: str, *, ttl_ms: int, session_id: str = "", cleanup: Any = None, node: str = ""
    ) -> Attempt:
        """`ttl_ms`: that of the session, if there is one."""
        request = lease_pb2.AcquireRequest(
            namespace=self.namespace,
            request_id=request_id,
            resource=key,
            holder=self.name,
            ttl_ms=0 if session_id else ttl_ms,
            session_id=session_id,
            cleanup=cleanup,
            labels={REQUEST_LABEL: request_id},
        )
        asked = self.asked(Verb.ACQUIRE, node)
        asked = replace(asked, request_id=request_id, key=key, ttl_ms=ttl_ms, session_id=session_id)
        return await self._send(asked, lambda stubs: stubs.lease.Acquire, request)

    async def renew(self, lease_id: str, *, ttl_ms: int, session_id: str = "") -> Attempt:
        asked = replace(self.asked(Verb.RENEW), lease_id=lease_id, ttl_ms=ttl_ms, session_id=session_id)
        return await self._send(
            asked, lambda stubs: stubs.lease.Renew, lease_pb2.RenewRequest(namespace=self.namespace, lease_id=lease_id)
        )

    async def release(self, lease_id: str, *, keep: bool = False) -> Attempt:
        asked = replace(self.asked(Verb.KEEP if keep else Verb.RELEASE), lease_id=lease_id)
        request = lease_pb2.ReleaseRequest(
            namespace=self.namespace, lease_id=lease_id, keep_resource=keep, request_id=self.fresh_request_id()
        )
        return await self._send(asked, lambda stubs: stubs.lease.Release, request)

    async def read(self, lease_id: str, node: str = "") -> Attempt:
        """Linearizable. A lease that is over counts as refused, with the reason "ended"."""
        asked = replace(self.asked(Verb.READ, node), lease_id=lease_id)
        return await self._send(
            asked,
            lambda stubs: stubs.lease.GetLease,
            lease_pb2.GetLeaseRequest(namespace=self.namespace, lease_id=lease_id),
        )

    async def look(self, key: str) -> Attempt:
        """At a resource and its leases. Linearizable."""
        asked = replace(self.asked(Verb.LOOK), key=key)
        request = resource_pb2.GetResourceRequest(namespace=self.namespace, resource=key)
        return await self._send(asked, lambda stubs: stubs.resource.GetResource, request)

    async def open_session(self, request_id: str, *, ttl_ms: int) -> Attempt:
        asked = replace(self.asked(Verb.OPEN_SESSION), request_id=request_id, ttl_ms=ttl_ms)
        request = session_pb2.OpenSessionRequest(
            namespace=self.namespace, request_id=request_id, holder=self.name, ttl_ms=ttl_ms
        )
        return await self._send(asked, lambda stubs: stubs.session.OpenSession, request)

    async def renew_session(self, session_id: str, *, ttl_ms: int) -> Attempt:
        asked = replace(self.asked(Verb.RENEW_SESSION), session_id=session_id, ttl_ms=ttl_ms)
        request = session_pb2.RenewSessionRequest(namespace=self.namespace, session_id=session_id)
        return await self._send(asked, lambda stubs: stubs.session.RenewSession, request)

    async def close_session(self, session_id: str) -> Attempt:
        asked = replace(self.asked(Verb.CLOSE_SESSION), session_id=session_id)
        request = session_pb2.CloseSessionRequest(
            namespace=self.namespace, session_id=session_id, request_id=self.fresh_request_id()
        )
        return await self._send(asked, lambda stubs: stubs.session.CloseSession, request)

    def asked(self, verb: Verb, node: str = "") -> Attempt:
        return Attempt(
            client=self.name,
            verb=verb,
            node=node or self.any_node(),
            sent_ns=self.around.now_ns(),
            ended_ns=0,
            outcome=Outcome.UNKNOWN,
        )

    async def _send(self, asked: Attempt, method: Callable[[Stubs], Any], request: Any) -> Attempt:
        done = replace(asked, reason="CANCELLED")
        try:
            answer = await method(self.around.nodes[asked.node])(request, timeout=ATTEMPT_TIMEOUT_S)
            done = _answered(asked, answer)
        except grpc.aio.AioRpcError as failure:
            outcome, reason = failed(failure)
            done = replace(asked, outcome=outcome, reason=reason)
        finally:
            done = replace(done, ended_ns=self.around.now_ns())
            self.around.history.add(done)
        return done


def _answered(asked: Attempt, answer: Any) -> Attempt:
    """Only what this kind of answer has is read from it."""
    done = replace(asked, outcome=Outcome.OK, term=answer.header.term)
    match asked.verb:
        case Verb.ACQUIRE:
            lease = answer.lease
            return replace(done, lease_id=lease.id, token=lease.fencing_token, remaining_ms=lease.remaining_ms)
        case Verb.RENEW | Verb.RENEW_SESSION:
            return replace(done, remaining_ms=answer.remaining_ms)
        case Verb.OPEN_SESSION:
            return replace(done, session_id=answer.session.id, remaining_ms=answer.session.remaining_ms)
        case Verb.READ:
            over = answer.lease.state != lease_pb2.LEASE_STATE_ACTIVE
            return replace(done, outcome=Outcome.REFUSED, reason="ended") if over else done
        case Verb.LOOK:
            return replace(done, seen=tuple(each.labels[REQUEST_LABEL] for each in answer.resource.leases))
        case _:
            return done


def failed(failure: grpc.aio.AioRpcError) -> tuple[Outcome, str]:
    """What a caller knows after a call that failed, and the API's word for it."""
    error = error_of_call(failure)
    return outcome_of(error, sent=not never_sent(failure)), error.reason or failure.code().name


def outcome_of(error: GarbageTruckError, *, sent: bool) -> Outcome:
    """What cannot be shown to have had no effect is unknown."""
    if isinstance(error, Refused):
        return Outcome.REFUSED
    if isinstance(error, Unavailable) and not isinstance(error, OutcomeUnknown) and (error.reason or not sent):
        return Outcome.NOT_APPLIED
    return Outcome.UNKNOWN
