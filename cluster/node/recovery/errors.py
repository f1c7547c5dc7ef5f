"""Why nothing was restored. Root and kinds; each message says what is wrong, where, and what to do.

Whatever is raised, what there was is as it was.
"""

from pathlib import Path

from garbagetruck.cluster.raft.errors import DiskFailed, JournalDamaged, SnapshotDamaged, StorageRefused


class RecoveryError(Exception):
    """Root. Nothing was restored."""


class NothingToRestore(RecoveryError):
    """There is no data folder, or nothing in it that a cluster could begin with."""


class SourceInUse(RecoveryError):
    """A process serves the folder."""


class SourceForeign(RecoveryError):
    """It belongs to another cluster than the one that is to be restored."""


class SourceStillWritten(RecoveryError):
    """The cluster that is to be restored writes to its storage: it lives."""


class SourceAway(RecoveryError):
    """The storage does not answer, or not to us."""


class SourceDamaged(RecoveryError):
    """What the storage holds is not what was written, or is of a later version."""


class SourceUnreadable(RecoveryError):
    """Something in it cannot be what was written, or is of a later version. `path` is the file, `offset` where in it."""

    def __init__(self, path: Path, offset: int | None, reason: str) -> None:
        place = f"{path}" if offset is None else f"{path}, at offset {offset}"
        super().__init__(f"{place}: {reason}. Restore from another node's folder, or from a copy, if there is one")
        self.path = path
        self.offset = offset


class TargetTaken(RecoveryError):
    """The new node's folder is not empty."""


class IncarnationTaken(RecoveryError):
    """An incarnation that is not higher than every one the source knows, or beyond the highest there is."""


class LevelTooLow(RecoveryError):
    """The founding node is told to read less than what a restored state needs."""


def unreadable(error: StorageRefused | DiskFailed) -> SourceUnreadable:
    """What the log's own errors say, for somebody who does not start a node."""
    match error:
        case JournalDamaged() | SnapshotDamaged():
            return SourceUnreadable(error.path, error.offset, f"damaged: {error.reason}")
        case StorageRefused():
            return SourceUnreadable(error.path, error.offset, str(error))
        case _:
            return SourceUnreadable(error.path, None, f"the disk refused: {error}")
