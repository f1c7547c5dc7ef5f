"""Mutants of what a disk keeps: the journal, and snapshots (I2, hazards 2 to 7, 18 and 19)."""

from pathlib import Path
from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, in_raft, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.chaos.simulator.disk import SimulatedFile
from garbagetruck.cluster.raft import compaction, cursor, founding, peers, transport
from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.journal import recovery, segments
from garbagetruck.cluster.raft.journal.format import Kind, Metadata, Record
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.scan import Remainder
from garbagetruck.cluster.raft.journal.segments import Segments
from garbagetruck.cluster.raft.snapshots import format as snapshot_format
from garbagetruck.cluster.raft.snapshots.catching_up import CatchingUp
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.receiving import Receiver
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, name_of
from garbagetruck.cluster.raft.snapshots.taking import Taking

A_SEGMENT_OF_ENTRIES = 1_000


@mutant(
    guard="hazard 4: the journal is synced",
    breaks="I2",
    catcher=in_raft("power_of_many", "power", names="damaged", seeds=30),
)
def the_journal_does_not_sync(patch: Patch) -> None:
    """What is reported durable is in the kernel's memory only."""
    original = SimulatedFile._sync

    def sync(self: SimulatedFile, operation: str) -> None:
        if self.path.parent.name != "journal":
            original(self, operation)

    patch.setattr(SimulatedFile, "_sync", sync)


@mutant(
    guard="hazard 4: what is read is written again",
    breaks="I2",
    catcher=in_raft("disk_error", "power", "power_of_many", names="damaged", seeds=30),
)
def what_a_failed_sync_left_in_memory_is_believed(patch: Patch) -> None:
    """The node starts again on the same machine, finds what was never durable, and only then power is lost."""

    def cut(found: Any, end: Any, *_: Any) -> None:
        found.file.truncate(end.offset)
        found.file.sync_all()

    patch.setattr(recovery, "_cut", cut)


@mutant(
    guard="hazard 4: torn is told from damaged",
    breaks="I2",
    catcher=by_test(
        "unit/raft/journal/test_damage.py::test_flipped_bits_are_refused_unless_they_lie_in_the_last_write_of_all"
    ),
)
def damage_is_taken_for_a_torn_end(patch: Patch) -> None:
    """A journal with a damaged record in its middle is cut off there, and served."""
    patch.setattr(recovery, "look_behind", lambda *_: Remainder(is_empty=False, later_mark=None))


@mutant(
    guard="hazard 4: a vote outlives its segment",
    breaks="I2",
    catcher=by_test("unit/raft/journal/test_power_loss.py::test_i2_nothing_reported_durable_is_lost_wherever_power_is"),
)
def a_vote_goes_with_its_segment(patch: Patch) -> None:
    """A segment is deleted with the only record of the term and the vote."""
    patch.setattr(segments, "carried", lambda _metadata: Metadata().to_record())


@mutant(
    guard="hazard 4: a term and a vote, once given",
    breaks="I2",
    catcher=by_test("unit/raft/journal/test_log.py::test_a_term_and_a_vote_are_not_taken_back"),
)
def a_vote_may_be_given_twice(patch: Patch) -> None:
    """The journal takes another vote in the same term."""

    def set_current_term(self: Journal, term: int, vote: str | None) -> None:
        self._put_metadata(Metadata(term, vote, self._metadata.commit_index))

    patch.setattr(Journal, "setCurrentTerm", set_current_term)


@mutant(
    guard="hazard 2: what follows a snapshot stays",
    breaks="I2",
    catcher=by_test(
        "unit/raft/snapshots/test_compaction.py::test_hazard_2_pysyncobj_cannot_empty_a_log_that_was_not_aligned",
        "unit/raft/snapshots/test_compaction.py::test_hazard_2_what_follows_a_snapshot_stays_when_pysyncobj_loads_it",
    ),
)
def a_snapshot_empties_the_log(patch: Patch) -> None:
    """The journal is cleared when pysyncobj loads a snapshot, whatever follows it."""

    def clear(self: Journal) -> None:
        self.writer.put(Record(int(Kind.RESET), 1, 0))
        self._entries, self._next_index, self._previous_term, self._putting_back = [], 1, 0, None

    patch.setattr(Journal, "clear", clear)


@mutant(
    guard="hazard 2: the log goes when its snapshot is durable",
    breaks="I2",
    catcher=by_test(
        "unit/raft/snapshots/test_power_loss.py::test_i2_nothing_acknowledged_is_lost_wherever_power_is_lost"
    ),
)
def the_log_goes_before_its_snapshot_is_durable(patch: Patch) -> None:
    """The journal is compacted as soon as a snapshot is begun."""
    original = Taking.describe

    def describe(self: Taking, index: int) -> SnapshotHeader | None:
        header = original(self, index)
        if header is not None:
            self._journal.writer._segments._roll()  # so that there is a segment to delete
            self._journal.deleteEntriesTo(index - 1 - self._journal[0][1])
            self._journal.writer.write_waiting()
        return header

    patch.setattr(Taking, "describe", describe)


@mutant(
    guard="hazard 3: whole segments, and only those that a snapshot holds",
    breaks="I2",
    catcher=by_test("unit/raft/journal/test_log.py::test_compaction_deletes_whole_segments_and_forgets_no_vote"),
)
def compaction_takes_a_segment_too_many(patch: Patch) -> None:
    """A segment is deleted that has entries which no snapshot holds."""
    original = Segments.delete_below
    patch.setattr(Segments, "delete_below", lambda self, index: original(self, index + A_SEGMENT_OF_ENTRIES))


