"""Who a node is: its data folder, and the identity that is written there once.

Duty: make an identity at bootstrap or for a node that joins, find it again at every later start, and refuse every
folder that is not this node's: another cluster's, another node's, a copy's, one in use, an empty one, one that lost its
journal, one of a node that was removed.

Invariants:

- An identity is never made but when asked for, in a folder without one. A node whose disk was wiped would otherwise
  vote again in terms it has voted in, and a majority of such nodes would write a new history under the old name.
- `node.json` is whole or absent at every moment, whatever is killed or loses power: it is written beside, synced,
  renamed, and the folder is synced.
- One process at a time: the lock is held until `unlock`, and the kernel drops it with the process.

Must not know: what the journal holds.
"""

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

IDENTITY_FORMAT = 2
"""The newest format. The first one, which an older version reads, is written as long as it has room for what there is."""
IDENTITY_BYTES_MAX = 65_536
FIRST_INCARNATION = 1
SINCE_FORMAT_2 = ("joined", "removed")

_IDENTITY = "node.json"
_UNFINISHED = "node.json.tmp"
_LOCK = "lock"
_RAFT = "raft"


class IdentityError(Exception):
    """This folder cannot be served by this node; the message says why, and what to do. Nothing was changed."""


class FolderServedError(IdentityError):
    """A process serves it."""


class FolderTakenError(IdentityError):
    """It was to be empty, and is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """What `node.json` holds."""

    cluster_id: str
    node_id: str
    disk_id: str
    """Drawn at random for this folder. Peers and the member's record refuse another in its place."""
    incarnation: int
    """Which life of the cluster; a restore after a disaster begins the next."""
    has_journal: bool
    """Whether a journal was begun here: from then on, a folder without one has lost it."""
    joined: bool = False
    """Whether the node joined a cluster that there was: then it founds none, and votes when it is told that it does."""
    removed: bool = False
    """Whether it was removed since: then nothing is ever served from here again."""


