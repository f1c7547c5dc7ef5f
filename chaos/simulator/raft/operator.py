"""Who adds, removes and replaces nodes while everything else goes wrong.

Duty: what an operator does, and the leader's driver for it: start a node with an empty folder, tell everybody, ask whoever
leads until it votes; ask until one votes no more, then tell everybody and turn it off, or let it run on; lose a disk for
good, and have its node come back under the same name with another one.

Invariants: what was begun is brought to its end. A hasty operator begins a second change while the first is under way.

Must not know: what is right for the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from garbagetruck.chaos.simulator.raft.electorate import Electorate
from garbagetruck.chaos.simulator.raft.host import Host
from garbagetruck.chaos.simulator.raft.life import Cluster, Life
from garbagetruck.chaos.simulator.world import NS_PER_MS
from garbagetruck.cluster.raft.log import AddVoter, RemoveVoter, Role

NAMES = ("n1", "n2", "n3", "n4", "n5", "n6", "n7")
VOTERS_MIN, MEMBERS_MAX = 2, 6
FIRST_MS = 1_200
PAUSE_MS = (1, 1, 200, 1_200)
ASK_MS = (20, 200)
TELL_MS_MAX = 300
REMOVED_MS = 1_500
"""After this a node that was removed is turned off, if it is at all."""


@dataclass(slots=True)
class Task:
    """`host` is to vote, or not to."""

    host: Host
    wanted: bool
    number: int


class Operator:
    """Runs in the world, in no process. `hosts` are those that belong to the cluster; it takes out and puts in."""

    def __init__(self, cluster: Cluster, hosts: list[Host], electorate: Electorate) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._hosts = hosts
        self._electorate = electorate
        self._chance = cluster.world.random("operator")
        self._is_hasty = self._chance.happens(0.5)
        self._tasks: list[Task] = []
        self._resting_until_ns = 0
        self._until_ns = 0
        self._number = 0
        self.done = 0

    @property
    def is_busy(self) -> bool:
        """Whether something that was begun has not come to its end."""
        return bool(self._tasks)

    def schedule(self, until_ms: int) -> None:
        """Begin changes until then; what is begun is ended later."""
        self._until_ns = until_ms * NS_PER_MS
        self._world.after(FIRST_MS * NS_PER_MS, self._turn)

    def _turn(self) -> None:
        for task in [*self._tasks]:
            self._advance(task)
        now_ns = self._world.now_ns
        if len(self._tasks) < (2 if self._is_hasty else 1) and self._resting_until_ns <= now_ns < self._until_ns:
            self._begin()
            self._resting_until_ns = now_ns + self._chance.choice(PAUSE_MS) * NS_PER_MS
        self._tell()
        self._world.after(self._chance.randint(*ASK_MS) * NS_PER_MS, self._turn)

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        busy = {task.host.name for task in self._tasks}
        idle = [host for host in self._hosts if host.name not in busy]
        removable = idle if len(self._hosts) - len(self._tasks) > VOTERS_MIN else []
        kinds: list[Callable[[], None]] = []
        if len(self._hosts) < MEMBERS_MAX:
            kinds.append(self._add)
        if removable:
            host = self._chance.choice(removable)
            kinds.append(partial(self._remove, host))
            if self._can_lose(host):
                kinds.append(partial(self._replace, host))
        if kinds:
            self._chance.choice(kinds)()

    def _can_lose(self, lost: Host) -> bool:
        """Whether those who vote are a majority without the disk, and will be, whatever is under way."""
        voters = self._electorate.newest.disks
        left = [host for host in self._hosts if host.is_voter(voters) and host is not lost and not host.is_retired]
        return len(left) * 2 > len(voters) + len(self._tasks)

    def _add(self, name: str | None = None) -> None:
        taken = {host.name for host in self._hosts}
        self._await_vote(self._start(name or self._chance.choice([each for each in NAMES if each not in taken])))

    def _start(self, name: str) -> Host:
        """A node with an empty folder, in the place of who had the name."""
        former = self._cluster.hosts.get(name)
        if former is not None:
            former.retire()
        host = Host(self._cluster, name, generation=1 if former is None else former.generation + 1)
        self._hosts[:] = [*(each for each in self._hosts if each.name != name), host]
        host.told = tuple(each.name for each in self._hosts)
        self._cluster.hosts[name] = host
        self._world.note(f"operator starts {name} with the disk {host.disk_id}")
        host.start()
        return host

    def _await_vote(self, host: Host) -> None:
        self._tasks.append(Task(host, wanted=True, number=self._next_number()))

    def _remove(self, host: Host) -> None:
        self._world.note(f"operator removes {host.name}")
        self._tasks.append(Task(host, wanted=False, number=self._next_number()))

    def _replace(self, host: Host) -> None:
        """Its disk is gone. Some do not wait until it is removed before they start it with another."""
        self._world.note(f"operator replaces {host.name}: its disk {host.disk_id} is lost")
        host.retire()
        self._tasks.append(Task(host, wanted=False, number=self._next_number()))
        if self._chance.happens(0.5):
            self._start(host.name)

    # --- until it is so ---------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _advance(self, task: Task) -> None:
        host = task.host
        votes = host.is_voter(self._electorate.newest.disks)
        if votes is not task.wanted:
            self._ask(task)
            return
        self._world.note(f"operator has {host.name} {'vote' if votes else 'gone'}")
        self._tasks.remove(task)
        self.done += 1
        if task.wanted:
            return
        successor = self._cluster.hosts[host.name]
        if successor is not host:
            self._await_vote(successor)
            return
        self._hosts.remove(host)
        if host.is_retired:
            if self._chance.happens(0.8):
                self._add(host.name)
        elif self._chance.happens(0.5):
            self._world.after(REMOVED_MS * NS_PER_MS, host.retire)

    def _ask(self, task: Task) -> None:
        """Whoever believes to lead."""
        for leader in self._hosts:
            life = leader.life
            if life is None or leader.is_paused or life.role is not Role.LEADER:
                continue
            self._ask_at(leader, life, task)

    def _ask_at(self, leader: Host, life: Life, task: Task) -> None:
        host = task.host
        if task.wanted:
            life.main.loop.start(life.change(AddVoter(host.name, host.disk_id)))
        elif leader is host:
            life.main.loop.start(life.hand_over())
        else:
            life.main.loop.start(life.change(RemoveVoter(host.name)))

    def _tell(self) -> None:
        """Everybody who is up, sooner or later, who the members are."""
        names = tuple(host.name for host in self._hosts)
        for host in self._hosts:
            if host.is_up and host.told != names:
                self._world.after(self._chance.randrange(TELL_MS_MAX) * NS_PER_MS, partial(host.tell, names))
