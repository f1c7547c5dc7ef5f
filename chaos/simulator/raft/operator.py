"""Who adds, removes and replaces nodes while everything else goes wrong.

Duty: what an operator does, and the leader's driver for it: start a node with an empty folder, have the log tell everybody, ask
whoever leads until it votes; ask until one votes no more, then have that told and turn it off, or let it run on; lose a disk for
good, and have its node come back under the same name with another one. Nobody is told who the members are but by the log; who
follows no leader learns from those that it is connected with, and from the operator when nobody is left who could call it.

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
from garbagetruck.cluster.raft.log import AddVoter, RemoveVoter, Role, SealVoters

NAMES = ("n1", "n2", "n3", "n4", "n5", "n6", "n7")
VOTERS_MIN, MEMBERS_MAX = 2, 6
FIRST_MS = 1_200
PAUSE_MS = (1, 1, 200, 1_200)
ASK_MS = (20, 200)
REMOVED_MS = 1_500
"""After this a node that was removed is turned off, if it is at all."""


@dataclass(slots=True)
class Task:
    """`host` is to vote, or not to."""

    host: Host
    wanted: bool
    number: int
    is_sealed: bool = False
    """Whether the change may be relied upon: nobody counts votes by what was so before."""


class Operator:
    """Runs in the world, in no process. `hosts` are those that belong to the cluster; it takes out and puts in."""

    def __init__(self, cluster: Cluster, hosts: list[Host], electorate: Electorate, *, corrupts: bool = False) -> None:
        """`corrupts`: disks give back other bytes than were written, now and then."""
        self._corrupts = corrupts
        self._suspects: list[Host] = []
        """Whose disks were damaged, and who may have to be replaced."""
        self.corrupted = 0
        self._lost_founder: Host | None = None
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
        return bool(self._tasks or self._suspects)

    def schedule(self, until_ms: int) -> None:
        """Begin changes until then; what is begun is ended later."""
        self._until_ns = until_ms * NS_PER_MS
        self._world.after(FIRST_MS * NS_PER_MS, self._turn)

    def _turn(self) -> None:
        for host in [*self._suspects]:
            self._look_after(host)
        for task in [*self._tasks]:
            self._advance(task)
        now_ns = self._world.now_ns
        under_way = len(self._tasks) + len(self._suspects)
        if under_way < (2 if self._is_hasty else 1) and self._resting_until_ns <= now_ns < self._until_ns:
            self._begin()
            self._resting_until_ns = now_ns + self._chance.choice(PAUSE_MS) * NS_PER_MS
        self._tell()
        self._world.after(self._chance.randint(*ASK_MS) * NS_PER_MS, self._turn)

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        busy = {*(task.host.name for task in self._tasks), *(host.name for host in self._suspects)}
        idle = [host for host in self._hosts if host.name not in busy]
        going = len(self._tasks) + len(self._suspects)  # a suspect may have to go, and one of two cannot do that alone
        removable = idle if len(self._hosts) - going > VOTERS_MIN else []
        kinds: list[Callable[[], None]] = []
        if len(self._hosts) < MEMBERS_MAX:
            kinds.append(self._add)
        if removable:
            host = self._chance.choice(removable)
            kinds.append(partial(self._remove, host))
            if self._can_lose(host):
                kinds.append(partial(self._replace, host))
                kinds += [partial(self._corrupt, host)] * 3 * self._corrupts
        if kinds:
            self._chance.choice(kinds)()

    def _can_lose(self, lost: Host) -> bool:
        """Whether those who vote are a majority without the disk, and will be, whatever is under way."""
        voters = self._electorate.newest.disks
        left = [host for host in self._hosts if host.is_voter(voters) and host is not lost and not host.is_retired]
        return len(left) * 2 > len(voters) + len(self._tasks) + len(self._suspects)

    def _add(self, name: str | None = None) -> None:
        taken = {host.name for host in self._hosts}
        self._await_vote(self._start(name or self._chance.choice([each for each in NAMES if each not in taken])))

    def _start(self, name: str) -> Host:
        """A node with an empty folder, in the place of who had the name."""
        former = self._cluster.hosts.get(name)
        if former is not None:
            former.retire()
        host = Host(self._cluster, name, generation=1 if former is None else former.generation + 1)
        self._put_in_place(host)
        return host

    def _put_in_place(self, host: Host) -> None:
        name = host.name
        self._hosts[:] = [*(each for each in self._hosts if each.name != name), host]
        host.told = tuple(each.name for each in self._hosts)
        host.told_index = self._cluster.oracle.applied_max
        self._cluster.hosts[name] = host
        self._world.note(f"operator starts {name} with the disk {host.disk_id}")
        host.start()

    def _await_vote(self, host: Host) -> None:
        self._tasks.append(Task(host, wanted=True, number=self._next_number()))

    def _remove(self, host: Host) -> None:
        self._world.note(f"operator removes {host.name}")
        self._tasks.append(Task(host, wanted=False, number=self._next_number()))

    def _replace(self, host: Host) -> None:
        """Its disk is gone. Some do not wait until it is removed before they start it with another."""
        self._lose(host)
        if self._chance.happens(0.5):
            self._start(host.name)

    def rest_until(self, at_ms: int) -> None:
        """Begin nothing of its own before that."""
        self._resting_until_ns = at_ms * NS_PER_MS

    def replace_at_once(self, host: Host) -> None:
        """Its disk is gone, and it is started with another before anybody could be asked to remove it."""
        self._lose(host)
        self._start(host.name)

    def _corrupt(self, host: Host) -> None:
        """Its disk gives back another byte than was written. What the node makes of that it says when it starts again."""
        host.corrupt()
        if host.damage is not None:
            self.corrupted += 1
            self._suspects.append(host)
        host.start()

    def _look_after(self, host: Host) -> None:
        if host.refuses and host.is_founded_again:
            self._suspects.remove(host)
            assert self._lost_founder is not None
            self._start(host.name)
            self._tasks.append(Task(self._lost_founder, wanted=False, number=self._next_number()))
        elif host.refuses:
            self._suspects.remove(host)
            self._replace(host)
        elif host.is_founded_again:
            host.start()
        elif host.damage is None:
            self._suspects.remove(host)  # it did without what was damaged
        elif host.life is None:
            host.start()

    def bootstrap_again(self, lost: Host) -> None:
        """Its disk is gone, and its node is made a founder once more; it is replaced as it should be once it has ended."""
        self._world.note(f"operator bootstraps {lost.name} again: its disk {lost.disk_id} is lost")
        lost.retire()
        host = Host(self._cluster, lost.name, generation=lost.generation + 1, founders=lost.founders)
        self._put_in_place(host)
        self._lost_founder = lost
        self._suspects.append(host)

    def _lose(self, host: Host) -> None:
        self._world.note(f"operator replaces {host.name}: its disk {host.disk_id} is lost")
        host.retire()
        self._tasks.append(Task(host, wanted=False, number=self._next_number()))

    # --- until it is so ---------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _advance(self, task: Task) -> None:
        host = task.host
        votes = host.is_voter(self._electorate.newest.disks)
        if votes is not task.wanted or not self._is_settled(task):
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

    def _is_settled(self, task: Task) -> bool:
        """Who votes is as wanted: whether that may be relied upon."""
        return task.is_sealed

    def _ask(self, task: Task) -> None:
        """Whoever believes to lead."""
        for leader in self._hosts:
            life = leader.life
            if life is None or leader.is_paused or life.role is not Role.LEADER:
                continue
            self._ask_at(leader, life, task)

    def _ask_at(self, leader: Host, life: Life, task: Task) -> None:
        host = task.host
        if host.is_voter(self._electorate.newest.disks) is task.wanted:
            life.main.loop.start(life.change(SealVoters(), partial(setattr, task, "is_sealed", True)))
        elif task.wanted:
            life.main.loop.start(life.change(AddVoter(host.name, host.disk_id)))
        elif leader is host:
            life.main.loop.start(life.hand_over())
        else:
            life.main.loop.start(life.change(RemoveVoter(host.name)))

    def _tell(self) -> None:
        """The log, who the members are, whenever that is news to whoever leads; and who follows nobody, what others know."""
        names = tuple(sorted(host.name for host in self._hosts))
        for host in self._hosts:
            life = host.life
            if life is None or host.is_paused:
                continue
            if life.role is Role.LEADER and life.checksums.members != names:
                life.main.post(0, partial(life.main.loop.call_soon, life.propose_members, names))
            elif life.replica.status.leader is None:
                self._help(host, life.replica.status.connected)

    def _help(self, host: Host, connected: frozenset[str]) -> None:
        for other in self._hosts:
            if other.name in connected and other.is_up:
                host.hear(other.told)
        if not connected and not any(each.is_up and each.name > host.name for each in self._hosts):
            host.hear(tuple(each.name for each in self._hosts))
