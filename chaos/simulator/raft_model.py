"""A small Raft: enough of the protocol to give nodes a replicated log with everything that can happen to one.

Duty: elections, replication, commitment by majority, loss of what was not committed, confirmation rounds, all with
messages that are delayed and lost, and a disk that takes its time (Ongaro and Ousterhout, 2014, figure 2).
Invariants: as the protocol has them; `History` checks them from outside.
Must not know: what entries mean, how the node's loop hears of them (`log`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.raft_messages import (
    Append,
    Appended,
    LogEntry,
    Message,
    RequestVote,
    StandNow,
    Stray,
    Vote,
)
from garbagetruck.chaos.simulator.world import NS_PER_MS, Process, World

HEARTBEAT_MS = 80
ELECTION_MS = (500, 1_000)
FALLBACK_MS = 500
TICK_MS = 20
ENTRIES_PER_MESSAGE_MAX = 64


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    term: int = 0
    voted_for: str | None = None
    entries: list[LogEntry] = field(default_factory=list)
    delay_ms: float = 0.2
    stalled: bool = False


class History:
    """The one history, as seen from outside: what any node has committed, all must."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.entries: list[LogEntry] = []

    def committed(self, node: str, index: int, entry: LogEntry) -> None:
        if index <= len(self.entries):
            if self.entries[index - 1] != entry:
                self._world.fail(f"the model's own log: {node} committed another entry at {index}")
        else:
            assert index == len(self.entries) + 1
            self.entries.append(entry)


