"""Services that lease, renew, release, crash and retry, as real ones do.

Duty: drive the cluster through the doors of its nodes, write leased objects to the store, and tell the oracle what was
acknowledged.
Invariants: a client relies on a lease from the moment it *sent* the acknowledged call, for as long as the answer said;
an unknown outcome is retried under the same `request_id`, at any node.
Must not know: which node leads, what faults there are.
"""

import asyncio
from collections.abc import Sequence

from garbagetruck.chaos.simulator.nodes import SimulatedNode
from garbagetruck.chaos.simulator.oracle import Oracle
from garbagetruck.chaos.simulator.rpc import UNKNOWN, Build, Port, Reply
from garbagetruck.chaos.simulator.store import STORE, ObjectStore
from garbagetruck.chaos.simulator.world import NS_PER_MS, Process, World
from garbagetruck.cluster.machine.model import DEFAULT_NAMESPACE, CleanupSpec, LeaseState
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    ClientOperation,
    CloseSession,
    OpenSession,
    ReleaseLeases,
    RenewLeases,
    RenewSessions,
)
from garbagetruck.cluster.machine.outcomes import (
    LeaseGranted,
    LeasesRenewed,
    LeaseView,
    Outcome,
    Refused,
    SessionOpened,
    SessionsRenewed,
)

TRIES_MAX = 12
"""Attempts at one request; together far less than answers are remembered for."""
TTLS_MS = (300, 500, 1_000, 2_000, 5_000)


