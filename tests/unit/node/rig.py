"""One node's core over a log that the test commits by hand, and a clock that the test turns."""

import asyncio
import random
from collections.abc import Sequence

from typing_extensions import override

from garbagetruck.cluster.machine.codec import decode_batch
from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.machine.model import Member
from garbagetruck.cluster.machine.operations import AcquireLease, Batch, CreateCluster, RenewLeases
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.clock import NS_PER_MS, ClusterClock
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.config.settings import ClockSection, QueueSection
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.node.proposer import Proposer
from garbagetruck.cluster.node.reads import ReadIndex
from garbagetruck.cluster.raft.errors import LogStopped, NotLeader, RaftError
from garbagetruck.cluster.raft.log import (
    AddVoter,
    Change,
    Confirmation,
    Entry,
    LogListener,
    LogStatus,
    RemoveVoter,
    ReplicatedLog,
    Role,
    SealVoters,
)
from garbagetruck.cluster.raft.settings import Member as RaftMember

NODE = "n1"
PEERS = frozenset({"n2", "n3"})


class Monotonic:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 10_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance_ms(self, ms: int) -> None:
        self.now_ns += ms * NS_PER_MS


class HandLog(ReplicatedLog):
    """Holds proposals until the test commits them; or commits them by itself when `automatic`."""

    def __init__(self, *, automatic: bool = True) -> None:
        self.automatic = automatic
        self.confirms = True
        self.listener: LogListener | None = None
        self.proposed: list[bytes] = []
        self.history: list[bytes] = []
        self.stopped = False
        self.connected = PEERS
        self.voters = PEERS | {NODE}
        self.members: list[Sequence[RaftMember]] = []
        """What `set_members` was told, in turn."""
        self.changes: list[Change] = []
        self.change_error: RaftError | None = None
        """Raised by `change_voters` while set."""
        self._index = 0
        self._status = LogStatus(Role.FOLLOWER, 0, None, 0, 0, 0, PEERS)
        self._confirming: list[asyncio.Future[Confirmation]] = []

    @property
    @override
    def status(self) -> LogStatus:
        return self._status

    @override
    async def start(self, listener: LogListener) -> None:
        self.listener = listener

    @override
    async def stop(self) -> None:
        self.stopped = True

    @override
    def propose(self, payload: bytes, *, term: int) -> None:
        if self.stopped:
            raise LogStopped("stopped")
        if self._status.role is Role.LEADER and self._status.term == term:
            self.proposed.append(payload)
            if self.automatic:
                asyncio.get_running_loop().call_soon(self.commit)

    @override
    async def confirm(self) -> Confirmation:
        if self._status.role is not Role.LEADER:
            raise NotLeader(self._status.leader)
        future: asyncio.Future[Confirmation] = asyncio.get_running_loop().create_future()
        self._confirming.append(future)
        if self.confirms:
            asyncio.get_running_loop().call_soon(self.echo)
        return await future

    @override
    async def transfer_leadership(self, to: str | None = None) -> bool:
        self.follow(self._status.term + 1, to or "n2")
        return True

    @override
    def set_members(self, members: Sequence[RaftMember]) -> None:
        self.members.append(members)

    @override
    async def change_voters(self, change: Change, *, term: int) -> None:
        if self._status.role is not Role.LEADER or self._status.term != term:
            raise NotLeader(self._status.leader)
        if self.change_error is not None:
            raise self.change_error
        self.changes.append(change)
        match change:
            case AddVoter(node_id):
                self.voters |= {node_id}
            case RemoveVoter(node_id):
                self.voters -= {node_id}
            case SealVoters():
                pass
        self._show(self._status.role, self._status.term, self._status.leader)

    def connect(self, *node_ids: str) -> None:
        """Have these be connected, and nobody else."""
        self.connected = frozenset(node_ids)
        self._show(self._status.role, self._status.term, self._status.leader)

    def echo(self) -> None:
        """A majority answers every question asked so far."""
        for future in self._confirming:
            if not future.done():
                future.set_result(Confirmation(self._status.term, self._status.commit_index))
        self._confirming.clear()

    def commit(self, count: int = 1_000_000) -> None:
        """Commit what was proposed, oldest first."""
        for _ in range(min(count, len(self.proposed))):
            self.commit_foreign(self.proposed.pop(0))

    def commit_foreign(self, payload: bytes) -> None:
        """Commit an entry, whoever proposed it."""
        assert self.listener is not None
        self._index += 1
        self.history.append(payload)
        self.listener.on_entries((Entry(self._index, payload),), self._index)
        self._show(self._status.role, self._status.term, self._status.leader)

    def lead(self, term: int) -> None:
        self._show(Role.LEADER, term, NODE)

    def follow(self, term: int, leader: str | None) -> None:
        """Whatever was proposed and not committed is gone."""
        self.proposed.clear()
        error = NotLeader(leader)
        for future in self._confirming:
            if not future.done():
                future.set_exception(error)
        self._confirming.clear()
        self._show(Role.FOLLOWER, term, leader)

    def _show(self, role: Role, term: int, leader: str | None) -> None:
        assert self.listener is not None
        self._status = LogStatus(
            role, term, leader, self._index, self._index, self._index, self.connected, voters=self.voters
        )
        self.listener.on_status(self._status)

    def batches(self) -> list[Batch]:
        """What was committed, decoded."""
        return [decode_batch(payload) for payload in self.history]


