"""A machine with a disk, a clock and a plug, and the lives that one node leads on it.

Duty: run the real `Replica` on two virtual loops, its main one and that of its Raft thread; let it be stopped, killed,
starved of its disk, and left without power at any operation of the disk; tell the oracle what a life hears and is told.

Must not know: when what goes wrong, what is right.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from garbagetruck.chaos.simulator.disk import PowerLoss, SimulatedDisk
from garbagetruck.chaos.simulator.raft.machine import ChecksumMachine
from garbagetruck.chaos.simulator.raft.oracle import RaftOracle
from garbagetruck.chaos.simulator.raft.threads import (
    DiskExecutor,
    DiskSpeed,
    NodeThread,
    StartedLoop,
    WriterThread,
    as_thread,
)
from garbagetruck.chaos.simulator.raft.wires import Station, WireNetwork, Wires
from garbagetruck.chaos.simulator.world import NS_PER_S, ProcessClock, World
from garbagetruck.cluster.raft.errors import DiskFailed, LogStopped, NotLeader
from garbagetruck.cluster.raft.journal.writer import JournalWriter
from garbagetruck.cluster.raft.log import Entry, LogListener, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Snapshots

FOLDER = Path("/data/raft")
DRIFT_PPM_MAX = 500
STEPS_AHEAD_MAX = 12
"""Power is lost, or a process killed, at one of so many operations of the disk from now on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all hosts share."""

    world: World
    wires: Wires
    oracle: RaftOracle
    settings: RaftSettings
    names: tuple[str, ...]


class SimulatedReplica(Replica):
    """The product's, but for the Raft thread: its loop is `raft`'s, which the world turns."""

    def __init__(self, raft: NodeThread, **options: Any) -> None:
        super().__init__(**options)
        self._raft = raft

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

    def break_by(self, error: BaseException) -> None:
        """End as when the Raft thread raised `error`: what a connection's owner raised, its loop cannot tell."""
        self._post(self._die_once, error)

    def _die_once(self, error: BaseException) -> None:
        if self._running:
            self._die(error)


class Life(LogListener):
    """One life of one node: from its start to its death."""

    def __init__(self, host: "Host", cluster: Cluster, number: int) -> None:
        self.name = host.name
        self.number = number
        self._host = host
        self._cluster = cluster
        world = cluster.world
        self.main = NodeThread(world, host.name, host.clock)
        self.raft = NodeThread(world, f"{host.name}-raft", host.clock)
        self.machine = ChecksumMachine()
        self.executor = DiskExecutor(self.main, host.speed)
        self.writer: WriterThread | None = None
        self.role = Role.FOLLOWER
        self.entered_term = 0
        """The last term in which an entry of this life's own was applied."""
        self._serial = 0
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
            identity=Identity("simulated", self.name, f"disk-{self.name}"),
            members=[Member(each, f"127.0.0.1:{port}") for port, each in enumerate(cluster.names, 1)],
            folder=FOLDER,
            settings=settings,
            thread_factory=self._make_thread,
            monotonic_ns=host.clock.monotonic_ns,
            random=cluster.world.random(f"replica-{self.name}-{self.number}"),
            snapshots=Snapshots(self.machine, self.executor),
            disk=host.disk,
            network=network,
        )

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
            await self.replica.start(self)
        except PowerLoss:
            return
        except DiskFailed as error:
            self._host.exited(error)

    # --- the log says -----------------------------------------------------------------------------------------------

    @override
    def on_restored(self, state: object, index: int) -> None:
        self.machine.restore(state)
        self._cluster.oracle.restored(self.name, index, self.machine.index, self.machine.checksum)
        self.machine.index = index

    @override
    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        machine, oracle = self.machine, self._cluster.oracle
        for entry in entries:
            machine.apply(entry)
            term = self._pending.pop(entry.payload, None)
            if term is not None:
                self.entered_term = max(self.entered_term, term)
                oracle.acknowledged(entry.index, entry.payload)
        oracle.applied(self.name, machine.index, entries, applied_index, machine.checksum)
        machine.index = applied_index

    @override
    def on_status(self, status: LogStatus) -> None:
        if status.applied_index > self.machine.index:
            self.on_entries((), status.applied_index)
        if status.role is not self.role:
            self.role = status.role
            self._cluster.world.note(f"{self.name} is {status.role.value} of term {status.term}")

    @override
    def on_fatal(self, error: BaseException) -> None:
        if isinstance(error, PowerLoss):
            return
        if not isinstance(error, DiskFailed):
            self._cluster.world.fail(f"{self.name} died of a bug: {error!r}")
        self._host.exited(error)

    # --- clients say ------------------------------------------------------------------------------------------------

    def propose(self, size_bytes: int) -> None:
        """On the main loop: propose something new, if this node believes to lead."""
        status = self.replica.status
        if status.role is not Role.LEADER:
            return
        self._serial += 1
        payload = f"{self.name}.{self.number}.{self._serial};".encode().ljust(size_bytes, b".")
        try:
            self.replica.propose(payload, term=status.term)
        except LogStopped:
            return
        self._pending[payload] = status.term

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

    async def hand_over(self) -> None:
        try:
            await self.replica.transfer_leadership()
        except LogStopped:
            return