class RaftNode:
    """One node's Raft, on a thread of its own: it goes on while the node's loop is stalled, and stops with the process.

    `forwards` makes it break a promise as pysyncobj does: what it cannot append any more, it forwards to the next leader
    (DESIGN section 6, 16). `on_change` is called after anything that the node may want to know of.
    """

    def __init__(
        self,
        *,
        world: World,
        process: Process,
        network: Network,
        disk: Disk,
        history: History,
        peers: "dict[str, RaftNode]",
        forwards: bool,
    ) -> None:
        self.name = process.name
        self.disk = disk
        self.role = "follower"
        self.leader: str | None = None
        self.commit_index = 0
        self.on_change: Callable[[], None] = lambda: None
        self.on_confirmed: Callable[[int, int, int], None] = lambda *_: None
        self._world = world
        self._process = process
        self._network = network
        self._history = history
        self._peers = peers
        self._forwards = forwards
        self._random = world.random(f"raft-{process.name}-{world.now_ns}")
        self._durable = len(disk.entries)
        self._votes: set[str] = set()
        self._next: dict[str, int] = {}
        self._match: dict[str, int] = {}
        self._heard_ns: dict[str, int] = {}
        self._probe = 0
        self._probes: dict[int, tuple[int, set[str]]] = {}
        self._last_heartbeat_ns = 0
        self._deadline_ns = 0
        self._rest()
        process.post(self._random.randrange(TICK_MS) * NS_PER_MS, self._tick)

    # -- what the node asks -----------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        return self.disk.term

    @property
    def last_index(self) -> int:
        return len(self.disk.entries)

    def propose(self, payload: bytes, term: int) -> None:
        if self.role == "leader" and self.term == term:
            self._append((term, payload))
            self._broadcast()
        elif self._forwards and self.leader not in (None, self.name):
            assert self.leader is not None
            self._send(self.leader, Stray(0, payload))

    def confirm(self) -> int | None:
        """Begin a round; its number, or None when this node does not lead."""
        if self.role != "leader":
            return None
        self._probe += 1
        self._probes[self._probe] = (self.commit_index, {self.name})
        self._broadcast()
        return self._probe

    def transfer(self, to: str) -> None:
        if self.role == "leader":
            self._send(to, StandNow(self.term))

    def reached(self, peer: str) -> int:
        """How far a peer's log is known to go."""
        return self._match.get(peer, 0)

    def crash(self) -> None:
        """What was not durable is gone."""
        del self.disk.entries[self._durable :]

    # -- time -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_ns = self._world.now_ns
        if self.role == "leader":
            heard = sum(1 for at_ns in self._heard_ns.values() if now_ns - at_ns <= FALLBACK_MS * NS_PER_MS)
            if (heard + 1) * 2 <= len(self._peers):
                self._follow(self.term, None)
            elif now_ns - self._last_heartbeat_ns >= HEARTBEAT_MS * NS_PER_MS:
                self._broadcast()
        elif now_ns >= self._deadline_ns:
            self._stand(transfer=False)
        self._process.post(TICK_MS * NS_PER_MS, self._tick)

    def _rest(self) -> None:
        low, high = ELECTION_MS
        self._deadline_ns = self._world.now_ns + self._random.randint(low, high) * NS_PER_MS

    def _stand(self, *, transfer: bool) -> None:
        self.role, self.leader = "candidate", None
        self.disk.term += 1
        self.disk.voted_for = self.name
        self._votes = {self.name}
        self._rest()
        last_term = self.disk.entries[-1][0] if self.disk.entries else 0
        for peer in self._others():
            self._send(peer, RequestVote(self.term, self.name, self.last_index, last_term, transfer))
        self._count_votes()
        self.on_change()

    def _follow(self, term: int, leader: str | None) -> None:
        if term > self.disk.term:
            self.disk.term, self.disk.voted_for = term, None
        self.role, self.leader = "follower", leader
        self._probes.clear()
        self._rest()
        self.on_change()

    def _count_votes(self) -> None:
        if self.role == "candidate" and len(self._votes) * 2 > len(self._peers):
            self.role, self.leader = "leader", self.name
            self._next = dict.fromkeys(self._others(), self.last_index + 1)
            self._match = dict.fromkeys(self._others(), 0)
            self._heard_ns = dict.fromkeys(self._others(), self._world.now_ns)
            self._append((self.term, None))
            self._broadcast()
            self._world.note(f"raft {self.name} leads term {self.term}")
            self.on_change()

    # -- messages ---------------------------------------------------------------------------------------------

    def _others(self) -> list[str]:
        return [name for name in self._peers if name != self.name]

    def _send(self, to: str, message: Message) -> None:
        peer = self._peers[to]
        self._network.send(self.name, peer._process, lambda: peer.receive(message))  # noqa: SLF001 - its own kind

    def receive(self, message: Message) -> None:
        if message.term > self.term:
            self._follow(message.term, None)
        match message:
            case RequestVote():
                self._on_request_vote(message)
            case Vote(term=term, voter=voter):
                if term == self.term:
                    self._votes.add(voter)
                    self._count_votes()
            case Append():
                self._on_append(message)
            case Appended():
                self._on_appended(message)
            case StandNow(term=term):
                if term == self.term and self.role == "follower":
                    self._stand(transfer=True)
            case Stray(payload=payload):
                if self.role == "leader":
                    self._append((self.term, payload))

    def _on_request_vote(self, message: RequestVote) -> None:
        last_term = self.disk.entries[-1][0] if self.disk.entries else 0
        current = (message.last_term, message.last_index) >= (last_term, self.last_index)
        free = self.disk.voted_for in (None, message.candidate)
        if message.term == self.term and current and free and self.role == "follower":
            self.disk.voted_for = message.candidate
            self._rest()
            term = self.term
            self._when_durable(lambda: self._send(message.candidate, Vote(term, self.name)))

    def _on_append(self, message: Append) -> None:
        if message.term < self.term:
            self._send(message.leader, Appended(self.term, self.name, False, 0, 0))
            return
        if self.role != "follower" or self.leader != message.leader:
            self._follow(message.term, message.leader)
        self._rest()
        entries, start = self.disk.entries, message.previous_index
        if start > len(entries) or (start and entries[start - 1][0] != message.previous_term):
            reached = min(len(entries), max(0, start - 1))
            self._send(message.leader, Appended(self.term, self.name, False, reached, message.probe))
            return
        for offset, entry in enumerate(message.entries):
            index = start + offset
            if index < len(entries) and entries[index] != entry:
                del entries[index:]
                self._durable = min(self._durable, index)
            if index >= len(entries):
                entries.append(entry)
        match_index = start + len(message.entries)
        term, probe, commit_index = self.term, message.probe, min(message.commit_index, match_index)
        echo = Appended(term, self.name, True, min(match_index, self._durable), probe)
        self._send(message.leader, echo)  # a heartbeat is answered at once, however slow the disk is
        if match_index > self._durable:
            self._when_durable(lambda: self._acknowledge(message.leader, term, match_index))
        self._commit(commit_index)

    def _acknowledge(self, leader: str, term: int, match_index: int) -> None:
        if self.term == term and self.role == "follower":
            self._send(leader, Appended(term, self.name, True, match_index, 0))

    def _on_appended(self, message: Appended) -> None:
        if self.role != "leader" or message.term != self.term:
            return
        self._heard_ns[message.follower] = self._world.now_ns
        self._count_echo(message)
        if message.success:
            self._match[message.follower] = max(self._match[message.follower], message.match_index)
            self._next[message.follower] = max(self._next[message.follower], message.match_index + 1)
            self._advance()
            if self._next[message.follower] <= self.last_index:
                self._send_entries(message.follower)
        else:
            self._next[message.follower] = max(1, min(self._next[message.follower] - 1, message.match_index + 1))
            self._send_entries(message.follower)

    def _count_echo(self, message: Appended) -> None:
        for probe in [number for number in self._probes if number <= message.probe]:
            commit_index, echoed = self._probes[probe]
            echoed.add(message.follower)
            if len(echoed) * 2 > len(self._peers):
                del self._probes[probe]
                self.on_confirmed(probe, self.term, commit_index)

    # -- the log ----------------------------------------------------------------------------------------------

    def _append(self, entry: LogEntry) -> None:
        self.disk.entries.append(entry)
        self._when_durable(self._advance)

    def _broadcast(self) -> None:
        self._last_heartbeat_ns = self._world.now_ns
        for peer in self._others():
            self._send_entries(peer)

    def _send_entries(self, peer: str) -> None:
        start = self._next[peer] - 1
        entries = tuple(self.disk.entries[start : start + ENTRIES_PER_MESSAGE_MAX])
        previous_term = self.disk.entries[start - 1][0] if start else 0
        self._next[peer] = max(self._next[peer], start + len(entries) + 1)
        self._send(peer, Append(self.term, self.name, start, previous_term, entries, self.commit_index, self._probe))

    def _advance(self) -> None:
        if self.role != "leader":
            return
        reached = sorted([self._durable, *self._match.values()], reverse=True)[len(self._peers) // 2]
        if reached > self.commit_index and self.disk.entries[reached - 1][0] == self.term:
            self._commit(reached)

    def _commit(self, index: int) -> None:
        if index <= self.commit_index:
            return
        for number in range(self.commit_index + 1, index + 1):
            self._history.committed(self.name, number, self.disk.entries[number - 1])
        self.commit_index = index
        self.on_change()

    def _when_durable(self, action: Callable[[], None]) -> None:
        """Write everything up to here, in order, then do something."""
        upto = len(self.disk.entries)
        last_term = self.disk.entries[-1][0] if upto else 0

        def written() -> None:
            if self.disk.stalled:
                self._process.post(10 * NS_PER_MS, written)
                return
            same = upto <= len(self.disk.entries) and (not upto or self.disk.entries[upto - 1][0] == last_term)
            if same:
                self._durable = max(self._durable, upto)
                action()

        self._process.post(int(self.disk.delay_ms * NS_PER_MS), written)
