"""A machine with a disk, a clock and a plug, and the lives that one node leads on it.

Duty: let a node be stopped, killed, starved of its disk, and left without power at any operation of the disk.

Must not know: when what goes wrong, what is right.
"""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.chaos.simulator.raft.damage import Damage, damage
from garbagetruck.chaos.simulator.raft.life import FOLDER, Cluster, Life
from garbagetruck.chaos.simulator.raft.threads import DiskSpeed
from garbagetruck.chaos.simulator.raft.wires import End
from garbagetruck.chaos.simulator.world import NS_PER_S, ProcessClock
from garbagetruck.cluster.raft.errors import FoundedTwice, StorageRefused

DRIFT_PPM_MAX = 500
STEPS_AHEAD_MAX = 12
"""Power is lost, or a process killed, at one of so many operations of the disk from now on."""


class Host:
    """One machine. `life` is the node's present one, if it has any. `generation` tells machines of one name apart."""

    def __init__(
        self, cluster: Cluster, name: str, *, generation: int = 1, founders: Sequence[str] | None = None
    ) -> None:
        self._cluster = cluster
        self.name = name
        self.generation = generation
        self.founders = founders
        self.disk_id = f"disk-{name}" if generation == 1 else f"disk-{name}-{generation}"
        self.told = tuple(founders or ())
        """Who the members are, as far as this node knows: its address book, which survives."""
        self.told_index = 0
        """Up to here the log has told it. What it replays from before is of former days."""
        self.book: object = None
        """What a whole node keeps here of where the others are, beside its log."""
        self.is_retired = False
        self.damage: Damage | None = None
        """What was done to its disk, and its node has not met yet."""
        self._damaged: list[Damage] = []
        """All that was ever done to it."""
        self.refuses = False
        """Whether its node ended for what it found on the disk, or for what others know of another disk."""
        world = cluster.world
        self._chance = world.random(f"host-{name}" if generation == 1 else f"host-{name}-{generation}")
        self.disk = SimulatedDisk(world.random(self.disk_id))
        self.disk.make_folder(FOLDER)
        self.disk.on_dark = lambda: world.after(0, self._fall_dark)
        self.speed = DiskSpeed(world, world.random(f"speed-{self.disk_id.removeprefix('disk-')}"))
        self.station = cluster.wires.station(name)
        self.peer_station = cluster.peer_wires.station(name)
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
    def ends(self) -> list[End]:
        """This machine's ends of all connections."""
        return [*self.station.ends, *self.peer_station.ends]

    @property
    def is_up(self) -> bool:
        return self.life is not None and not self.is_paused

    def is_voter(self, disks: Mapping[str, str]) -> bool:
        """Whether this machine, and not another of its name, is among these voters."""
        known = disks.get(self.name)
        is_founder = self.founders is not None and not self.is_founded_again
        return known == self.disk_id or (known == "" and is_founder)

    @property
    def is_founded_again(self) -> bool:
        """Whether it says that it is a founder, and another machine was."""
        return self.founders is not None and self.generation > 1

    def start(self) -> None:
        """Put the plug in, if it was pulled, and start the node, unless it runs."""
        if self.life is not None or self.is_retired:
            return
        if self.station.is_dark:
            self.station.is_dark = self.peer_station.is_dark = False
            self.clock = self._boot()
        self._lives += 1
        self._cluster.world.note(f"{self.name} begins life {self._lives}")
        self.life = self._cluster.make_life(self, self._cluster, self._lives)

    def note_members(self, names: tuple[str, ...], index: int) -> None:
        """The log, up to `index`, says that the members are these."""
        if index > self.told_index:
            self.told_index = index
            self._follow(names)

    def hear(self, names: tuple[str, ...]) -> None:
        """Somebody, not the log, names these; they are talked to as well."""
        if not set(names) <= set(self.told):
            self._follow((*self.told, *names))

    def _follow(self, names: tuple[str, ...]) -> None:
        self.told = tuple(sorted({*names, self.name}))
        if self.life is not None:
            self.life.main.post(0, self.life.tell)

    # --- ends -------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process now, and what it was writing halfway."""
        self._end(lambda: self._interrupt(kill_only=True))

    def pull_plug(self) -> None:
        """Lose power now, and of what was being written any part."""
        self._end(lambda: self._interrupt(kill_only=False))

    def retire(self) -> None:
        """Turn it off for good."""
        self.is_retired = True
        self.pull_plug()

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
        cluster = self._cluster
        for wires, station in ((cluster.wires, self.station), (cluster.peer_wires, self.peer_station)):
            if self._kill_only:
                wires.killed(station, self._chance)
            else:
                station.is_dark = True
                wires.went_dark(station)

    def exited(self, error: BaseException) -> None:
        """The node ends itself, as it does when its disk fails."""
        life = self.life
        self.refuses = self.refuses or isinstance(error, FoundedTwice)
        self._cluster.world.note(f"{self.name} ends: {type(error).__name__}")

        def end() -> None:
            if self.life is life and life is not None:
                self._kill_only = True
                self._end(self.disk.kill)

        self._cluster.world.after(0, end)

    def refused(self, error: StorageRefused) -> None:
        """The node does not start on what it finds on the disk."""
        if not any(error.path in (each.path, each.path.parent) for each in self._damaged):
            self._cluster.world.fail(f"I2: {self.name} refuses what nobody damaged: {error}")
        self.refuses = True
        self.exited(error)

    def opened(self) -> None:
        """The node has read its disk, and goes on."""
        done, self.damage = self.damage, None
        if done is not None and done.must_refuse:
            self._cluster.world.fail(f"I2: {self.name} starts, and {done.path} is damaged at {done.offset}")

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

    def corrupt(self) -> None:
        """Lose power, and have one bit of the disk be another from then on."""
        self.pull_plug()
        self.damage = damage(self.disk, self._chance, FOLDER)
        if self.damage is not None:
            self._damaged.append(self.damage)
        told = "nothing" if self.damage is None else f"{self.damage.path} at {self.damage.offset}"
        self._cluster.world.note(f"{self.name} has {told} damaged")

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
