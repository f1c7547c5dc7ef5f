"""The door's way to the replicated machine, from any node.

Duty: find the leader, here or elsewhere, and keep trying within the caller's time as long as nothing can have been
applied; answer reads when this node may.
Invariants: an operation is sent again only after an error that says that nothing was applied. No read is answered
before its conditions hold.
Must not know: protobuf, gRPC, how a batch is made.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from typing_extensions import override

from garbagetruck.cluster.api.gateway import (
    Consistency,
    Draining,
    FeatureNotEnabled,
    Gateway,
    Header,
    NoLeader,
    NoQuorum,
    NotLeader,
    OperatingError,
    OutcomeUnknown,
    ReadView,
    Starting,
)
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.operations import ForwardedOperation
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.clock import ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.peers.forwarding import Forwarder
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.raft.log import ReplicatedLog

LEADER_WAIT_SHARE = 0.8
"""Part of the caller's time spent on finding a leader, so that the answer "none" still arrives."""
LEADER_WAIT_S_MAX = 5.0
"""The longest wait for a leader, however patient the caller."""
TRANSFER_LEVEL = 2
"""The feature level from which on nodes ask each other to hand leadership over."""
RETRY_PAUSE_S = 0.03
"""Between two attempts after an error that may pass without any change that this node would see."""


def _unmetered(reason: type[Exception], operations: int) -> None:
    """Count nothing."""


