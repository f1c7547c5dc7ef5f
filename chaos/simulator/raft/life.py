"""One life of one node: the real `Replica` on two virtual loops, its main one and that of its Raft thread.

Duty: put a replica together as the composition root does, have it take part, and tell the oracle what it hears and is told.
A life of a whole node (`chaos.simulator.nodes`) adds what stands above the log.

Must not know: when it dies, what goes wrong, what is right.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from garbagetruck.chaos.simulator.disk import PowerLoss, SimulatedDisk
from garbagetruck.chaos.simulator.raft.electorate import Seen
from garbagetruck.chaos.simulator.raft.machine import MEMBERS_MARK, ChecksumMachine
from garbagetruck.chaos.simulator.raft.network import WireNetwork
from garbagetruck.chaos.simulator.raft.oracle import RaftOracle
from garbagetruck.chaos.simulator.raft.threads import (
    DiskExecutor,
    DiskSpeed,
    HandOffDelay,
    NodeThread,
    StartedLoop,
    WriterThread,
    as_thread,
)
from garbagetruck.chaos.simulator.raft.wires import Station, Wires
from garbagetruck.chaos.simulator.world import Chance, ProcessClock, World
from garbagetruck.cluster.raft.errors import (
    ChangeRefused,
    ChangeUnknown,
    DiskFailed,
    FoundedTwice,
    LogStopped,
    NotLeader,
    StorageRefused,
)
from garbagetruck.cluster.raft.journal.writer import JournalWriter
from garbagetruck.cluster.raft.log import Change, Entry, LogListener, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Snapshots, StateMachine

if TYPE_CHECKING:
    from garbagetruck.chaos.simulator.raft.host import Host

FOLDER = Path("/data/raft")
CLUSTER_ID = "simulated"


class Housing(Protocol):
    """What a node lives on."""

    name: str
    generation: int
    disk_id: str
    founders: Sequence[str] | None
    told: tuple[str, ...]
    disk: SimulatedDisk
    speed: DiskSpeed
    station: Station
    peer_station: Station
    clock: ProcessClock

    def note_members(self, names: tuple[str, ...], index: int) -> None:
        """The log said so, up to there."""

    def exited(self, error: BaseException) -> None:
        """The node ended itself."""

    def refused(self, error: StorageRefused) -> None:
        """The node does not start on what it finds on the disk."""

    def opened(self) -> None:
        """The node has read its disk, and goes on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all hosts share."""

    world: World
    wires: Wires
    oracle: RaftOracle
    settings: RaftSettings
    peer_wires: Wires
    """Between the nodes' main loops, beside the log's own."""
    make_life: "Callable[[Host, Cluster, int], Life]"
    hand_off_ms: tuple[float, float] = (0.0, 0.0)
    """What handing something over from the Raft thread to the main loop takes."""
    hosts: "dict[str, Host]" = field(default_factory=dict)
    """By their names; of those that had one name, the last."""


class SimulatedReplica(Replica):
    """The product's, but for the Raft thread: its loop is `raft`'s, which the world turns."""

    def __init__(
        self, raft: NodeThread, hand_off: HandOffDelay, on_proposed: Callable[[bytes, int], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._raft = raft
        self._hand_off = hand_off
        self._on_proposed = on_proposed

    @override
    def _post(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._hand_off(partial(super()._post, callback, *arguments))

    @override
    def propose(self, payload: bytes, *, term: int) -> None:
        super().propose(payload, term=term)
        self._on_proposed(payload, term)

    @override
    def _run(self) -> None:
        self._raft.loop.start(self._live_and_tell())

    async def _live_and_tell(self) -> None:
        error: BaseException | None = None
        try:
            await self._live()
        except BaseException as raised:  # noqa: BLE001  # as in production
            error = raised
        self._post(self._on_ended, error)

    @property
    def seen(self) -> Seen:
        """Who votes, on the Raft thread."""
        voters = self._engine._voters  # noqa: SLF001  # as the Raft thread has it, which no main loop is told so soon
        return Seen(voters.index, voters.disks, voters.is_certain)

    def break_by(self, error: BaseException) -> None:
        """End as when the Raft thread raised `error`: what a connection's owner raised, its loop cannot tell."""
        self._post(self._die_once, error)

    def _die_once(self, error: BaseException) -> None:
        if self._running:
            self._die(error)


