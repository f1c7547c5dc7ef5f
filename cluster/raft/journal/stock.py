"""The log on disk: pysyncobj's own file journal, watched.

Duty: refuse what pysyncobj's `FileJournal` would swallow. It keeps every entry in memory as well as in the file, never
removes a prefix, and does not sync: it survives the death of the process, not the loss of power. About 40 bytes and
the payload are added for each entry; at `JOURNAL_BYTES_MAX` the node refuses to go on.

Invariants, each of which ends the process when it breaks, before anything is changed: entries follow each other
without a gap and with terms that never fall; a committed entry is never removed; the commit index that is read back
lies within the log; a term and a vote, once given, are not forgotten.

Threads: opened and used on the Raft thread only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pysyncobj.journal
from pysyncobj.journal import FileJournal

from garbagetruck.cluster.raft.errors import JournalDamaged, JournalFull, LogDiverged

JOURNAL_BYTES_MAX = 2**32 - 2**20
"""The file's own offsets have 32 bits."""

_HEADER_BYTES = 40
_RECORD_BYTES = 24
"""What the file format adds to each command."""


class Journal(FileJournal):  # type: ignore[misc]  # pysyncobj is published without annotations
    """Opened by its constructor, as pysyncobj's is. Raises JournalDamaged, and OSError."""

    def __init__(self, path: Path) -> None:
        vote = _VoteFile(str(path) + ".meta")
        vote.getMeta()
        try:
            super().__init__(str(path))
        except Exception as error:  # it meets damage with whatever the damage happens to cause
            raise JournalDamaged(path, str(error)) from error
        self._bytes = _HEADER_BYTES + sum(_RECORD_BYTES + len(command) for command, _, _ in self[:])
        try:
            self._check(path, vote)
        except JournalDamaged:
            super()._destroy()
            raise

    def _check(self, path: Path, vote: "_VoteFile") -> None:
        if len(self) > 1 and not vote.path.exists():
            raise JournalDamaged(vote.path, "it is missing, and with it the vote that this node may have given")
        previous_index, previous_term = 0, 0
        for _, index, term in self[:]:
            if index != previous_index + 1 or term < previous_term:
                raise JournalDamaged(
                    path, f"entry {index} of term {term} follows entry {previous_index} of term {previous_term}"
                )
            previous_index, previous_term = index, term

    @property
    def size_bytes(self) -> int:
        """What has been written to the file; about as much again is held in memory."""
        return self._bytes

    @property
    def last_index(self) -> int:
        return int(self[-1][1]) if len(self) else 0

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; None when there is none."""
        return int(self[index - 1][2]) if 0 < index <= len(self) else None

    def add(self, command: bytes, idx: int, term: int) -> None:
        if idx != self.last_index + 1 or term < (self.term_at(self.last_index) or 0):
            raise LogDiverged(f"entry {idx} of term {term} cannot follow entry {self.last_index}")
        record_bytes = _RECORD_BYTES + len(command)
        if self._bytes + record_bytes > JOURNAL_BYTES_MAX:
            raise JournalFull(JOURNAL_BYTES_MAX)
        self._bytes += record_bytes
        super().add(command, idx, term)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803  # pysyncobj's names
        index = entryFrom + 1
        if index <= self.getRaftCommitIndex():
            raise LogDiverged(f"entry {index} is committed (up to {self.getRaftCommitIndex()}) and would be removed")
        self._bytes -= sum(_RECORD_BYTES + len(command) for command, _, _ in self[entryFrom:])
        super().deleteEntriesFrom(entryFrom)

    def getRaftCommitIndex(self) -> int:  # noqa: N802  # pysyncobj's name
        """Never past the end of the log (a stored one can be: the file and its commit index are written apart)."""
        return max(1, min(int(super().getRaftCommitIndex()), self.last_index))

    def close(self) -> None:
        self.onOneSecondTimer()  # stores the commit index, so that a clean restart applies everything at once
        super()._destroy()

    def _destroy(self) -> None:
        self.close()


class AlreadyDurable:
    """The `Durability` of a log that does not sync: everything that was written counts as durable."""

    metadata_durable = True

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def durable_index(self) -> int:
        return self._journal.last_index

    def when_durable(self, callback: Callable[[], None]) -> None:
        callback()


class _VoteFile:
    """The term, the vote and the commit index, beside the journal. Stands for pysyncobj's `MetaStorer`.

    That one reads a damaged file as term 0 without a vote, with which the node could vote twice in one term.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def getMeta(self) -> dict[str, Any]:  # noqa: N802  # pysyncobj's name
        """What was stored last; nothing when nothing ever was. Raises JournalDamaged."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise JournalDamaged(self.path, str(error)) from error

    def storeMeta(self, meta: dict[str, Any]) -> None:  # noqa: N802  # pysyncobj's name
        """Whole or not at all, should the process be killed meanwhile."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_bytes(msgspec.json.encode(meta))
        temporary.replace(self.path)


pysyncobj.journal.MetaStorer = _VoteFile
