"""All that a replica does about snapshots on its Raft thread, put together.

Duty: make the parts and join them; run their jobs in the background, and bring the results back to the Raft thread.

Invariants: what a job raises ends the node. Threads: the Raft thread, but for `store` and what is marked otherwise.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

from garbagetruck.cluster.raft.cursor import Cursor
from garbagetruck.cluster.raft.disk import Disk
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.snapshots.catching_up import CatchingUp, Speaker
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader, last_entries
from garbagetruck.cluster.raft.snapshots.opening import open_log
from garbagetruck.cluster.raft.snapshots.port import Beginning, Restored, Snapshots
from garbagetruck.cluster.raft.snapshots.receiving import Receiver
from garbagetruck.cluster.raft.snapshots.sending import Sender
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.snapshots.taking import Taking
from garbagetruck.cluster.raft.voters import Voters

_NS_PER_MS = 1_000_000
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Around:
    """What snapshots are taken among. `call_in` runs something on the Raft thread, from any; `on_bug` ends the node."""

    identity: Identity
    settings: RaftSettings
    disk: Disk
    folder: Path
    refusals: Refusals
    monotonic_ns: Callable[[], int]
    random: Random
    call_in: Callable[[Callable[[], None]], None]
    on_bug: Callable[[BaseException], None]
    ask_for_snapshot: Callable[[], None]
    """Tells the main loop that one is due."""
    restore: Callable[[Restored], None]
    """Tells the main loop to go on from a state."""


class SnapshotWork:
    """Without `snapshots`, as for a log that nothing stands behind, none is ever taken."""

    def __init__(self, around: Around, snapshots: Snapshots | None) -> None:
        self._around = around
        self._snapshots = snapshots
        self.store = SnapshotStore(around.disk, around.folder, cluster_id=around.identity.cluster_id)
        self._beginning: Beginning | None = None
        self._taking: Taking | None = None
        self._catching_up: CatchingUp | None = None
        self.cursor = Cursor(around.call_in)

    @property
    def catching_up(self) -> CatchingUp:
        assert self._catching_up is not None
        return self._catching_up

    def open_log(self, journal: Journal, voters: Voters) -> None:
        """Open snapshots and journal, before pysyncobj is made, and go on with a snapshot's `voters`.

        Raises StorageRefused and DiskFailed.
        """
        self._beginning = beginning = open_log(self.store, journal, self._decode)
        if beginning is not None:
            voters.go_on(beginning.header.index, beginning.header.voters)
            self._around.restore(beginning.restored)

    def join(self, consensus: Consensus, speaker: Speaker, journal: Journal) -> None:
        """Begin with what `open_log` found. Before the first tick."""
        around = self._around
        if self._beginning is not None:
            consensus.compaction.go_on_from(*last_entries(self._beginning.header))
            self._beginning = None
        self._taking = taking = Taking(
            identity=around.identity,
            settings=around.settings,
            store=self.store,
            journal=journal,
            compaction=consensus.compaction,
            voters=consensus.voters,
            random=around.random,
            monotonic_ns=around.monotonic_ns,
            begin=around.ask_for_snapshot,
        )
        self.cursor.join(journal, taking, lambda: consensus.applied_index, lambda: self.store.newest)
        sender = Sender(
            store=self.store,
            background=self.background,
            say=speaker.say,
            covers=lambda index, term: journal.term_at(index) == term,
            offer_interval_ns=around.settings.heartbeat_ms * _NS_PER_MS,
            monotonic_ns=around.monotonic_ns,
        )
        self._catching_up = CatchingUp(
            consensus=consensus,
            speaker=speaker,
            journal=journal,
            store=self.store,
            sender=sender,
            refusals=around.refusals,
            on_restored=around.restore,
            on_unfit=taking.want,
        )
        self._catching_up.attach(
            Receiver(
                store=self.store,
                background=self.background,
                decode=self._decode,
                refusals=around.refusals,
                on_ready=self._catching_up.on_ready,
            )
        )

    def turn(self, applied_index: int) -> None:
        """To be called in every turn."""
        if self._snapshots is not None and self._taking is not None:
            self._taking.turn(applied_index)

    def describe(self, index: int) -> "Future[SnapshotHeader | None]":
        """The header of a snapshot of the state behind `index`; None when there cannot be one. On any thread."""
        answer: Future[SnapshotHeader | None] = Future()

        def describe() -> None:
            assert self._taking is not None
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._taking.describe(index))
            else:
                self._taking.dropped()  # who asked has gone: the node is being stopped

        self._around.call_in(describe)
        return answer

    def ended(self, header: SnapshotHeader | None) -> None:
        """A snapshot that was asked for is durable; or, with None, nothing came of it. On any thread."""

        def note() -> None:
            assert self._taking is not None
            if header is None:
                self._taking.dropped()
            else:
                self._taking.taken(header)

        self._around.call_in(note)

    def background(self, job: Callable[[], ResultT], done: Callable[[ResultT], None], /) -> None:
        """Have `job` done off the Raft thread, and `done` called with its result on it."""
        assert self._snapshots is not None, "a log without a machine behind it has no snapshots"
        future = self._snapshots.executor.submit(job)

        def finish() -> None:
            try:
                done(future.result())
            except BaseException as error:  # noqa: BLE001  # ends the node
                self._around.on_bug(error)

        future.add_done_callback(lambda _: self._around.call_in(finish))

    def _decode(self, chunks: Iterator[bytes]) -> object:
        assert self._snapshots is not None, "there is a snapshot, and no machine to restore"
        return self._snapshots.machine.decode(chunks)