class Rig:
    """The core of node n1, built as the composition root does."""

    def __init__(
        self, *, automatic: bool = True, bounds: QueueSection | None = None, clock: ClockSection | None = None
    ) -> None:
        self.monotonic = Monotonic()
        self.log = HandLog(automatic=automatic)
        self.fatal: list[BaseException] = []
        self.machine = Machine()
        self.clock_settings = clock or ClockSection()
        self.clock = ClusterClock(
            monotonic_ns=self.monotonic,
            step_ms=self.clock_settings.step_ms,
            drift_ppm=self.clock_settings.drift_ppm_max,
        )
        self.proposer = Proposer(node_id=NODE, log=self.log, random=random.Random(7))
        self.queue = CommitQueue(
            proposer=self.proposer,
            clock=self.clock,
            bounds=bounds or QueueSection(),
            on_fatal=self.fatal.append,
            not_enabled=self.machine.not_enabled,
        )
        self.applier = Applier(machine=self.machine, monotonic_ns=self.monotonic, on_fatal=self.fatal.append)
        self.leadership = Leadership(
            node_id=NODE,
            log=self.log,
            machine=self.machine,
            proposer=self.proposer,
            clock=self.clock,
            queue=self.queue,
            settings=self.clock_settings,
            monotonic_ns=self.monotonic,
            on_fatal=self.fatal.append,
        )
        self.read_index = ReadIndex(log=self.log, leadership=self.leadership, clock=self.clock)
        self.applier.listen(self.leadership)

    async def start(self) -> None:
        await self.log.start(self.applier)

    async def lead(self, term: int = 1) -> None:
        """Become the leader of `term` and create the cluster."""
        self.log.lead(term)
        await turns()
        if not self.log.automatic:
            self.log.commit()
            await turns()
        assert self.leadership.epoch == term

    async def create(self) -> None:
        """Create the cluster; needs an automatic log."""
        member = Member(NODE, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "1", "disk", 1)
        await self.queue.submit((CreateCluster("c1", 1, (member,)),), timeout_s=20)

    async def stop(self) -> None:
        await self.leadership.stop()
        assert not self.fatal, self.fatal


async def turns(count: int = 10) -> None:
    """Let the loop run everything that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


def acquire(number: int, *, entered_ms: int = 0, ttl_ms: int = 10_000) -> AcquireLease:
    return AcquireLease(entered_ms, "default", f"r{number}", f"lease-{number}", f"thing/{number}", "holder", ttl_ms)


def renew(lease_ids: Sequence[str], *, entered_ms: int = 0) -> RenewLeases:
    return RenewLeases(entered_ms, "default", tuple(lease_ids))