class NodeGateway(Gateway):
    """Runs on the node's main loop. `api_addresses` tells each node's API address by its id."""

    def __init__(
        self,
        *,
        node_id: str,
        log: ReplicatedLog,
        machine: Machine,
        applier: Applier,
        clock: ClusterClock,
        queue: CommitQueue,
        leadership: Leadership,
        read_index: ReadIndex,
        forwarder: Forwarder,
        api_addresses: Mapping[str, str],
    ) -> None:
        self._meter: Callable[[type[Exception], int], None] = _unmetered
        self._node_id = node_id
        self._log = log
        self._machine = machine
        self._applier = applier
        self._clock = clock
        self._queue = queue
        self._leadership = leadership
        self._read_index = read_index
        self._forwarder = forwarder
        self._api_addresses = api_addresses
        self._draining = False

    def count_failures(self, meter: Callable[[type[Exception], int], None]) -> None:
        """Have `meter` told of operations that are given up: why, and how many. Before the log starts."""
        self._meter = meter

    def drain(self) -> None:
        """Refuse new operations with `Draining` from now on. What is under way goes on, reads are served."""
        self._draining = True

    @override
    def header(self) -> Header:
        leader_id = self._leadership.leader_id or ""
        return Header(
            cluster_id=self._machine.cluster_id,
            node_id=self._node_id,
            leader_id=leader_id,
            leader_api=self._api_addresses.get(leader_id, ""),
            term=self._log.status.term,
            applied_index=self._applier.applied_index,
            clock_ms=self._clock_ms(),
            age_ms=self._applier.age_ms(),
            incarnation=self._machine.incarnation,
        )

    @override
    def entered_ms(self) -> int:
        return self._machine.clock_ms  # applied here, so no leader, present or future, stamps less

    @override
    async def submit(self, operations: Sequence[ForwardedOperation], *, timeout_s: float) -> Sequence[Outcome]:
        if self._draining:
            raise Draining("this node is shutting down; nothing was applied", leader=self._leader_api())
        group = tuple(operations)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        leader_deadline_s = loop.time() + min(timeout_s * LEADER_WAIT_SHARE, LEADER_WAIT_S_MAX)
        try:
            while True:
                leader_id = await self._find_leader(leader_deadline_s)
                remaining_s = deadline_s - loop.time()
                try:
                    if leader_id == self._node_id:
                        return await self._queue.submit(group, timeout_s=remaining_s)
                    return await self._forwarder.submit(leader_id, group, timeout_s=remaining_s)
                except (NotLeader, NoLeader, NoQuorum, Draining) as error:
                    await self._pause(leader_deadline_s, error)
        except OperatingError as error:
            self._meter(type(error), len(group))
            error.leader = error.leader or self._leader_api()
            raise

    @override
    async def read(self, consistency: Consistency, *, timeout_s: float) -> ReadView:
        if consistency is Consistency.STALE:
            return ReadView(self._machine, self._clock_ms(), self._applier.applied_index, self._applier.age_ms())
        began_s = asyncio.get_running_loop().time()
        leader_deadline_s = began_s + min(timeout_s * LEADER_WAIT_SHARE, LEADER_WAIT_S_MAX)
        try:
            index, clock_ms = await self._confirm(began_s + timeout_s, leader_deadline_s)
            if self._applier.applied_index < index:
                await self._catch_up(index, began_s + timeout_s)
        except OperatingError as error:
            error.leader = error.leader or self._leader_api()
            raise
        return ReadView(self._machine, max(clock_ms, self._machine.clock_ms), self._applier.applied_index, 0)

    @override
    async def transfer_leadership(self, to: str, *, timeout_s: float) -> str:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        leader_deadline_s = loop.time() + min(timeout_s * LEADER_WAIT_SHARE, LEADER_WAIT_S_MAX)
        while True:
            leader_id = await self._find_leader(leader_deadline_s)
            if leader_id == to:
                return to
            try:
                async with asyncio.timeout_at(deadline_s):
                    if leader_id == self._node_id:
                        return await self._leadership.transfer(to)
                    self._check_leader_understands(leader_id)
                    return await self._forwarder.transfer_leadership(leader_id, to)
            except TimeoutError as error:
                raise OutcomeUnknown(f"{to or 'another node'} does not lead yet, and may do so soon") from error
            except (NotLeader, NoLeader, NoQuorum, Draining) as error:
                await self._pause(leader_deadline_s, error)

    def _check_leader_understands(self, leader_id: str) -> None:
        """A node of a lower level takes a request to hand over for noise, and cuts the connection."""
        if self._machine.feature_level < TRANSFER_LEVEL:
            raise FeatureNotEnabled(
                f"not every member has feature level {TRANSFER_LEVEL}, so leadership is handed over by the leader only:"
                f" ask {leader_id} itself"
            )

    @override
    async def wait_applied_past(self, event_index: int) -> None:
        await self._applier.wait_applied_past(event_index)

    async def _confirm(self, deadline_s: float, leader_deadline_s: float) -> tuple[int, int]:
        """What a linearizable read that begins now must have applied, and the leader's clock."""
        while True:
            leader_id = await self._find_leader(leader_deadline_s)
            try:
                async with asyncio.timeout_at(deadline_s):
                    if leader_id == self._node_id:
                        confirmed = await self._read_index.confirm()
                        return confirmed.commit_index, confirmed.clock_ms
                    answer = await self._forwarder.read_index(leader_id)
                    return answer.commit_index, answer.clock_ms
            except TimeoutError as error:
                if leader_id == self._node_id:
                    raise NoQuorum("no majority answered this node, the leader, in time") from error
                raise NoLeader(f"the leader, {leader_id}, did not answer in time") from error
            except OperatingError as error:
                await self._pause(leader_deadline_s, error)

    async def _catch_up(self, index: int, deadline_s: float) -> None:
        """Wait until a read that needs `index` may be answered here. Raises `Starting`."""
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._applier.wait_applied(index)
        except TimeoutError as error:
            raise Starting(
                f"this node is catching up: it has applied {self._applier.applied_index} of {index}"
            ) from error

    async def _find_leader(self, deadline_s: float) -> str:
        """Id of the node to ask: this one only while it really leads. Raises `NoLeader`, `NoQuorum`, `Starting`."""
        leadership = self._leadership
        while True:
            leader_id = leadership.leader_id
            if leader_id is not None and (leader_id != self._node_id or leadership.in_touch):
                return leader_id
            try:
                async with asyncio.timeout_at(deadline_s):
                    await leadership.wait_changed()
            except TimeoutError as error:
                raise self._leaderless() from error

    def _leaderless(self) -> OperatingError:
        """Why there is nobody to ask."""
        if self._leadership.leader_id is None:
            return NoLeader("no leader is known: too few nodes are up, or an election is going on; nothing was applied")
        if not self._leadership.leading and self._applier.backlog_entries:
            backlog = self._applier.backlog_entries
            return Starting(f"this node was elected, and has {backlog} entries to apply first; nothing was applied")
        return NoQuorum("no majority answers this node, the leader: too few nodes are up; nothing was applied")

    async def _pause(self, deadline_s: float, error: OperatingError) -> None:
        """Wait a moment, or until leadership changed, before another attempt; past the deadline, give up."""
        if asyncio.get_running_loop().time() + RETRY_PAUSE_S >= deadline_s:
            if isinstance(error, Draining):
                raise NoLeader(f"the leader is shutting down, and no other was found: {error}") from error
            raise error
        try:
            async with asyncio.timeout(RETRY_PAUSE_S):
                await self._leadership.wait_changed()
        except TimeoutError:
            pass

    def _clock_ms(self) -> int:
        return self._clock.now_ms() if self._clock.leading else self._machine.clock_ms

    def _leader_api(self) -> str | None:
        return self._api_addresses.get(self._leadership.leader_id or "") or None
