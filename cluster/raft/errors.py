"""What can go wrong in the replicated log.

Operating errors, under one root. A bug is not here: it reaches `LogListener.on_fatal` and the process ends.
"""

import errno
from pathlib import Path


class RaftError(Exception):
    """Root of the replicated log's operating errors."""


class NotLeader(RaftError):
    """This node does not lead, or stopped leading before a majority answered.

    `leader` is the id of the node believed to lead, or None.
    """

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"this node does not lead the cluster; the leader is {leader or 'not known'}")
        self.leader = leader


class ProposalTooLarge(RaftError):
    """A proposal is larger than the log accepts; nothing was proposed. Sizes in bytes."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"a proposal of {size_bytes} bytes exceeds the limit of {size_bytes_max} bytes; split it")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class ChangeRefused(RaftError):
    """A change of the voters was not proposed; `reason` says why, for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the voters stay as they are: {reason}")
        self.reason = reason


class ChangeUnknown(RaftError):
    """Leadership was lost after a change of the voters was proposed. The next leader's log says what became of it."""

    def __init__(self) -> None:
        super().__init__("leadership was lost while the voters were being changed; it may still come to it, or not")


class LogStopped(RaftError):
    """The log has not been started, or has been stopped, or died."""


class StorageRefused(RaftError):
    """What lies in the data folder must not be served. Nothing was changed. Root of those below.

    `offset` is where in the file, in bytes, when it is one place.
    """

    def __init__(self, path: Path, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class JournalDamaged(StorageRefused):
    """A file of the log cannot be what this node wrote. The node must not start: it might vote twice, or forget."""

    def __init__(self, path: Path, reason: str, offset: int | None = None) -> None:
        place = f"{path}" if offset is None else f"{path}, at offset {offset},"
        super().__init__(
            path,
            f"{place} is damaged: {reason}. The node does not start, for it might vote twice or forget what it "
            "acknowledged. Keep a copy of the folder, and bring the node back with an empty one while the others are up",
            offset,
        )
        self.reason = reason


class SnapshotDamaged(StorageRefused):
    """The newest snapshot cannot be what this node wrote. An empty machine in its place would vote, and win."""

    def __init__(self, path: Path, reason: str, offset: int | None = None) -> None:
        place = f"{path}" if offset is None else f"{path}, at offset {offset},"
        super().__init__(
            path,
            f"{place} is damaged: {reason}. The node does not start, for what the snapshot held is in its journal no "
            "more. Keep a copy of the folder, and bring the node back with an empty one while the others are up",
            offset,
        )
        self.reason = reason


class SnapshotUnfit(RaftError):
    """What a snapshot holds is no state that this version can go on from. Raised by whoever knows what it holds."""


class StateTooNew(SnapshotUnfit):
    """What a snapshot holds was written by a version, or at a feature level, that this node does not read."""


class SnapshotTooNew(StorageRefused):
    """A snapshot is whole, and newer than what this node reads. It is no damage: an older one is no way around it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, f"{path} is too new: {reason}. The node does not go on, for it would have to guess")


class JournalForeign(StorageRefused):
    """A file of the log belongs to another cluster, or to another node's folder."""

    def __init__(self, path: Path, *, found: str, expected: str) -> None:
        super().__init__(
            path,
            f"{path} belongs to {found}, and this folder to {expected}: files of another node were put here. The node "
            "does not start. Bring back this node's own folder; never copy a journal from one node to another",
        )


class JournalTooNew(StorageRefused):
    """A file of the log was written by a version that this one cannot read."""

    def __init__(self, path: Path, *, found: int, known: int) -> None:
        super().__init__(
            path,
            f"{path} has format {found}, and this version knows formats up to {known}. The node does not start. "
            "Start the version that wrote it, or a newer one",
        )


class FoundedTwice(RaftError):
    """This node says that it founded the log, and a peer that has the log knows that founder by another disk."""

    def __init__(self, cluster_id: str, node_id: str, by: str) -> None:
        super().__init__(
            f"{by} knows node {node_id} of cluster {cluster_id} by another disk: this folder was begun with --bootstrap in "
            "the place of one that is gone, and with it what the node had promised. The node does not go on, for it might "
            "begin a second history under the name of the first. Never bootstrap a node again: take it out "
            f"(`garbagetruck member remove {node_id}`), let it in (`garbagetruck member add {node_id}`), and start it with "
            "--join and an empty folder. Where a majority of the disks is gone, see docs/disaster-recovery.md"
        )
        self.by = by


class DiskFailed(RaftError):
    """The disk refused to read, to write or to sync. Nothing that it refused was acknowledged; the node must end.

    It is not tried again: after a failed sync the kernel may have dropped what it could not write.
    """

    def __init__(self, path: Path, doing: str, error: OSError) -> None:
        remedy = (
            "Free some space, or move the data folder to a larger disk"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "Look at the disk (the kernel's log names it)"
        )
        super().__init__(
            f"{doing} {path} failed: {error.strerror or error}. The node ends, for it can promise nothing more; "
            f"nothing that did not reach the disk was acknowledged. {remedy}, then start the node again"
        )
        self.path = path
        self.errno = error.errno


class LogDiverged(RaftError):
    """What a leader sent contradicts what this node knows to be committed. Fatal: the history would fork."""