@mutant(
    guard="hazard 5: the commit index within what is durable",
    breaks="I2",
    catcher=by_test("unit/raft/journal/test_log.py::test_a_commit_index_past_what_is_durable_is_not_told"),
)
def a_commit_index_passes_the_journals_end(patch: Patch) -> None:
    """A node that starts takes for committed what its journal does not have."""
    patch.setattr(Journal, "getRaftCommitIndex", lambda self: max(1, self._metadata.commit_index))


@mutant(
    guard="hazard 6: a snapshot is verified before it is begun with",
    breaks="I3",
    catcher=by_test("unit/raft/snapshots/test_store.py::test_hazard_6_a_damaged_snapshot_is_refused"),
)
def a_damaged_snapshot_is_believed(patch: Patch) -> None:
    """Whatever a snapshot's bytes are by now, their checksums fit."""
    patch.setattr(snapshot_format, "crc32", lambda data, before=0: 0)


@mutant(
    guard="hazard 7: durable before it is acknowledged",
    breaks="I2",
    catcher=by_test(
        "unit/raft/snapshots/test_power_loss.py::test_i2_nothing_acknowledged_is_lost_wherever_power_is_lost"
    ),
)
def a_snapshot_is_acknowledged_before_it_is_durable(patch: Patch) -> None:
    """A snapshot that was received is installed and acknowledged before it has its name."""

    def adopt(self: SnapshotStore, header: SnapshotHeader, _unfinished: Path) -> bool:
        self._newest, self._previous = header, self._newest
        return True

    patch.setattr(SnapshotStore, "adopt", adopt)


@mutant(
    guard="hazard 18: never an older one",
    breaks="I3",
    catcher=by_test(
        "unit/raft/snapshots/test_store.py::test_hazard_18_one_that_was_under_way_when_a_newer_came_is_given_up"
    ),
)
def an_older_snapshot_takes_a_newer_ones_place(patch: Patch) -> None:
    """A snapshot that took long to come is the newest, whatever was taken meanwhile."""

    def adopt(self: SnapshotStore, header: SnapshotHeader, unfinished: Path) -> bool:
        self._disk.rename(unfinished, self._folder / name_of(header))
        self._newest, self._previous = header, self._newest
        return True

    patch.setattr(SnapshotStore, "adopt", adopt)


@mutant(
    guard="hazard 18: parts carry an id and an offset",
    breaks="I3",
    catcher=by_test(
        "unit/raft/snapshots/test_receiving.py::test_hazard_18_parts_of_another_snapshot_or_another_place_are_refused"
    ),
)
def parts_of_two_snapshots_are_mixed(patch: Patch) -> None:
    """A part is written wherever the last one ended, whatever it is a part of."""
    original = Receiver.take

    def take(self: Receiver, peer_id: str, chunk: Any, on_written: Any) -> None:
        incoming = self._incoming
        if incoming is not None:
            where = {"snapshot_id": incoming.offer.snapshot_id, "offset": incoming.received}
            chunk = type(chunk)(chunk.term, checksum=chunk.checksum, content=chunk.content, **where)
        original(self, peer_id, chunk, on_written)

    patch.setattr(Receiver, "take", take)


@mutant(
    guard="hazard 18: nothing behind what was applied",
    breaks="I3",
    catcher=by_test(
        "unit/raft/snapshots/test_receiving.py::test_what_was_applied_while_a_snapshot_came_is_not_rolled_back"
    ),
)
def a_snapshot_rolls_back_what_was_applied(patch: Patch) -> None:
    """A snapshot is installed though the node has applied more by then."""

    def install(self: CatchingUp) -> None:
        beginning, self._ready = self._ready, None
        if beginning is not None:
            self._on_restored(beginning.restored)

    patch.setattr(CatchingUp, "_install", install)


@mutant(
    guard="hazard 19: pysyncobj writes no snapshots",
    breaks="I8",
    catcher=by_test("unit/raft/snapshots/test_compaction.py::test_hazard_19_it_is_busy_but_once_for_each_snapshot"),
)
def pysyncobj_serialises_by_itself(patch: Patch) -> None:
    """The serializer says that it is idle, so that pysyncobj forks beside threads."""
    states: Any = vars(compaction)["SERIALIZER_STATE"]
    patch.setattr(Compaction, "checkSerializing", lambda self: (states.NOT_SERIALIZING, None))


@mutant(
    guard="hazard 4: checksums of the small files",
    breaks="I3",
    catcher=by_test(
        "unit/raft/test_small_files.py::test_a_flipped_bit_anywhere_is_refused_by_the_files_name_or_changes_nothing"
    ),
)
def what_a_small_file_says_is_believed(patch: Patch) -> None:
    """A byte that has rotted names another founder, or another disk of a peer."""
    for module in (founding, peers):
        patch.setattr(module, "verify", lambda _path, _content, _checksum: None)


@mutant(
    guard="archive: what stands for another entry is none",
    breaks="I3",
    catcher=by_test("unit/raft/snapshots/test_keeping.py::test_an_entry_that_stands_for_what_a_snapshot_holds_is_gone"),
)
def what_stands_for_an_entry_is_archived(patch: Patch) -> None:
    """A node that began with a snapshot archives nothing in the place of its last entries."""
    patch.setattr(cursor, "is_hollow", lambda _entry, _previous_term: False)


@mutant(
    guard="snapshots: what stands for another entry is sent to nobody",
    breaks="I3",
    catcher=by_test(
        "unit/raft/test_hollow_entries.py::test_i3_whoever_has_all_but_the_snapshots_last_entry_gets_the_snapshot"
    ),
)
def what_stands_for_an_entry_is_sent(patch: Patch) -> None:
    """A leader that began with a snapshot sends nothing in the place of its last entry."""
    patch.setattr(transport, "begins_hollow", lambda _message: False)
