"""Random histories of a journal on a disk that loses power, and what may be found afterwards.

The judge knows nothing of files: it keeps the log as it was after every record that was put. What is found after a crash
must be the log after one of those records, and after none that comes before the last one reported durable.
"""

import contextlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from garbagetruck.chaos.simulator.disk import PowerLoss, SimulatedDisk
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.segments import Owner, Site

ROOT = Path("/node")
FOLDER = ROOT / "journal"
OWNER = Owner("cluster", "disk")
SEGMENT_BYTES = 6_000
OPERATIONS = 25
PAYLOAD_BYTES = (0, 1, 40, 400, 1_500, 4_000)


def site_on(disk: SimulatedDisk, *, segment_bytes: int = SEGMENT_BYTES, owner: Owner = OWNER, seed: int = 0) -> Site:
    chance = random.Random(seed)
    disk.make_folder(ROOT)
    return Site(disk, FOLDER, owner, segment_bytes, lambda: chance.randbytes(16))


@dataclass(frozen=True)
class State:
    """The log after one record."""

    entries: tuple[tuple[bytes, int, int], ...]
    """From index 1 on, compacted or not."""
    term: int = 0
    vote: str | None = None


@dataclass
class Judge:
    """What was put, what was reported durable."""

    states: list[State] = field(default_factory=lambda: [State(())])
    durable: int = 0
    compacted_to: int = 0
    snapshot: State | None = None
    """What a durable snapshot holds: the log must begin with its last two entries."""

    @property
    def now(self) -> State:
        return self.states[-1]

    def expect_alignment(self, snapshot: State) -> None:
        """A log that did not reach the snapshot is the snapshot now, with whatever term and vote were left."""
        index = len(snapshot.entries)
        for each in self.states[self.durable :]:
            if each.entries[index - 1 : index] != snapshot.entries[-1:]:
                self.states.append(State(snapshot.entries, each.term, each.vote))

    def check(self, journal: Journal) -> None:
        """Is what was recovered a log that may be left? Then it is the log from now on."""
        term, vote = journal.getCurrentTerm(), journal.getVotedForNodeId()
        kept = {index: (command, index, entry_term) for command, index, entry_term in journal[:]}
        first = min(kept, default=journal.last_index + 1)
        assert first <= self.compacted_to + 1, f"begins with entry {first}, compacted to {self.compacted_to}"
        for state in reversed(self.states[self.durable :]):
            if (len(state.entries), state.term, state.vote) == (journal.last_index, term, vote) and all(
                kept[each[1]] == each for each in state.entries[first - 1 :]
            ):
                self.states, self.durable = [state] * (1 + journal.writer.put_count), 0
                return
        raise AssertionError(
            f"found {journal.last_index} entries, term {term}, vote {vote}; promised {self.states[self.durable]}"
        )


