"""Which log this is: two that nodes of the same names founded are never taken for one.

Duty: know the log's origin, a digest of its first entry, from when that is applied; and end a founder that is no founder: one
whose folder was begun with `--bootstrap` in the place of a disk that others know.

Why: a founder that lost its disk forgot what it promised. Started with an empty folder it is refused by those that met it;
bootstrapped again, with a founder that never ran, it is a majority of the founders, and begins another log under the old
name. Who was in the first log must not be taken into the second when it comes back, nor the other way round: the first
entry names the disk of the node that proposed it, so that no two foundings have the same.

Invariants: an origin, once known, stays; it is durable before a greeting tells it. Nobody is refuted by a peer that knows no
origin itself. A folder is marked as refuted only while it holds nothing.

Threads: the Raft thread only.
"""

import hashlib
from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from garbagetruck.cluster.raft.errors import FoundedTwice
from garbagetruck.cluster.raft.founding import Founding, store
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.settings import Identity
from garbagetruck.cluster.raft.storage import Storage

_log = structlog.get_logger(__name__)


class Origin:
    """Of the log in one folder. `open` comes first, then `begin`."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._storage: Storage | None = None
        self._founding = Founding([], is_founder=False)
        self._awaits_first = False

    def open(self, storage: Storage, founding: Founding) -> None:
        """Raises FoundedTwice for a folder that was refuted."""
        self._storage, self._founding = storage, founding
        if founding.refuted_by:
            raise self._founded_twice(founding.refuted_by)

    def begin(self, *, at_first: bool) -> None:
        """Entries are applied from now on; `at_first`: from the log's first one."""
        self._awaits_first = at_first and not self.name

    @property
    def name(self) -> str:
        """Empty as long as it is not known."""
        return self._founding.origin

    @property
    def mark(self) -> str:
        """With whom this folder founded the log (`Founding.mark`)."""
        return self._founding.mark

    def on_applied(self, entries: Sequence[Entry]) -> None:
        """These were applied, in turn. Raises DiskFailed."""
        if self._awaits_first and entries:
            self._awaits_first = False
            self.adopt(name_of(entries[0]))

    def on_snapshot(self, told: str) -> None:
        """The log goes on from a snapshot of a leader whose greeting `told` this; it may be empty. Raises DiskFailed."""
        self._awaits_first = False
        self.adopt(told)

    def adopt(self, name: str) -> None:
        if name and not self.name:
            self._store(replace(self._founding, origin=name))

    def is_apart(self, name: str) -> bool:
        """Whether a peer with that origin has another log than this node."""
        return bool(self.name and name) and name != self.name

    def refute(self, by: str) -> None:
        """`by`, which has a log, knows this node by another disk. Raises FoundedTwice if this node says that it is a founder."""
        founding = self._founding
        if not founding.is_founder:
            return
        if not founding.origin:
            self._store(replace(founding, refuted_by=by))
        raise self._founded_twice(by)

    def _founded_twice(self, by: str) -> FoundedTwice:
        return FoundedTwice(self._identity.cluster_id, self._identity.node_id, by)

    def _store(self, founding: Founding) -> None:
        assert self._storage is not None, "the folder was not opened"
        store(self._storage.disk, self._storage.folder, founding)
        self._founding = founding


def name_of(first: Entry) -> str:
    """The origin of a log that begins with this entry."""
    return hashlib.blake2b(first.payload, digest_size=16, salt=first.index.to_bytes(8, "big")).hexdigest()
