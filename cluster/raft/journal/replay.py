"""The log that a stream of records makes, and whether each record can follow the one before.

Duty: one small state machine, fed by recovery and, record by record, by the writer, so that what will be read back is
what was meant.

Invariants: entries follow each other without a gap, with terms that never fall and never exceed the node's term; the
term never falls; a vote, once given in a term, stays.

Pure: no I/O.
"""

from garbagetruck.cluster.raft.journal.format import ENTRY, Kind, Metadata

LogTuple = tuple[bytes, int, int]
"""(command, index, term), in pysyncobj's own order."""


class Impossible(Exception):
    """A record that cannot follow what came before it."""


class Tip:
    """The end of the log and the metadata: what is needed to judge the next record, and to begin a segment."""

    def __init__(self, *, next_index: int = 1, previous_term: int = 0, metadata: Metadata | None = None) -> None:
        self.next_index = next_index
        self.previous_term = previous_term
        """Term of the entry before `next_index`; 0 when there is none."""
        self.metadata = metadata or Metadata()

    def apply(self, kind: int, index: int, term: int, payload: bytes) -> None:
        """Take the next record. Raises Impossible, and is as it was."""
        match kind:
            case Kind.ENTRY:
                if index != self.next_index or term < self.previous_term or term > self.metadata.term:
                    raise Impossible(
                        f"entry {index} of term {term} follows entry {self.next_index - 1} of term "
                        f"{self.previous_term}, in term {self.metadata.term}"
                    )
                self.next_index, self.previous_term = index + 1, term
            case Kind.METADATA:
                self.metadata = self._judge(index, term, payload)
            case Kind.TRUNCATE:
                if index > self.next_index or term > self.previous_term:
                    raise Impossible(f"a cut at entry {index} of a log that ends with entry {self.next_index - 1}")
                self.next_index, self.previous_term = index, term
            case Kind.RESET:
                self.next_index, self.previous_term = index, term
            case Kind.SEAL:
                pass
            case _:
                raise Impossible(f"a record of unknown kind {kind}")

    def _judge(self, commit_index: int, term: int, payload: bytes) -> Metadata:
        try:
            metadata = Metadata.from_record(commit_index, term, payload)
        except UnicodeDecodeError as error:
            raise Impossible(f"a vote that is no name: {error}") from error
        former = self.metadata
        if term < former.term or (term == former.term and former.vote not in (None, metadata.vote)):
            raise Impossible(
                f"a vote for {metadata.vote} in term {term} follows a vote for {former.vote} in term {former.term}"
            )
        return metadata


class Replay:
    """The whole log, with its entries, from its first record that is left."""

    def __init__(self, tip: Tip, keep_from: int) -> None:
        self.tip = tip
        self.keep_from = keep_from
        """Entries below are judged, and not kept."""
        self.entries: list[LogTuple] = []
        self.base_term = tip.previous_term
        """Term of the entry before the first that is kept."""
        self.highest_index = 0
        """At least as high as every entry since this was last set to 0, those cut off again included."""
        self.is_sealed = False
        """Whether the segment said that nothing follows in it."""

    @property
    def first_index(self) -> int:
        """Index of the first entry kept, or of the next when there is none."""
        return self.tip.next_index - len(self.entries)

    def apply(self, kind: int, index: int, term: int, payload: bytes) -> None:
        """Take the next record. Raises Impossible."""
        tip = self.tip
        if kind == ENTRY and index == tip.next_index and tip.previous_term <= term <= tip.metadata.term:
            tip.next_index, tip.previous_term = index + 1, term  # what `Tip.apply` does, without the call
            if index >= self.keep_from:
                self.entries.append((payload, index, term))
            else:
                self.base_term = term
            return
        self.note_highest()
        tip.apply(kind, index, term, payload)
        if kind == Kind.TRUNCATE and self.entries:
            del self.entries[max(0, index - self.entries[0][1]) :]
        elif kind == Kind.RESET:
            self.entries.clear()
        elif kind == Kind.SEAL:
            self.is_sealed = True
        if not self.entries:
            self.base_term = tip.previous_term

    def begin_segment(self, first_index: int) -> None:
        self.highest_index = first_index - 1
        self.is_sealed = False

    def note_highest(self) -> None:
        self.highest_index = max(self.highest_index, self.tip.next_index - 1)
