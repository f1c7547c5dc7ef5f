"""What can go wrong with storage: one root, and under it three kinds that call for different things.

- `StorageRefused`: the storage was asked, and said no. Nothing changed, and asking again gives the same answer.
- `StorageDamaged`: what was read is not what was written. Nothing of it may be used.
- `StorageFailed`: it could not be asked, or did not answer. **Whether a write happened is not known** until the storage
  has been asked again: `archive.resume` tells where the archive ends, `snapshots.whole` what is whole.

Must not know: any backend. No message here or made from these ever holds a password.
"""


class StorageError(Exception):
    """Root of everything that storage raises on purpose."""


# --- refused --------------------------------------------------------------------------------------------------------


class StorageRefused(StorageError):
    """The storage said no, and nothing changed. Root of those below."""


class Fenced(StorageRefused):
    """Whoever writes was deposed: a later term, or a later incarnation, has been here. It must stop writing.

    `incarnation` is the highest that is reserved, `term` the latest that wrote in the writer's own; either may be 0.
    """

    def __init__(self, reason: str, *, incarnation: int, term: int = 0) -> None:
        super().__init__(reason)
        self.incarnation = incarnation
        self.term = term


class IncarnationTaken(StorageRefused):
    """That incarnation, or a later one, is already reserved by somebody else. `highest` is the highest there is."""

    def __init__(self, number: int, highest: int) -> None:
        super().__init__(f"incarnation {number} cannot be reserved: {highest} is; take a higher one, or stop")
        self.number = number
        self.highest = highest


class ArchiveMoved(StorageRefused):
    """A run of entries does not follow what the archive holds. `next_index` is the one that would; None without a span."""

    def __init__(self, first_index: int, next_index: int | None) -> None:
        there = "has no span to follow" if next_index is None else f"goes on at {next_index}"
        super().__init__(f"entries from {first_index} on do not follow: the archive {there}")
        self.first_index = first_index
        self.next_index = next_index


class SpanUncovered(StorageRefused):
    """A span cannot begin there: no whole snapshot reaches up to it, or it would overlap what is there."""


class EntriesMissing(StorageRefused):
    """The archive does not hold the entry that was asked for: it was trimmed, skipped, or is yet to come."""

    def __init__(self, incarnation: int, index: int) -> None:
        super().__init__(f"the archive of incarnation {incarnation} does not hold entry {index}")
        self.incarnation = incarnation
        self.index = index


class SnapshotUnknown(StorageRefused):
    """There is no such snapshot, or none any more: it was never finished, or was deleted meanwhile."""

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"there is no snapshot {snapshot_id}, or none any more")
        self.snapshot_id = snapshot_id


class SnapshotTaken(StorageRefused):
    """A snapshot of that id was begun before. Ids are drawn at random: take another."""

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"snapshot {snapshot_id} was begun before; ids are used once")
        self.snapshot_id = snapshot_id


class StillWriting(StorageRefused):
    """The cluster wrote while it was watched: it lives, and must not be restored elsewhere beside itself."""


# --- damaged --------------------------------------------------------------------------------------------------------


class StorageDamaged(StorageError):
    """What was read is not what was written. Root of those below."""


class SnapshotDamaged(StorageDamaged):
    """`chunk` is the number of the first bad one, from 0; None when it is the whole that does not fit together."""

    def __init__(self, snapshot_id: str, reason: str, chunk: int | None = None) -> None:
        place = "" if chunk is None else f", chunk {chunk},"
        super().__init__(f"snapshot {snapshot_id}{place} is damaged: {reason}; restore from another one")
        self.snapshot_id = snapshot_id
        self.chunk = chunk


class ArchiveDamaged(StorageDamaged):
    """`index` is the first entry that is not what was written; everything before it is."""

    def __init__(self, incarnation: int, index: int, reason: str) -> None:
        super().__init__(f"the archive of incarnation {incarnation} is damaged at entry {index}: {reason}")
        self.incarnation = incarnation
        self.index = index


class RecordDamaged(StorageDamaged):
    """A record that describes snapshots or the archive cannot be read."""


# --- failed ---------------------------------------------------------------------------------------------------------


class StorageFailed(StorageError):
    """It could not be done now. Whether a write happened is not known. Root of those below."""


class StorageUnreachable(StorageFailed):
    """No connection, or it broke; the server is starting, stopping, or was replaced by another."""


class StorageTimedOut(StorageFailed):
    """It took longer than the time allowed for it."""


class StorageFull(StorageFailed):
    """There is no space left where it writes."""


class StorageMisconfigured(StorageFailed):
    """It answers, but not to us: credentials, privileges, database or schema. An operator has to see to it."""


class SchemaTooNew(StorageMisconfigured):
    """The schema was made by a later version than this one, which must not write to it."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the schema has version {found}, and this program knows up to {known}: use a newer program")
        self.found = found
        self.known = known


class SchemaTooOld(StorageMisconfigured):
    """The schema has not been brought to this version, and this program was told not to, or may not."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the schema has version {found}, and this program needs {known}: let its owner migrate it")
        self.found = found
        self.known = known