class Host:
    """One machine. `life` is the node's present one, if it has any."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name
        world = cluster.world
        self._chance = world.random(f"host-{name}")
        self.disk = SimulatedDisk(world.random(f"disk-{name}"))
        self.disk.make_folder(FOLDER)
        self.disk.on_dark = lambda: world.after(0, self._fall_dark)
        self.speed = DiskSpeed(world, world.random(f"speed-{name}"))
        self.station = Station(name)
        cluster.wires.stations[name] = self.station
        self.clock = self._boot()
        self.life: Life | None = None
        self._lives = 0
        self._kill_only = False
        self.power_losses = 0
        self.is_paused = False

    def _boot(self) -> ProcessClock:
        drift_ppm = self._chance.randint(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
        offset_ns = self._chance.randrange(100_000) * NS_PER_S
        return ProcessClock(self._cluster.world, offset_ns=offset_ns, drift_ppm=drift_ppm)

    @property
    def is_up(self) -> bool:
        return self.life is not None and not self.is_paused

    def start(self) -> None:
        """Put the plug in, if it was pulled, and start the node, unless it runs."""
        if self.life is not None:
            return
        if self.station.is_dark:
            self.station.is_dark = False
            self.clock = self._boot()
        self._lives += 1
        self._cluster.world.note(f"{self.name} begins life {self._lives}")
        self.life = Life(self, self._cluster, self._lives)

    # --- ends -------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process now, and what it was writing halfway."""
        self._end(lambda: self._interrupt(kill_only=True))

    def pull_plug(self) -> None:
        """Lose power now, and of what was being written any part."""
        self._end(lambda: self._interrupt(kill_only=False))

    def end_at_next_step(self, *, kill_only: bool) -> None:
        """Lose power, or die, at one of the next operations of the disk, whatever that is for."""
        self._kill_only = kill_only
        self.disk.lose_power_at = self.disk.steps + self._chance.randint(1, STEPS_AHEAD_MAX)

    def _interrupt(self, *, kill_only: bool) -> None:
        life = self.life
        self._kill_only = kill_only
        self.disk.lose_power_at = self.disk.steps + self._chance.randint(1, STEPS_AHEAD_MAX)
        if life is not None and not self.speed.is_stalled:
            if life.writer is not None and life.writer.has_work:
                life.writer.write()
            if life.executor.has_work:
                life.executor.work()
        self._settle_disk()

    def _fall_dark(self) -> None:
        """The disk has met the step at which all ends."""
        self._end(self._settle_disk)

    def _settle_disk(self) -> None:
        if self._kill_only:
            self.disk.kill()
        else:
            self.disk.lose_power()
            self.power_losses += 1

    def _end(self, settle: Callable[[], None]) -> None:
        life = self.life
        if life is None:
            return
        for process in (life.main, life.raft):
            process.kill()
        settle()
        self.life = None
        self.is_paused = False
        self.speed.forget()
        what = "is killed" if self._kill_only else "loses power"
        self._cluster.world.note(f"{self.name} {what}")
        if self._kill_only:
            self._cluster.wires.killed(self.station, self._chance)
        else:
            self.station.is_dark = True
            self._cluster.wires.went_dark(self.station)

    def exited(self, error: BaseException) -> None:
        """The node ends itself, as it does when its disk fails."""
        life = self.life
        self._cluster.world.note(f"{self.name} ends: {type(error).__name__}")

        def end() -> None:
            if self.life is life and life is not None:
                self._kill_only = True
                self._end(self.disk.kill)

        self._cluster.world.after(0, end)

    # --- troubles ---------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """SIGSTOP."""
        if self.life is not None:
            self.is_paused = True
            self.life.main.pause()
            self.life.raft.pause()

    def resume(self) -> None:
        if self.life is not None and self.is_paused:
            self.life.main.resume()
            self.life.raft.resume()
        self.is_paused = False

    def stall(self, *, stalled: bool) -> None:
        """The Raft loop hangs; the disk's threads go on."""
        if self.life is not None:
            self.life.raft.stall(stalled=stalled)

    def fail_disk(self, operations: Mapping[str, int]) -> None:
        """From now on these operations of the disk fail, each with its error number."""

        def fault(operation: str, path: Path) -> OSError | None:
            number = operations.get(operation)
            return None if number is None else OSError(number, os.strerror(number), str(path))

        self.disk.fault = fault

    def mend(self) -> None:
        """Everything works, and the node runs."""
        self.disk.fault = lambda _operation, _path: None
        self.disk.lose_power_at = None
        self.speed.go_on()
        self.resume()
        self.stall(stalled=False)
        self.start()


DISK_ERRORS: tuple[Mapping[str, int], ...] = (
    {"sync": errno.EIO},
    {"write": errno.EIO},
    {"write": errno.ENOSPC, "allocate": errno.ENOSPC, "create": errno.ENOSPC},
)
