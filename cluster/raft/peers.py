"""Which disk each peer has: never changed silently.

Duty: tell whether who greets is who it was. A node that comes back under its old name with another disk has lost what
it acknowledged and whom it voted for; letting it take part could elect a leader without the committed history.

A voter has the disk that the applied configuration names. Where it names none, the one that the voter was first met with: the
file is written then, and synced before that peer may say anything. Who does not vote promises nothing, and may have any disk
but another than the cluster's records tell. When a node's removal is applied its entry leaves the file, so
that the name may come back with another disk, as a new member. The removed disk is noted in another file: it may still come
to hear that it was removed, until somebody else bears the name, and is never again taken for the name's disk.

Why that lets no name vote twice: what the new disk says in an election counts with a candidate that takes it for the
former one. Such a candidate has not applied the removal, so the former disk is in its configuration, or else in its file,
and its door does not count the new one. A candidate that has applied it counts the name again only where its being added
is applied, too, and then the new disk is the one that is meant.

A voter whose disk no configuration names is a founder. A founder that was never met may have any disk, but for that of a
node that joined: that one may be the same founder after its disk was lost, which forgot what it acknowledged. A node that
starts for the first time would make a majority with it, and write another history of the same term.

Threads: the Raft thread only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from garbagetruck.cluster.raft.disk import REAL_DISK, Disk
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.small_files import checksum_of, read_file, replace_file, verify
from garbagetruck.cluster.raft.voters import Voters

ContentT = TypeVar("ContentT")


NOBODY = ""
"""No node's name: where the files have their checksums."""
REMOVED_MAX = 256
"""Removed disks that are remembered; past it the oldest is forgotten."""


class PeerDisks:
    """The disk ids of the peers, kept in a small JSON file: `{"n2": "6f0c…", "": CHECKSUM}`. In `removed.json` beside it, name
    and disk of those who were removed, and last the checksum under no name.
    """

    def __init__(self, path: Path, disk: Disk = REAL_DISK) -> None:
        self._path = path
        self._removed_path = path.with_name("removed.json")
        self._disk = disk
        self._disk_ids: dict[str, str] | None = None
        self._removed: list[tuple[str, str]] = []

    def is_known_or_new(self, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        """Whether `node_id` has `disk_id`, or was never met; then it has from now on. Raises JournalDamaged, DiskFailed.

        Nobody's word is taken who says that it is no founder.
        """
        if not is_founder:
            return False
        disk_ids = self.load()
        known = disk_ids.get(node_id)
        if known is None:
            if not self.was_removed(node_id, disk_id):
                self._store({**disk_ids, node_id: disk_id})
            return True
        return known == disk_id

    def has_another(self, node_id: str, disk_id: str) -> bool:
        """Whether `node_id` was met, with another disk. Raises JournalDamaged, DiskFailed."""
        return self.load().get(node_id, disk_id) != disk_id

    def was_removed(self, node_id: str, disk_id: str) -> bool:
        """Whether that disk was a voter's, and its removal was applied."""
        self.load()
        return (node_id, disk_id) in self._removed

    def dismiss(self, node_id: str, disk_id: str) -> None:
        """The removal of a voter was applied; `disk_id` is empty where the log does not say which disk it had.

        Then no disk is noted: the one that is met by now may be its successor's. Raises JournalDamaged, DiskFailed.
        """
        known, removed = self.load().get(node_id), (node_id, disk_id)
        if disk_id and removed not in self._removed:
            self._removed = [*self._removed, removed][-REMOVED_MAX:]
            self._write(self._removed_path, [*self._removed, (NOBODY, checksum_of(self._removed))])
        if disk_id in ("", known):
            self.forget(node_id)

    def forget(self, node_id: str) -> None:
        """`node_id` is nobody's name: whoever comes under it next is new. Raises JournalDamaged, DiskFailed."""
        if node_id in self.load():
            self._store({each: disk for each, disk in self.load().items() if each != node_id})

    def load(self) -> dict[str, str]:
        """What is known so far, read from the files once. Raises JournalDamaged, DiskFailed."""
        if self._disk_ids is None:
            disk_ids = self._read(self._path, dict[str, str]) or {}
            verify(self._path, disk_ids, disk_ids.pop(NOBODY, ""))
            removed = self._read(self._removed_path, list[tuple[str, str]]) or []
            checksum = removed.pop()[1] if removed and removed[-1][0] == NOBODY else ""
            verify(self._removed_path, removed, checksum)
            self._disk_ids, self._removed = disk_ids, [each for each in removed if each[0] != NOBODY]
        return self._disk_ids

    def _read(self, path: Path, type_: type[ContentT]) -> ContentT | None:
        content = read_file(self._disk, path)
        try:
            return None if content is None else msgspec.json.decode(content, type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise JournalDamaged(path, str(error)) from error

    def _store(self, disk_ids: dict[str, str]) -> None:
        self._write(self._path, {**disk_ids, NOBODY: checksum_of(disk_ids)})
        self._disk_ids = disk_ids

    def _write(self, path: Path, content: object) -> None:
        replace_file(self._disk, path, msgspec.json.format(msgspec.json.encode(content)))


class VoterDisks:
    """What the log says of voters' disks, `met` where it says nothing, and for everybody else what `record_of` tells: the disk
    by which the records know a node, or nothing.
    """

    def __init__(self, voters: Voters, met: PeerDisks, record_of: Callable[[str], str]) -> None:
        self._voters = voters
        self._met = met
        self._record_of = record_of

    def is_known_or_new(self, node_id: str, disk_id: str, *, is_founder: bool = True) -> bool:
        """Whether `node_id` may have `disk_id`. Raises JournalDamaged, DiskFailed.

        A node that was only told who votes counts no votes; whom it talks to under a founder's name is not noted.
        """
        known = self._voters.disks.get(node_id)
        if known is None:
            return self._record_of(node_id) in ("", disk_id)
        if known:
            return known == disk_id
        if not is_founder:
            return not self._voters.is_certain
        return self._met.is_known_or_new(node_id, disk_id)

    def has_another(self, node_id: str, disk_id: str) -> bool:
        """Whether `node_id` votes, and is known by another disk. Raises JournalDamaged, DiskFailed."""
        known = self._voters.disks.get(node_id)
        if known is None:
            return False
        return known != disk_id if known else self._met.has_another(node_id, disk_id)