class Life(LogListener):
    """One life of one node: from its start to its death."""

    def __init__(self, host: Housing, cluster: Cluster, number: int) -> None:
        self.name = host.name
        self.number = number
        self.identity = Identity(CLUSTER_ID, host.name, host.disk_id)
        self._host = host
        self._cluster = cluster
        world = cluster.world
        self.main = NodeThread(world, host.name, host.clock)
        self.raft = NodeThread(world, f"{host.name}-raft", host.clock)
        self.checksums = ChecksumMachine()
        self.executor = DiskExecutor(self.main, host.speed)
        self.writer: WriterThread | None = None
        self.role = Role.FOLLOWER
        self.entered_term = 0
        """The last term in which an entry of this life's own was applied."""
        self._serial = 0
        self._followed: tuple[str, ...] = ()
        self._pending: dict[bytes, int] = {}
        self.replica = self._make_replica()
        self.main.loop.start(self._start())

    def _make_replica(self) -> SimulatedReplica:
        host, cluster = self._host, self._cluster
        settings = cluster.settings
        network = WireNetwork(
            wires=cluster.wires,
            station=host.station,
            process=self.raft,
            handshake_s=settings.handshake_ms_max / 1_000,
            on_bug=self._break,
        )
        return SimulatedReplica(
            self.raft,
            HandOffDelay(self.main, cluster.hand_off_ms, self._stream("hand-off")),
            self._proposed,
            identity=self.identity,
            members=self._members(),
            founders=host.founders,
            folder=FOLDER,
            settings=settings,
            thread_factory=self._make_thread,
            monotonic_ns=host.clock.monotonic_ns,
            random=self._stream("replica"),
            snapshots=Snapshots(self._state_machine(), self.executor),
            disk=host.disk,
            network=network,
        )

    def _stream(self, what: str) -> Chance:
        return self.main.world.random(f"{what}-{self._host.disk_id.removeprefix('disk-')}-{self.number}")

    def _state_machine(self) -> StateMachine:
        """What snapshots are taken of."""
        return self.checksums

    def _members(self) -> list[Member]:
        """Everybody to talk to, as far as is known here."""
        return [Member(each, f"127.0.0.1:{each.removeprefix('n')}") for each in self._host.told]

    def _break(self, error: BaseException) -> None:
        self.replica.break_by(error)

    def _make_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        del name
        writer = getattr(target, "__self__", None)
        if isinstance(writer, JournalWriter):
            self.writer = WriterThread(self.raft, self._host.speed, writer)
            return as_thread(self.writer)
        return as_thread(StartedLoop(target))

    async def _start(self) -> None:
        try:
            await self._start_parts()
        except PowerLoss:
            return
        except StorageRefused as error:
            self._host.refused(error)
        except (DiskFailed, FoundedTwice) as error:
            self._host.exited(error)
        else:
            self._host.opened()

    async def _start_parts(self) -> None:
        await self.replica.start(self)

    # --- the log says -----------------------------------------------------------------------------------------------

    @override
    def on_restored(self, state: object, index: int) -> None:
        self.checksums.restore(state)
        self._cluster.oracle.restored(self.name, index, self.checksums.index, self.checksums.checksum)
        self.checksums.index = index
        self._follow_members()

    def _follow_members(self) -> None:
        """What the log says of the members counts, if it is newer than what this node knew when it began."""
        names = self.checksums.members
        if names and names != self._followed:
            self._followed = names
            self._host.note_members(names, self.checksums.index)

    @override
    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        machine, oracle = self.checksums, self._cluster.oracle
        for entry in entries:
            machine.apply(entry)
            term = self._pending.pop(entry.payload, None)
            if term is not None:
                self.entered_term = max(self.entered_term, term)
                oracle.acknowledged(entry.index, entry.payload)
        oracle.applied(self.name, machine.index, entries, applied_index, machine.checksum)
        machine.index = applied_index
        self._follow_members()

    @override
    def on_status(self, status: LogStatus) -> None:
        if status.applied_index > self.checksums.index:
            Life.on_entries(self, (), status.applied_index)
        if self.name in status.voters and self.replica.seen.is_certain:
            self._cluster.oracle.electorate.applied_up_to(self.name, status.applied_index, status.voters)
        if status.role is not self.role:
            self.role = status.role
            self._cluster.world.note(f"{self.name} is {status.role.value} of term {status.term}")

    @override
    def on_fatal(self, error: BaseException) -> None:
        if isinstance(error, PowerLoss):
            return
        if not isinstance(error, DiskFailed | FoundedTwice):
            self._cluster.world.fail(f"{self.name} died of a bug: {error!r}")
        self._host.exited(error)

    # --- clients say ------------------------------------------------------------------------------------------------

    def propose(self, size_bytes: int, tail: bytes = b"") -> None:
        """On the main loop: propose something new, if this node believes to lead."""
        status = self.replica.status
        if status.role is not Role.LEADER:
            return
        self._serial += 1
        payload = (
            f"{self.name}.{self._host.generation}.{self.number}.{self._serial};".encode().ljust(size_bytes, b".") + tail
        )
        try:
            self.replica.propose(payload, term=status.term)
        except LogStopped:
            return

    def _proposed(self, payload: bytes, term: int) -> None:
        self._pending[payload] = term

    def propose_members(self, names: tuple[str, ...]) -> None:
        """On the main loop: have the log say who the members are."""
        self.propose(0, MEMBERS_MARK + ",".join(names).encode())

    async def confirm(self) -> None:
        """Have leadership confirmed, and check what that promises."""
        oracle = self._cluster.oracle
        entered_term, before = self.entered_term, oracle.acknowledged_max
        try:
            async with asyncio.timeout(2.0):
                confirmation = await self.replica.confirm()
        except (NotLeader, LogStopped, TimeoutError):
            return
        if confirmation.term == entered_term:
            oracle.confirmed(self.name, before, confirmation.commit_index)

    def tell(self) -> None:
        """On the main loop: the members are those that the host was told of."""
        self.replica.set_members(self._members())

    async def change(self, change: Change, on_done: Callable[[], None] = lambda: None) -> None:
        """`on_done` is called once it is applied here."""
        try:
            async with asyncio.timeout(2.0):
                await self.replica.change_voters(change, term=self.replica.status.term)
        except (NotLeader, ChangeRefused, ChangeUnknown, LogStopped, TimeoutError):
            return
        on_done()

    async def hand_over(self) -> None:
        try:
            await self.replica.transfer_leadership()
        except LogStopped:
            return
