"""The log of one node: what pysyncobj reads and writes, in memory and, through the writer, on disk.

Duty: be the journal that pysyncobj 0.3.17 expects (`pysyncobj.journal.Journal`), and the `Durability` of whoever speaks
for this node. About 150 bytes and the payload are held in memory for each entry that was not compacted away.

Invariants, each of which ends the process when it breaks, before anything is changed: entries follow each other without
a gap and with terms that never fall; a committed entry is never removed; a term and a vote, once given, are not
forgotten. The commit index that is read back lies within what is durable (hazard 5), and not before the last but one change
of the voters (hazard 17).

Threads: the Raft thread only.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, overload

from garbagetruck.cluster.raft.errors import JournalDamaged, LogDiverged
from garbagetruck.cluster.raft.journal.format import Kind, Metadata, Record
from garbagetruck.cluster.raft.journal.recovery import recover
from garbagetruck.cluster.raft.journal.replay import LogTuple
from garbagetruck.cluster.raft.journal.segments import Segments, Site
from garbagetruck.cluster.raft.journal.writer import JournalWriter, ThreadFactory
from garbagetruck.cluster.raft.wire import MEMBERSHIP

_MEMBERSHIP = bytes([MEMBERSHIP])

FREE_BYTES_ALARM = 512 * 1024 * 1024
"""The default for the least free space: below it new leases are refused, so that renewals still find room."""


class Journal:
    """Open it, start it, use it, close it. `open` reads everything; nothing else reads the disk."""

    def __init__(
        self,
        site: Site,
        *,
        on_progress: Callable[[], None] = lambda: None,
        free_bytes_alarm: int = FREE_BYTES_ALARM,
    ) -> None:
        self._site = site
        self._on_progress = on_progress
        self._free_bytes_alarm = free_bytes_alarm
        self._entries: list[LogTuple] = []
        self._next_index = 1
        self._previous_term = 0
        """Term of the entry before the first; needed when there is none."""
        self._metadata = Metadata()
        self._stored_commit_index = 0
        self._metadata_number = self._vows_number = 0
        self._durable_index = 0
        self._undurable: deque[tuple[int, int]] = deque()
        """(number of the record, index) of entries that are not durable yet."""
        self._callbacks: deque[tuple[int, Callable[[], None]]] = deque()
        self._seen_durable = 0
        self._changes: list[int] = []
        """Indexes of the entries that change the voters, as far as the log goes back."""
        self._writer: JournalWriter | None = None
        self._closed = False
        self._putting_back: deque[LogTuple] | None = None
        """What pysyncobj will add again, having cleared the log for a snapshot that the log is aligned to."""
        self.payload_bytes = 0
        """Of all entries after the snapshot that were ever added; it never falls."""

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self, *, snapshot_index: int = 0, keep_from: int | None = None) -> None:
        """Read the journal, or begin one. With a durable snapshot up to `snapshot_index`, `align` is due next.

        Entries from `keep_from` on are held in memory, by default from the one before the snapshot's last. Raises StorageRefused when it must not be served, and DiskFailed.
        """
        recovered = recover(self._site, keep_from=max(1, snapshot_index - 1) if keep_from is None else keep_from)
        replay, tip = recovered.replay, recovered.replay.tip
        segments = Segments(self._site, tip=tip, sealed=recovered.sealed, active=recovered.active)
        try:
            if replay.first_index > snapshot_index + 1:
                raise JournalDamaged(  # noqa: TRY301
                    self._site.folder,
                    f"it begins with entry {replay.first_index}, and what comes before is "
                    + (f"in no snapshot after entry {snapshot_index}" if snapshot_index else "in no snapshot"),
                )
        except BaseException:
            segments.close()
            raise
        self._entries, self._next_index = replay.entries, tip.next_index
        self.payload_bytes = sum(len(command) for command, index, _ in replay.entries if index > snapshot_index)
        self._previous_term = replay.base_term
        self._changes = [index for command, index, _ in replay.entries if command[:1] == _MEMBERSHIP]
        self._metadata = tip.metadata.knowing_of(self._changes)
        self._stored_commit_index = tip.metadata.commit_index
        self._durable_index = tip.next_index - 1
        self._writer = JournalWriter(segments, on_progress=self._on_progress)

    def align(self, previous: LogTuple, last: LogTuple, *, keep_from: int | None = None) -> None:
        """Have the log hold the last two entries of a snapshot that is durable (hazard 2), and begin with them.

        With `keep_from` it begins there, as far as it goes back. Entries that follow `last` stay: they may have been acknowledged. A log without `last` cannot be continued, and
        `previous` and `last` take its place; what they held is in the snapshot, so their commands do not matter. If
        this is interrupted, it is due again at the next start.
        """
        _, index, term = last
        assert previous[1] == index - 1
        commit_index = max(self._metadata.commit_index, index)
        if self.term_at(index) == term:
            if self.term_at(index - 1) is None:
                self._entries.insert(0, previous)
            self._metadata = Metadata(self._metadata.term, self._metadata.vote, commit_index)
            first_index = index - 1 if keep_from is None else min(keep_from, index - 1)
            self.deleteEntriesTo(first_index - self._entries[0][1])
            return
        if index <= self._metadata.commit_index and self.last_index >= index:
            raise LogDiverged(f"the snapshot's last entry, {index} of term {term}, contradicts a committed one")
        if term > self._metadata.term:
            # The vote of a term that was forgotten never left this node.
            self._put_metadata(Metadata(term, None, commit_index))
        else:
            self._metadata = Metadata(self._metadata.term, self._metadata.vote, commit_index)
        self.writer.put(Record(int(Kind.RESET), index - 1, 0))
        self._entries, self._next_index, self._previous_term = [], index - 1, 0
        self._changes.clear()
        self._undurable.clear()
        self.add(*previous)
        self.add(*last)
        self._undurable.clear()
        self._durable_index = index  # in the snapshot
        self.writer.delete_below(index - 1)

    def expect_reload(self, previous: LogTuple, last: LogTuple) -> None:
        """Have it that pysyncobj is about to load the snapshot that the log is aligned to: it will `clear`, and `add` these two.

        The log has them, and entries around them that pysyncobj must not take away.
        """
        assert (self.term_at(previous[1]), self.term_at(last[1])) == (previous[2], last[2])
        self._putting_back = deque((previous, last))

    def start(self, thread_factory: ThreadFactory, name: str) -> None:
        """Write on a thread of the journal's own from now on. Without it, `writer.write_waiting` is to be called."""
        self.writer.start(thread_factory, name)

    def close(self) -> None:
        """Store the commit index, make everything durable, let go of the disk. Raises DiskFailed. Idempotent."""
        if self._writer is None or self._closed:
            return
        self._closed = True
        try:
            if self._writer.failure is None:
                self.onOneSecondTimer()
        finally:
            self._writer.stop()

    @property
    def writer(self) -> JournalWriter:
        assert self._writer is not None, "the journal was not opened"
        return self._writer

    # --- what is asked of the log -----------------------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        return self._next_index - 1

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; None when there is none."""
        at = index - (self._next_index - len(self._entries))
        return self._entries[at][2] if 0 <= at < len(self._entries) else None

    def changes_after(self, index: int) -> list[tuple[int, bytes]]:
        """(index, command) of the entries after `index` that change the voters."""
        changes = self._changes
        if not changes or changes[-1] <= index:
            return []
        return [(each, self.entry_at(each)[0]) for each in changes if each > index]

    def entry_at(self, index: int) -> LogTuple:
        """The entry at `index`, which the log holds."""
        return self._entries[index - (self._next_index - len(self._entries))]

    @property
    def size_bytes(self) -> int:
        """What the journal takes on disk, room reserved ahead aside."""
        return self.writer.size_bytes

    @property
    def is_space_low(self) -> bool:
        """Whether the disk has less room than it should; measured every second, and false before."""
        free_bytes = self.writer.free_bytes
        return free_bytes is not None and free_bytes < self._free_bytes_alarm

    # --- Durability -------------------------------------------------------------------------------------------------

    @property
    def durable_index(self) -> int:
        return self._durable_index

    @property
    def vows_durable(self) -> bool:
        return self._vows_number <= self._seen_durable

    @property
    def metadata_durable(self) -> bool:
        return self._metadata_number <= self._seen_durable

    def when_durable(self, callback: Callable[[], None]) -> None:
        if self._seen_durable >= self.writer.put_count:
            callback()
        else:
            self._callbacks.append((self.writer.put_count, callback))

    def advance(self) -> None:
        """Take note of what has become durable, and call back who waited for it. Raises DiskFailed.

        To be called between pysyncobj's ticks, soon after each `on_progress`.
        """
        self.writer.raise_failure()
        self._seen_durable = durable = self.writer.durable
        while self._undurable and self._undurable[0][0] <= durable:
            self._durable_index = self._undurable.popleft()[1]
        while self._callbacks and self._callbacks[0][0] <= durable:
            self._callbacks.popleft()[1]()

    def wait_durable(self) -> None:
        """Wait for the disk; for a node that has no peers to wait for. Raises DiskFailed."""
        self.writer.wait_durable(self.writer.put_count)
        self.advance()

    # --- pysyncobj's journal ----------------------------------------------------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        if self._putting_back is not None:
            assert (idx, term) == self._putting_back.popleft()[1:], "pysyncobj loads another snapshot than expected"
            self._putting_back = self._putting_back or None
            return
        former_term = self._entries[-1][2] if self._entries else self._previous_term
        if idx != self._next_index or not former_term <= term <= self._metadata.term:
            raise LogDiverged(
                f"entry {idx} of term {term} cannot follow entry {self.last_index} of term {former_term}, "
                f"in term {self._metadata.term}"
            )
        number = self.writer.put(Record(int(Kind.ENTRY), idx, term, command))
        self._entries.append((command, idx, term))
        self._next_index += 1
        self.payload_bytes += len(command)
        self._undurable.append((number, idx))
        if command[:1] == _MEMBERSHIP:
            self._changes.append(idx)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803  # pysyncobj's names
        """Remove the entries from position `entryFrom` on."""
        if entryFrom >= len(self._entries):
            return
        index = self._entries[entryFrom][1]
        if index <= self._metadata.commit_index:
            raise LogDiverged(f"entry {index} is committed (up to {self._metadata.commit_index}) and would be removed")
        previous_term = self._entries[entryFrom - 1][2] if entryFrom else self._previous_term
        self.writer.put(Record(int(Kind.TRUNCATE), index, previous_term))
        del self._entries[entryFrom:]
        self._next_index = index
        while self._undurable and self._undurable[-1][1] >= index:
            self._undurable.pop()
        while self._changes and self._changes[-1] >= index:
            self._changes.pop()
        self._durable_index = min(self._durable_index, index - 1)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803  # pysyncobj's names
        """Forget the entries before position `entryTo`, which a durable snapshot holds."""
        if not 0 < entryTo <= len(self._entries):
            return
        _, index, self._previous_term = self._entries[entryTo - 1]
        if index > self._metadata.commit_index:
            raise LogDiverged(f"entry {index} is not known to be committed, and would be compacted away")
        del self._entries[:entryTo]
        while self._changes and self._changes[0] <= index:
            del self._changes[0]
        self.writer.delete_below(index + 1)

    def clear(self) -> None:
        """Only a snapshot may take the place of the log, and comes with its last entries: see `align`."""
        if self._putting_back is not None:
            return
        raise LogDiverged("the log would be emptied without a snapshot in its place")

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, item: int) -> LogTuple: ...
    @overload
    def __getitem__(self, item: slice) -> list[LogTuple]: ...
    def __getitem__(self, item: Any) -> Any:
        return self._entries[item]

    def getCurrentTerm(self) -> int:  # noqa: N802  # pysyncobj's name
        return self._metadata.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802  # pysyncobj's name
        return self._metadata.vote

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803  # pysyncobj's names
        former = self._metadata
        if term < former.term or (term == former.term and former.vote not in (None, votedForNodeId)):
            raise LogDiverged(
                f"a vote for {votedForNodeId} in term {term} contradicts one for {former.vote} in term {former.term}"
            )
        self._put_metadata(Metadata(term, votedForNodeId, former.commit_index))

    def getRaftCommitIndex(self) -> int:  # noqa: N802  # pysyncobj's name
        """Never past what is durable, and at least 1, which is in every log."""
        return max(1, min(self._metadata.commit_index, self._durable_index))

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803  # pysyncobj's names
        """Stored with the next term, or the next second: it is a hint, which the leader will give again."""
        if raftCommitIndex != self._metadata.commit_index:
            self._metadata = Metadata(self._metadata.term, self._metadata.vote, raftCommitIndex)

    def store_commit_index(self) -> None:
        """Store it now: a change of the voters was applied, and this node shall not go back to those before."""
        if self._metadata.commit_index != self._stored_commit_index:
            self._put_metadata(self._metadata)

    def onOneSecondTimer(self) -> None:  # noqa: N802  # pysyncobj's name
        self.store_commit_index()
        self.writer.measure_space()

    def flush(self) -> None:
        """Nothing: what must be durable is waited for, and the rest is under way."""

    def _destroy(self) -> None:
        self.close()

    def _put_metadata(self, metadata: Metadata) -> None:
        self._metadata_number = self.writer.put(metadata.to_record())
        if (metadata.term, metadata.vote) != (self._metadata.term, self._metadata.vote):
            self._vows_number = self._metadata_number
        self._metadata = metadata
        self._stored_commit_index = metadata.commit_index
