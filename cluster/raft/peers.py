"""Which disk each peer has: learnt when it is first met, and never changed silently.

Duty: tell whether who greets is who it was. A node that comes back under its old name with another disk has lost what
it acknowledged and whom it voted for; letting it take part could elect a leader without the committed history.

The file is written whenever a peer is met for the first time, and synced before that peer may say anything. To give a
node a new disk on purpose, its entry is removed from this file on every other node while that one is down.

Threads: the Raft thread only.
"""

from pathlib import Path

import msgspec

from garbagetruck.cluster.raft.disk import REAL_DISK, Disk
from garbagetruck.cluster.raft.errors import JournalDamaged


class PeerDisks:
    """The disk ids of the peers, kept in one small JSON file: `{"n2": "6f0c…"}`."""

    def __init__(self, path: Path, disk: Disk = REAL_DISK) -> None:
        self._path = path
        self._disk = disk
        self._disk_ids: dict[str, str] | None = None

    def is_known_or_new(self, node_id: str, disk_id: str) -> bool:
        """Whether `node_id` has `disk_id`, or was never met; then it has from now on. Raises JournalDamaged, OSError."""
        disk_ids = self.load()
        known = disk_ids.get(node_id)
        if known is None:
            self._store({**disk_ids, node_id: disk_id})
            return True
        return known == disk_id

    def load(self) -> dict[str, str]:
        """What is known so far, read from the file once. Raises JournalDamaged, OSError."""
        if self._disk_ids is None:
            try:
                self._disk_ids = msgspec.json.decode(self._read(), type=dict[str, str])
            except FileNotFoundError:
                self._disk_ids = {}
            except msgspec.MsgspecError as error:
                raise JournalDamaged(self._path, str(error)) from error
        return self._disk_ids

    def _read(self) -> bytes:
        file = self._disk.open(self._path)
        try:
            return file.read(file.size(), 0)
        finally:
            file.close()

    def _store(self, disk_ids: dict[str, str]) -> None:
        temporary = self._path.with_name(self._path.name + ".tmp")
        if temporary.name in self._disk.names(self._path.parent):
            self._disk.unlink(temporary)
        file = self._disk.create(temporary)
        try:
            file.write_durably(msgspec.json.format(msgspec.json.encode(disk_ids)), 0)
        finally:
            file.close()
        self._disk.rename(temporary, self._path)
        self._disk.sync_folder(self._path.parent)
        self._disk_ids = disk_ids