class DataFolder:
    """One node's folder on disk. Blocking calls of a few milliseconds, meant for before the node serves.

    ::

        DATA_DIR/
          node.json   the identity
          lock        held while a process serves this folder; holds its pid, for people
          raft/       the replicated log's own files
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_fd = -1

    @property
    def path(self) -> Path:
        return self._path

    @property
    def raft(self) -> Path:
        """The folder of the replicated log."""
        return self._path / _RAFT

    def open(
        self,
        *,
        cluster_id: str,
        node_id: str,
        bootstrap_disk_id: str | None,
        join_disk_id: str | None = None,
        join_incarnation: int = FIRST_INCARNATION,
    ) -> NodeIdentity:
        """Lock the folder and find this node's identity in it.

        With `bootstrap_disk_id`, make one, and insist that there was none; with `join_disk_id`, make one if there is
        none, for the cluster's life of that number. Raises `IdentityError`, and then holds no lock.
        """
        vacant = bootstrap_disk_id is None and self._is_vacant()
        if vacant and join_disk_id is None:
            raise IdentityError(
                f"{self._path} holds no node: nothing was ever served from it. To begin a new cluster, start each of"
                " its members once with --bootstrap; to add this node to a cluster that there is, use --join. If it has"
                " served before, its disk is gone or another one is mounted here: bring the folder back; do not"
                " bootstrap it. Where a majority of the cluster's disks is gone for good, see `garbagetruck snapshot"
                " restore` (docs/disaster-recovery.md)"
            )
        self._lock()
        try:
            if bootstrap_disk_id is not None:
                return self._bootstrap(cluster_id, node_id, bootstrap_disk_id)
            if vacant and join_disk_id is not None:
                return self._make(cluster_id, node_id, join_disk_id, joined=True, incarnation=join_incarnation)
            return self._find(cluster_id, node_id)
        except BaseException:
            self.unlock()
            raise

    def look(self) -> NodeIdentity:
        """Whose folder it is, for somebody who reads it while nobody serves it: nothing in it is changed.

        Keeps it from being served until `unlock`, if it was ever served. Raises `IdentityError`.
        """
        self._lock_to_read()
        try:
            return self._read()
        except BaseException:
            self.unlock()
            raise

    def found(self, identity: NodeIdentity, fill: Callable[[Path], None]) -> None:
        """Make of an empty or absent folder that of `identity`, whose replica's folder `fill` has filled durably.

        It is nobody's before all is there: interrupted, it can be neither served nor bootstrapped, and has to be deleted.
        Raises `IdentityError`, and what `fill` raises.
        """
        if not self._is_vacant():
            raise FolderTakenError(
                f"{self._path} is not empty, and nothing is ever written over; name an empty folder. What was left by a"
                f" restore that was interrupted has no {_IDENTITY}, and can be deleted"
            )
        self._lock()
        try:
            self.raft.mkdir(mode=0o700, exist_ok=True)
            fill(self.raft)
            _sync_folder(self._path)
            self._write(identity)
        finally:
            self.unlock()

    def note_journal(self, identity: NodeIdentity) -> NodeIdentity:
        """Remember that the journal was begun, so that its absence is noticed from now on."""
        if identity.has_journal:
            return identity
        noted = replace(identity, has_journal=True)
        self._write(noted)
        return noted

    def note_removal(self, identity: NodeIdentity) -> None:
        """Remember that the cluster is without this node, so that nothing is served from here again."""
        self._write(replace(identity, has_journal=True, removed=True))

    def unlock(self) -> None:
        """Let another process have the folder. Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unlock()

    def _is_vacant(self) -> bool:
        """Whether nothing that matters is here: an interrupted bootstrap leaves a vacant folder behind."""
        try:
            names = {entry.name for entry in self._path.iterdir()}
            if names - {_LOCK, _UNFINISHED, _RAFT}:
                return False
            return _RAFT not in names or not any(self.raft.iterdir())
        except FileNotFoundError:
            return True
        except OSError as error:
            raise IdentityError(f"{self._path} cannot be read: {error.strerror}; check its path and owner") from error

    def _lock(self) -> None:
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise IdentityError(f"{self._path} cannot be used: {error.strerror}; check its path and owner") from error
        _flock(fd, fcntl.LOCK_EX, self._path)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def _lock_to_read(self) -> None:
        """Without a lock file nobody ever served this folder: it is a copy, or another thing."""
        try:
            fd = os.open(self._path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise IdentityError(f"{self._path} cannot be read: {error.strerror}; check its path and owner") from error
        _flock(fd, fcntl.LOCK_SH, self._path)
        self._lock_fd = fd

    def _bootstrap(self, cluster_id: str, node_id: str, disk_id: str) -> NodeIdentity:
        if (self._path / _IDENTITY).exists():
            found = self._read()
            raise IdentityError(
                f"{self._path} already belongs to node {found.node_id} of cluster {found.cluster_id};"
                " start it without --bootstrap"
            )
        if not self._is_vacant():
            raise IdentityError(f"{self._path} is not empty; --bootstrap wants an empty folder, name another")
        return self._make(cluster_id, node_id, disk_id, joined=False, incarnation=FIRST_INCARNATION)

    def _make(self, cluster_id: str, node_id: str, disk_id: str, *, joined: bool, incarnation: int) -> NodeIdentity:
        self.raft.mkdir(mode=0o700, exist_ok=True)
        identity = NodeIdentity(
            cluster_id=cluster_id,
            node_id=node_id,
            disk_id=disk_id,
            incarnation=incarnation,
            has_journal=False,
            joined=joined,
        )
        self._write(identity)
        return identity

    def _find(self, cluster_id: str, node_id: str) -> NodeIdentity:
        found = self._read()
        if found.cluster_id != cluster_id:
            raise IdentityError(
                f"{self._path} belongs to cluster {found.cluster_id}, and cluster.id is {cluster_id};"
                " name the right folder in node.data_dir"
            )
        if found.node_id != node_id:
            raise IdentityError(
                f"{self._path} belongs to node {found.node_id}, and node.id is {node_id};"
                " name the right folder in node.data_dir"
            )
        if found.removed:
            raise IdentityError(
                f"node {node_id} was removed from cluster {cluster_id}, and nothing is served from {self._path} any more;"
                f" to bring it back, let it in again with `garbagetruck member add {node_id}`, and start it with --join"
                " and an empty folder"
            )
        if found.has_journal and not (self.raft.is_dir() and any(self.raft.iterdir())):
            raise IdentityError(
                f"the journal of node {node_id} is gone from {self.raft}, and with it what this node has promised and"
                " voted; bring it back, or take this node out of the cluster and add a new one"
            )
        return found

    def _read(self) -> NodeIdentity:
        path = self._path / _IDENTITY
        try:
            with path.open("rb") as stream:
                content = json.loads(stream.read(IDENTITY_BYTES_MAX))
        except FileNotFoundError as error:
            raise IdentityError(
                f"{self._path} is not empty, but has no {_IDENTITY}; it is not a node's folder, or was damaged:"
                " name the right folder in node.data_dir, or bring the file back"
            ) from error
        except (OSError, ValueError) as error:
            raise IdentityError(f"{path} cannot be read ({error}); bring it back from a copy") from error
        return _decode(content, path)

    def _write(self, identity: NodeIdentity) -> None:
        unfinished = self._path / _UNFINISHED
        fields = asdict(identity)
        file_format = IDENTITY_FORMAT if identity.joined or identity.removed else 1
        if file_format == 1:
            for name in SINCE_FORMAT_2:
                del fields[name]
        content = json.dumps({"format": file_format, **fields}, indent=1) + "\n"
        try:
            with unfinished.open("w", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(self._path / _IDENTITY)
            _sync_folder(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise IdentityError(f"{self._path} cannot be written: {error.strerror}; check its space") from error


def _decode(content: Any, path: Path) -> NodeIdentity:
    """Take nothing that this version did not write."""
    if not isinstance(content, dict):
        raise IdentityError(f"{path} is damaged: it holds no object; bring it back from a copy")
    file_format = content.pop("format", None)
    if file_format not in range(1, IDENTITY_FORMAT + 1):
        raise IdentityError(
            f"{path} has format {file_format!r}, and this version reads formats up to {IDENTITY_FORMAT};"
            " use the version of GarbageTruck that wrote it, or a newer one"
        )
    types: dict[str, type] = {
        "cluster_id": str,
        "node_id": str,
        "disk_id": str,
        "incarnation": int,
        "has_journal": bool,
        "joined": bool,
        "removed": bool,
    }
    if file_format == 1:
        for name in SINCE_FORMAT_2:
            del types[name]
    if set(content) != set(types) or any(type(content[name]) is not kind for name, kind in types.items()):
        raise IdentityError(f"{path} is damaged: its fields are not those of an identity; bring it back from a copy")
    return NodeIdentity(**content)


def _flock(fd: int, kind: int, folder: Path) -> None:
    """Lock the open file, or close it and raise."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise FolderServedError(f"{folder} is served by another process (pid {holder}); stop that one first") from error


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
