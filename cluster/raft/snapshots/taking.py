"""When this node takes a snapshot of its own, and when the log before it may go.

Duty: notice that the log has grown by so many entries or bytes since the last snapshot, or by less and that long ago, so
that a node that is idle after a rush restarts quickly; say what a snapshot of the state
at an index has to tell of the log; let the log's beginning go once that is safe (hazard 19).

Invariants: one at a time. None before it is certain who voted by then: a node that joins was only told. The log is kept from the snapshot before the newest on, so that a newest that is found damaged
can be done without, and a follower that is a little behind needs no snapshot; and from what was not copied elsewhere yet, as
long as the journal is not too large for that.

Threads: the Raft thread only.
"""

from collections.abc import Callable
from concurrent.futures import Future
from random import Random

import structlog

from garbagetruck.cluster.raft.compaction import Compaction
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.settings import Identity, RaftSettings
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.voters import Voters

SPREAD = 0.25
"""Each node draws its bounds anew for every snapshot, up to this much lower: so that not all take one at once."""
INTERVAL_SPREAD = 1.0
"""...and the age at which less is enough up to this much higher: nodes that began together are of one age."""
SETTLED_SHARE = 0.125
"""Growth, as a share of the bounds, that is worth a snapshot once `snapshot_interval` has passed since the last."""
ID_BYTES = 16
_NS_PER_MS = 1_000_000

_log = structlog.get_logger(__name__)


class Taking:
    """`begin` asks the main loop for a snapshot; it answers by `describe`, and then `taken` or `dropped`."""

    def __init__(
        self,
        *,
        identity: Identity,
        settings: RaftSettings,
        store: SnapshotStore,
        journal: Journal,
        compaction: Compaction,
        voters: Voters,
        random: Random,
        monotonic_ns: Callable[[], int],
        begin: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._store = store
        self._journal = journal
        self._compaction = compaction
        self._voters = voters
        self._random = random
        self._monotonic_ns = monotonic_ns
        self._begin = begin
        self._under_way = False
        self._wanted = False
        self._share = self._draw()
        self._settled_ms = self._draw_settled_ms()
        self._bytes_before = 0
        """Of the log, when the last snapshot was begun."""
        self._taken_ns = monotonic_ns()
        """When the last snapshot was ended, or this began."""
        self._waiting: list[Future[SnapshotHeader | None]] = []
        """Who asked for a snapshot that is not begun yet, and..."""
        self._asked: list[Future[SnapshotHeader | None]] = []
        """...for the one that is under way."""
        self._uncopied_from: int | None = None
        self._journal_bytes_max = 0
        self._may_forget: int | None = None
        """The log before that index is in both snapshots, and is still to be let go of."""

    def want(self, answer: "Future[SnapshotHeader | None] | None" = None) -> None:
        """Take one soon, however little the log has grown: the newest was found damaged, or somebody waits for it."""
        self._wanted = True
        if answer is not None:
            self._waiting.append(answer)

    def keep_from(self, index: int, journal_bytes_max: int) -> None:
        """Keep the log from `index` on, until the journal is larger than that on the disk."""
        self._uncopied_from, self._journal_bytes_max = index, journal_bytes_max

    def turn(self, applied_index: int) -> None:
        """To be called in every turn."""
        self._let_go()
        if self._waiting and not self._under_way and self._is_newest(applied_index):
            self._answer(self._waiting)
        if self._under_way or not self._voters.is_certain or not self._is_due(applied_index):
            return
        self._under_way, self._wanted = True, False
        self._asked, self._waiting = self._waiting, []
        self._begin()

    def _is_newest(self, applied_index: int) -> bool:
        """Whether there is nothing that the newest snapshot does not have."""
        return self._store.newest is not None and self._store.newest.index >= applied_index

    def _answer(self, waiting: "list[Future[SnapshotHeader | None]]") -> None:
        for each in waiting:
            if each.set_running_or_notify_cancel():
                each.set_result(self._store.newest)
        waiting.clear()

    def _let_go(self) -> None:
        """Of the log before the older snapshot, as soon as all of that was copied, or too much has to be kept for it."""
        index = self._may_forget
        if index is None:
            return
        if self._uncopied_from is not None and self._uncopied_from < index:
            if self._journal.size_bytes <= self._journal_bytes_max:
                return
            _log.warning("log_not_archived", kept_from=index, not_archived_from=self._uncopied_from)
        self._may_forget = None
        self._compaction.forget_before(index)

    def _is_due(self, applied_index: int) -> bool:
        settings, newest = self._settings, self._store.newest
        entries = applied_index - (newest.index if newest is not None else 0)
        grown_bytes = self._journal.payload_bytes - self._bytes_before
        growth = max(entries / settings.snapshot_entries, grown_bytes / settings.snapshot_log_bytes)
        return entries > 0 and (
            self._wanted
            or growth >= self._share
            or (growth >= SETTLED_SHARE * self._share and self._age_ms() >= self._settled_ms)
        )

    def _age_ms(self) -> int:
        return (self._monotonic_ns() - self._taken_ns) // _NS_PER_MS

    def describe(self, index: int) -> SnapshotHeader | None:
        """The header of a snapshot of the state behind `index`; None when there cannot be one."""
        term, previous_term = self._journal.term_at(index), self._journal.term_at(index - 1)
        newest = self._store.newest
        if term is None or previous_term is None or (newest is not None and index <= newest.index):
            self.dropped()
            return None
        self._bytes_before = self._journal.payload_bytes
        snapshot_id = self._random.randbytes(ID_BYTES).hex()
        return SnapshotHeader(
            self._identity.cluster_id,
            self._identity.incarnation,
            snapshot_id,
            index,
            term,
            previous_term,
            self._voters.to_store(index),
        )

    def taken(self, header: SnapshotHeader) -> None:
        """It is durable, and the newest: let go of the log before the one before it."""
        self.dropped()
        self._share, self._settled_ms = self._draw(), self._draw_settled_ms()
        self._may_forget = self._store.keep_from
        self._let_go()
        self._voters.forget_before(header.index)
        _log.info("snapshot_taken", index=header.index, log_kept_from=self._store.keep_from)

    def dropped(self) -> None:
        """Nothing came of it; the next may begin."""
        self._under_way = False
        self._answer(self._asked)
        self._taken_ns = self._monotonic_ns()

    def _draw(self) -> float:
        return 1.0 - SPREAD * self._random.random()

    def _draw_settled_ms(self) -> int:
        return int(self._settings.snapshot_interval_ms * (1.0 + INTERVAL_SPREAD * self._random.random()))
