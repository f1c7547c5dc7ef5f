"""What is stored, in the words of the field, with its bounds.

Invariants: records are immutable. An index and a term mean something only within one incarnation of one cluster.
Must not know: how any backend keeps them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""The largest chunk of a snapshot."""
ENTRY_BYTES_MAX = 8 * 1024 * 1024
"""The largest payload of one entry: well above the largest proposal."""
RUN_ENTRIES_MAX = 10_000
"""Entries in one append."""
RUN_BYTES_MAX = 16 * 1024 * 1024
"""Payload in one append."""
NAME_LENGTH_MAX = 64
INTEGER_MAX = 2**63 - 1

_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def is_name(text: str) -> bool:
    """1 to 64 letters, digits, `.`, `_`, `-`: what cluster, node, incarnation and snapshot ids are made of."""
    return len(text) <= NAME_LENGTH_MAX and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a cluster: the number orders them, the id tells apart two that claim the same number.

    All nodes of one life give the same id; a restore draws a new one at random.
    """

    number: int
    """From 1; each restore makes a higher one."""
    id: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """An incarnation that somebody has reserved."""

    incarnation: Incarnation
    reserved_by: str
    """For people: who, where."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes to the archive: the leader of one term of one incarnation. Raft gives a term one leader at most."""

    incarnation: Incarnation
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHeader:
    """What a snapshot is of. All of it is the writer's word; the storage compares it and gives it back."""

    snapshot_id: str
    """A name drawn at random: never used twice."""
    incarnation: Incarnation
    node_id: str
    """Who took it. A node writes one at a time."""
    index: int
    """The last entry that was applied."""
    term: int
    """Its term."""
    clock_ms: int
    """Cluster time then."""
    format: int
    """Of what the chunks hold."""
    digest: str
    """The machine's own, as text of at most 64 letters and digits; it is for whoever decodes the chunks to check."""
    taken_at_ms: int
    """By the wall clock of the node that took it: for people, and for retention by age."""


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A whole snapshot."""

    header: SnapshotHeader
    chunks: int
    size_bytes: int

    @property
    def age_key(self) -> tuple[int, int, str]:
        """Ascends with how far a snapshot goes."""
        return self.header.incarnation.number, self.header.index, self.header.snapshot_id


@dataclass(frozen=True, slots=True)
class ArchivedEntry:
    """One committed entry of the log. Raft's own entries are among them, with no payload, so that indexes have no gap."""

    index: int
    term: int
    payload: bytes
    archived_at_ms: int
    """By the wall clock of the leader that archived it: for people, who restore to a time."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the archive without a gap. An empty one has `last_index == first_index - 1`."""

    first_index: int
    last_index: int
    last_term: int
    """The term of the last entry; 0 before there was one."""

    @property
    def next_index(self) -> int:
        return self.last_index + 1


@dataclass(frozen=True, slots=True)
class Activity:
    """Whether a cluster writes: equal marks mean that nothing was written in between. No clock is in it."""

    mark: str
    written_at_ms: int | None
    """The wall clock of whoever wrote to the archive last, for people; None when nobody did."""


def check_header(header: SnapshotHeader) -> None:
    """A header out of bounds is a bug of whoever made it."""
    names = header.snapshot_id, header.incarnation.id, header.node_id, header.digest
    assert all(is_name(name) for name in names), f"{names} are to be names"
    numbers = header.index, header.term, header.clock_ms, header.format, header.taken_at_ms
    assert all(0 <= number <= INTEGER_MAX for number in numbers), f"{numbers} are out of bounds"


def check_run(writer: Writer, entries: Sequence[ArchivedEntry]) -> None:
    """Entries that do not make one run, or are out of bounds, are a bug of whoever appends them."""
    assert 0 < len(entries) <= RUN_ENTRIES_MAX, f"a run of {len(entries)} entries"
    assert sum(len(entry.payload) for entry in entries) <= RUN_BYTES_MAX, "a run has too many bytes"
    term = 0
    for index, entry in enumerate(entries, start=entries[0].index):
        assert entry.index == index >= 1, f"entry {entry.index} at the place of {index}"
        assert term <= entry.term <= writer.term, f"entry {index} of term {entry.term} after {term}, by {writer.term}"
        assert len(entry.payload) <= ENTRY_BYTES_MAX, f"entry {index} is too large"
        term = entry.term