class History:
    """One node's life on one disk, as one seed has it."""

    def __init__(self, disk: SimulatedDisk, chance: random.Random, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.disk = disk
        self.site = site_on(disk, segment_bytes=segment_bytes, seed=chance.getrandbits(32))
        self._chance = chance
        self.judge = Judge()
        self.journal = Journal(self.site)

    def start(self) -> None:
        """Open what the crash left, and judge it. Raises PowerLoss."""
        self.journal = Journal(self.site)
        snapshot = self.judge.snapshot
        self.journal.open(snapshot_index=len(snapshot.entries) if snapshot else self.judge.compacted_to)
        if snapshot is not None:
            self.journal.align(*snapshot.entries[-2:])
            self.judge.expect_alignment(snapshot)
        self.judge.check(self.journal)

    def live(self, operations: int) -> None:
        """Raises PowerLoss."""
        for _ in range(operations):
            self._do_something()

    def settle(self) -> None:
        """Make everything durable."""
        self.journal.wait_durable()
        self._report()

    def _do_something(self) -> None:
        act = self._chance.choices(
            (self._append, self._cut, self._vote, self._commit, self._compact, self._install, self._write),
            weights=(6, 1, 1, 2, 0.7, 0.3, 4),
        )[0]
        act()

    def _append(self) -> None:
        journal, judge = self.journal, self.judge
        for _ in range(self._chance.randint(1, 4)):
            term = self._chance.randint(judge.now.entries[-1][2] if judge.now.entries else 0, judge.now.term)
            command = self._chance.randbytes(self._chance.choice(PAYLOAD_BYTES))
            journal.add(command, journal.last_index + 1, term)
            entry = (command, journal.last_index, term)
            judge.states.append(State((*judge.now.entries, entry), judge.now.term, judge.now.vote))

    def _cut(self) -> None:
        journal, judge = self.journal, self.judge
        lowest = max(journal.getRaftCommitIndex(), judge.compacted_to, self.committed) + 1
        if lowest <= journal.last_index:
            index = self._chance.randint(lowest, journal.last_index)
            journal.deleteEntriesFrom(index - journal[0][1])
            judge.states.append(State(judge.now.entries[: index - 1], judge.now.term, judge.now.vote))

    def _vote(self) -> None:
        now = self.judge.now
        term = now.term + self._chance.choice((0, 1, 1, 3))
        vote = self._chance.choice((None, "n1", "n2", "n3"))
        if term == now.term and now.vote is not None:
            return
        self.journal.setCurrentTerm(term, vote)
        self.judge.states.append(State(now.entries, term, vote))

    @property
    def committed(self) -> int:
        return self.journal._metadata.commit_index

    def _commit(self) -> None:
        if self.journal.durable_index > self.committed:
            self.journal.setRaftCommitIndex(self._chance.randint(self.committed, self.journal.durable_index))
        before = self.journal.writer.put_count
        self.journal.onOneSecondTimer()
        self.judge.states += [self.judge.now] * (self.journal.writer.put_count - before)

    def _compact(self) -> None:
        """A snapshot of what is committed has become durable."""
        journal = self.journal
        upper = min(self.committed, journal.durable_index)
        if len(journal) and upper - 1 > journal[0][1]:
            index = self._chance.randint(journal[0][1], upper - 2)
            now = self.judge.now
            self.judge.snapshot = State(now.entries[: index + 2], now.term, now.vote)
            self.judge.compacted_to = max(self.judge.compacted_to, index)
            journal.deleteEntriesTo(index - journal[0][1] + 1)

    def _install(self) -> None:
        """A snapshot of the leader's has become durable here, which goes past the end of this log."""
        self.settle()
        journal, judge = self.journal, self.judge
        now, term = judge.now, self._chance.randint(0, judge.now.term)
        if now.entries and now.entries[-1][2] > term:
            return
        missing = range(journal.last_index + 1, journal.last_index + self._chance.randint(3, 30))
        snapshot = State((*now.entries, *((b"", index, term) for index in missing)), now.term, now.vote)
        judge.snapshot, judge.compacted_to = snapshot, len(snapshot.entries) - 2
        before = journal.writer.put_count
        journal.align(*snapshot.entries[-2:])
        judge.states += [snapshot] * (journal.writer.put_count - before)

    def _write(self) -> None:
        self.journal.writer.write_waiting()
        self._report()

    def _report(self) -> None:
        self.journal.advance()
        self.judge.durable = self.journal._seen_durable
        assert self.journal.durable_index <= self.journal.last_index
        snapshot_index = len(self.judge.snapshot.entries) if self.judge.snapshot else 0
        for index in range(snapshot_index + 1, self.journal.durable_index + 1):
            assert self.judge.states[self.judge.durable].entries[index - 1] == self.judge.now.entries[index - 1]


def crash(history: History, chance: random.Random) -> None:
    """Power is lost, or only the process dies; then it is opened again, and perhaps power is lost in that, too."""
    while True:
        if chance.random() < 0.2:
            history.disk.kill()
        else:
            history.disk.lose_power()
        if chance.random() < 0.3:
            history.disk.lose_power_at = history.disk.steps + chance.randint(1, 6)
        try:
            history.start()
        except PowerLoss:
            continue
        if chance.random() < 0.2:
            continue  # and power is lost before anything was written again
        history.disk.lose_power_at = None
        return


def lives(seed: int, *, lose_power_at: int | None, lies_about: frozenset[str] = frozenset(), count: int = 3) -> History:
    """A node's lives, each ended by a crash: the first at the given operation of the disk, the others by chance."""
    chance = random.Random(seed)
    disk = SimulatedDisk(random.Random(chance.getrandbits(32)), sector_bytes=chance.choice((512, 4_096)))
    disk.lies_about = lies_about
    history = History(disk, chance)
    disk.lose_power_at = lose_power_at
    with contextlib.suppress(PowerLoss):
        history.start()
        history.live(OPERATIONS)
    for _ in range(count - 1):
        crash(history, chance)
        disk.lose_power_at = disk.steps + chance.randint(1, 60)
        with contextlib.suppress(PowerLoss):
            history.live(OPERATIONS)
    crash(history, chance)
    return history


def explore(seeds: Iterable[int], *, lies_about: frozenset[str] = frozenset()) -> int:
    """For every seed, crash its history at every operation of the disk that it comes to; how many lives that were."""
    runs = 0
    for seed in seeds:
        steps = lives(seed, lose_power_at=None, count=1).disk.steps
        for lose_power_at in range(1, steps + 1):
            try:
                lives(seed, lose_power_at=lose_power_at, lies_about=lies_about)
            except BaseException:
                print(f"seed {seed}, power lost at operation {lose_power_at}")
                raise
            runs += 1
    return runs