class Client:
    """One service: one holder, one process, one habit after the other until it is told to stop."""

    def __init__(
        self,
        *,
        world: World,
        name: str,
        port: Port,
        oracle: Oracle,
        store: ObjectStore,
        process: Process,
        keys: Sequence[str],
    ) -> None:
        self.name = name
        self.process = process
        self.granted = 0
        self._world = world
        self._port = port
        self._oracle = oracle
        self._store = store
        self._keys = tuple(keys)
        self._random = world.random(f"client-{name}")
        self._stopping = False
        self._serial = 0

    def start(self) -> None:
        self.process.loop.start(self._live())

    def stop(self) -> None:
        """No new habits; what is leased is left to its end."""
        self._stopping = True

    async def _live(self) -> None:
        while not self._stopping:
            habit = self._random.choices(
                (self._hold_one, self._hold_in_session, self._upload_and_keep), weights=(6, 3, 1)
            )[0]
            await habit()
            await asyncio.sleep(self._random.uniform(0.0, 0.2))

    # -- habits -----------------------------------------------------------------------------------------------

    async def _hold_one(self) -> None:
        lease = await self._acquire(self._random.choice(self._keys), ttl_ms=self._random.choice(TTLS_MS))
        if lease is None:
            return
        self._write(lease)
        if self._random.happens(0.5):
            await self._read(lease)
        renewals = self._random.randrange(0, 6)
        alive = True
        while alive and renewals and not self._stopping:
            renewals -= 1
            await asyncio.sleep(lease.ttl_ms / 1_000 * self._random.uniform(0.2, 0.5))
            alive = await self._renew(lease)
            if alive and self._random.happens(0.4):
                await self._read(lease)
        if alive and self._random.happens(0.6):
            await self._release(lease, keep=False)

    async def _hold_in_session(self) -> None:
        session_id, ttl_ms = await self._open_session()
        if not session_id:
            return
        leases = []
        for key in self._random.sample(self._keys, k=self._random.randint(1, 3)):
            lease = await self._acquire(key, session_id=session_id)
            if lease is not None:
                self._write(lease)
                leases.append(lease)
        for _ in range(self._random.randrange(0, 6)):
            await asyncio.sleep(ttl_ms / 1_000 * self._random.uniform(0.2, 0.5))
            if self._stopping or not await self._renew_session(session_id):
                break
            if leases and self._random.happens(0.4):
                await self._read(self._random.choice(leases))
        if self._random.happens(0.5):
            self._oracle.closing(session_id)
            await self._call(lambda node: (CloseSession(node.gateway.entered_ms(), DEFAULT_NAMESPACE, session_id),))

    async def _upload_and_keep(self) -> None:
        """An upload that became permanent: the last holder takes it off the books."""
        self._serial += 1
        lease = await self._acquire(f"kept/{self.name}/{self._serial}", ttl_ms=2_000)
        if lease is not None and self._write(lease):
            await self._release(lease, keep=True)

    # -- calls ------------------------------------------------------------------------------------------------

    def _node(self) -> str:
        return self._random.choice(sorted(self._port.hosts))

    async def _call(self, build: Build) -> Reply:
        return await self._port.call(self.process, self._node(), build)

    def _request_id(self) -> str:
        self._serial += 1
        return f"{self.name}-{self._serial}"

    async def _acquire(self, key: str, *, ttl_ms: int = 0, session_id: str = "") -> LeaseView | None:
        """Acquire, retrying with one request id until there is an answer; None when refused or given up."""
        request_id, first_sent_ns = self._request_id(), self._world.now_ns
        for _ in range(TRIES_MAX):
            drawn: list[str] = []

            def build(node: SimulatedNode, drawn: list[str] = drawn) -> tuple[ClientOperation, ...]:
                operation = self._at_door(node, request_id, key, ttl_ms, session_id)
                drawn.append(operation.lease_id)
                return (operation,)

            reply = await self._call(build)
            if not reply.error:
                return self._granted(reply, request_id, key, first_sent_ns, session_id)
            if reply.error != UNKNOWN and drawn:
                self._oracle.not_applied(drawn[0], reply.error)
            await asyncio.sleep(self._random.uniform(0.01, 0.3))
        return None

    def _at_door(self, node: SimulatedNode, request_id: str, key: str, ttl_ms: int, session_id: str) -> AcquireLease:
        """What a node's door makes of an acquire: a lease id of its own for every attempt."""
        lease_id, parameters = node.fresh_id(), (("key", key),)
        self._oracle.attempted(request_id, lease_id)
        return AcquireLease(
            entered_ms=node.gateway.entered_ms(),
            namespace=DEFAULT_NAMESPACE,
            request_id=request_id,
            lease_id=lease_id,
            resource=f"thing:{key}",
            holder=self.name,
            ttl_ms=ttl_ms,
            session_id=session_id,
            cleanup=CleanupSpec(STORE, parameters, node.target_of(dict(parameters))),
        )

    def _granted(
        self, reply: Reply, request_id: str, key: str, first_sent_ns: int, session_id: str
    ) -> LeaseView | None:
        (outcome,) = reply.outcomes
        self._world.note(f"client {self.name} acquire {key} {request_id}: {_show(outcome)}")
        if not isinstance(outcome, LeaseGranted):
            return None
        self.granted += 1
        lease = outcome.lease
        self._oracle.acquired(
            request_id=request_id,
            lease_id=lease.id,
            key=key,
            token=lease.fencing_token,
            first_sent_ns=first_sent_ns,
            sent_ns=reply.sent_ns,
            remaining_ms=lease.remaining_ms if lease.state is LeaseState.ACTIVE else 0,
            session_id=session_id,
        )
        if self._random.happens(0.1):
            self._world.after(
                self._random.randrange(2_000) * NS_PER_MS, lambda: self._ask_again(request_id, key, lease)
            )
        return lease if self._oracle.protected(lease.id) else None

    def _ask_again(self, request_id: str, key: str, lease: LeaseView) -> None:
        """A duplicate of an answered request, as a network or a library may make one."""
        ttl_ms = 0 if lease.session_id else lease.ttl_ms

        async def ask() -> None:
            reply = await self._call(lambda node: (self._at_door(node, request_id, key, ttl_ms, lease.session_id),))
            for outcome in reply.outcomes:
                if isinstance(outcome, LeaseGranted) and outcome.lease.id != lease.id:
                    self._world.fail(f"I6: a repeated {request_id} was answered with another lease")

        self.process.loop.start(ask())

    def _write(self, lease: LeaseView) -> bool:
        """Make the leased thing, stamped with the lease's token, unless the lease is over by the client's own clock."""
        if not self._oracle.protected(lease.id):
            return False
        key = lease.resource.removeprefix("thing:")
        return self._store.write(key, lease.fencing_token)

    async def _renew(self, lease: LeaseView) -> bool:
        """Renew until answered, or until the lease must be taken for lost."""
        while self._oracle.protected(lease.id):
            reply = await self._call(
                lambda node: (RenewLeases(node.gateway.entered_ms(), DEFAULT_NAMESPACE, (lease.id,)),)
            )
            if reply.outcomes and isinstance(reply.outcomes[0], LeasesRenewed):
                (remaining_ms,) = reply.outcomes[0].remaining_ms
                if remaining_ms < 0:
                    self._oracle.told_ended(lease.id, reply.outcomes[0].refusals[0][1].reason)
                    return False
                self._oracle.renewed(lease.id, reply.sent_ns, remaining_ms)
                return True
            await asyncio.sleep(self._random.uniform(0.01, 0.1))
        return False

    async def _open_session(self) -> tuple[str, int]:
        request_id, ttl_ms = self._request_id(), self._random.choice(TTLS_MS)
        build: Build = lambda node: (  # noqa: E731 - it is an argument
            OpenSession(node.gateway.entered_ms(), DEFAULT_NAMESPACE, request_id, node.fresh_id(), self.name, ttl_ms),
        )
        for _ in range(TRIES_MAX):
            reply = await self._call(build)
            if not reply.error:
                (outcome,) = reply.outcomes
                if not isinstance(outcome, SessionOpened):
                    return "", 0
                self._oracle.session_renewed(outcome.session.id, reply.sent_ns, outcome.session.remaining_ms)
                return outcome.session.id, ttl_ms
            await asyncio.sleep(self._random.uniform(0.01, 0.3))
        return "", 0

    async def _renew_session(self, session_id: str) -> bool:
        for _ in range(TRIES_MAX):
            reply = await self._call(
                lambda node: (RenewSessions(node.gateway.entered_ms(), DEFAULT_NAMESPACE, (session_id,)),)
            )
            if reply.outcomes and isinstance(reply.outcomes[0], SessionsRenewed):
                (remaining_ms,) = reply.outcomes[0].remaining_ms
                if remaining_ms < 0:
                    self._oracle.session_told_ended(session_id, reply.outcomes[0].refusals[0][1].reason)
                    return False
                self._oracle.session_renewed(session_id, reply.sent_ns, remaining_ms)
                return True
            await asyncio.sleep(self._random.uniform(0.01, 0.1))
        return False

    async def _release(self, lease: LeaseView, *, keep: bool) -> None:
        self._oracle.releasing(lease.id)
        key = lease.resource.removeprefix("thing:")
        reply = await self._call(
            lambda node: (ReleaseLeases(node.gateway.entered_ms(), DEFAULT_NAMESPACE, (lease.id,), keep_resource=keep),)
        )
        self._world.note(
            f"client {self.name} release {lease.id} keep={keep}: {reply.error or _show(reply.outcomes[0])}"
        )
        if keep and reply.error:
            self._oracle.maybe_kept.add(key)
        elif keep and not _refused(reply.outcomes[0]):
            self._oracle.kept.add(key)

    async def _read(self, lease: LeaseView) -> None:
        state = await self._port.read_lease(self.process, self._node(), lease.id)
        if state not in ("", LeaseState.ACTIVE.value):
            self._oracle.told_ended(lease.id, f"read as {state}")


def _refused(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) or bool(getattr(outcome, "refusals", ()))


def _show(outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return f"refused {outcome.reason}"
    if isinstance(outcome, LeaseGranted):
        return f"granted {outcome.lease.id} token={outcome.lease.fencing_token} remaining={outcome.lease.remaining_ms}"
    return type(outcome).__name__
