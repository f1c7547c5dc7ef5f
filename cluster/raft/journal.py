"""The log on disk: pysyncobj's own file journal, watched.

Duty: refuse what pysyncobj's `FileJournal` would swallow. It keeps every entry in memory as well as in the file, never
removes a prefix, and does not sync: it survives the death of the process, not the loss of power. About 40 bytes and
the payload are added for each entry; at `JOURNAL_BYTES_MAX` the node refuses to go on.

Invariants, each of which ends the process when it breaks, before anything is changed: entries follow each other
without a gap and with terms that never fall; a committed entry is never removed; the commit index that is read back
lies within the log; a term and a vote, once given, are not forgotten.

Threads: opened and used on the Raft thread only.
"""

import io
import pickle
from pathlib import Path
from typing import Any

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
        meta_path = path.with_name(path.name + ".meta")
        meta = _read_meta(meta_path)
        try:
            super().__init__(str(path))
        except Exception as error:  # it meets damage with whatever the damage happens to cause
            raise JournalDamaged(path, str(error)) from error
        self._bytes = _HEADER_BYTES + sum(_RECORD_BYTES + len(command) for command, _, _ in self[:])
        if meta is None and len(self) > 1:
            raise JournalDamaged(meta_path, "it is missing, and with it the vote that this node may have given")
        self._check(path)

    def _check(self, path: Path) -> None:
        previous_index, previous_term = 0, 0
        for _, index, term in self[:]:
            if index != previous_index + 1 or term < previous_term:
                raise JournalDamaged(
                    path, f"entry {index} of term {term} follows entry {previous_index} of term {previous_term}"
                )
            previous_index, previous_term = index, term

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


def _read_meta(path: Path) -> dict[str, Any] | None:
    """The stored term, vote and commit index; None when nothing was ever stored.

    pysyncobj reads a damaged file as term 0 without a vote, with which the node could vote twice in one term.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        meta = _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # damaged bytes raise nearly anything
        raise JournalDamaged(path, str(error)) from error
    if not isinstance(meta, dict):
        raise JournalDamaged(path, "it holds no term and no vote")
    return meta


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings and dicts; constructs nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # type: ignore[explicit-override]  # 3.12 has it
        raise pickle.UnpicklingError(f"{module_name}.{global_name} does not belong here")
